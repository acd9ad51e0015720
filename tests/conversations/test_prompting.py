from __future__ import annotations

import datetime

import pytest

from conversations.prompting import fill, with_builtins

NOON = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hi {{name}}", "Hi Ann"),
        ("{{ name }}{{name}}", "AnnAnn"),
        ("{{unknown}} stays", "{{unknown}} stays"),
        ("{name} {0} %s $name {{}}", "{name} {0} %s $name {{}}"),
        ("{{name.__class__}}", "{{name.__class__}}"),
        ("{{trick}}", "{{name}}"),
        ("{{regex}}", r"\1 \g<0>"),
        ("你好，{{name}}！", "你好，Ann！"),
    ],
)
def test_it_replaces_variables_plainly_and_once(text: str, filled: str) -> None:
    variables = {"name": "Ann", "trick": "{{name}}", "regex": r"\1 \g<0>"}
    assert fill(text, variables) == filled


def test_it_knows_the_time_of_the_assistants_zone() -> None:
    variables = with_builtins({"name": "Ann"}, time_zone="Asia/Shanghai", now=NOON)
    assert variables == {
        "name": "Ann",
        "system_time": "2026-05-01 20:00:00",
        "system_timezone": "Asia/Shanghai",
    }


def test_it_believes_the_callers_clock() -> None:
    variables = with_builtins({"system_time": "noon"}, time_zone="UTC", now=NOON)
    assert variables["system_time"] == "noon"
