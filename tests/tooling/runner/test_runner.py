from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from django.utils import translation

from tooling.runner import MAX_RESULT_BYTES, capped, run_tool
from tooling.types import BuiltinTarget, ToolContext, ToolSpec

CONTEXT = ToolContext(owner_id=1, assistant_id="a", language="en", time_zone="Asia/Tokyo")


def spec(tool_id: str) -> ToolSpec:
    return ToolSpec(
        id=tool_id,
        name=tool_id,
        description="",
        parameters={"type": "object"},
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=1000,
        target=BuiltinTarget(tool_id),
    )


async def test_it_runs_a_built_in_tool() -> None:
    result = await run_tool(spec("calculator"), {"expression": "6*7"}, CONTEXT)
    assert (result.output, result.code, result.message) == ("42", 200, "ok")


@pytest.mark.parametrize("tool_id", ["search", "weather", "knowledge", "unheard_of"])
async def test_it_says_that_a_tool_is_not_configured(tool_id: str) -> None:
    result = await run_tool(spec(tool_id), {}, CONTEXT)
    assert result.code == 501
    assert result.message == f"The tool {tool_id} is not configured in this installation."


async def test_it_says_what_fails_in_the_language_of_the_conversation() -> None:
    chinese = dataclasses.replace(CONTEXT, language="zh")
    result = await run_tool(spec("search"), {}, chinese)
    assert (result.code, result.message) == (501, "本系统没有配置工具 search。")
    assert translation.get_language() == "en"


@pytest.mark.parametrize(
    ("arguments", "zone", "offset_h"),
    [
        ({}, "Asia/Tokyo", 9),
        ({"timezone": ""}, "Asia/Tokyo", 9),
        ({"timezone": "Asia/Shanghai"}, "Asia/Shanghai", 8),
        ({"timezone": "asia/shanghai "}, "Asia/Shanghai", 8),
        ({"timezone": "UTC"}, "UTC", 0),
    ],
)
async def test_it_tells_the_time_of_a_zone(
    arguments: dict[str, Any], zone: str, offset_h: int
) -> None:
    result = await run_tool(spec("current_time"), arguments, CONTEXT)
    moment, rest = result.output.split(" ", 1)
    told = datetime.datetime.fromisoformat(moment)
    assert told.utcoffset() == datetime.timedelta(hours=offset_h)
    assert abs(told - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    assert zone in rest


@pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "America", "/etc/localtime"])
async def test_it_refuses_what_is_no_time_zone(zone: str) -> None:
    result = await run_tool(spec("current_time"), {"timezone": zone}, CONTEXT)
    assert result.code == 400
    assert "IANA" in result.message


def test_it_leaves_a_short_result_alone() -> None:
    assert capped("é" * (MAX_RESULT_BYTES // 2)) == "é" * (MAX_RESULT_BYTES // 2)


def test_it_cuts_a_long_result_between_characters_and_says_so() -> None:
    text = "二" * MAX_RESULT_BYTES
    cut = capped(text)
    assert len(cut.encode()) <= MAX_RESULT_BYTES
    assert cut.startswith("二二")
    assert cut.endswith(f"[cut: the first 8000 of {3 * MAX_RESULT_BYTES} bytes are shown]")
    assert "\ufffd" not in cut


def test_it_gives_nothing_that_cannot_be_stored() -> None:
    assert capped("a\0b\ud800c😀") == "ab?c😀"
