"""A schema of a user or of a foreign server costs no more than its reading."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tooling.mcp.parameters import offered, problem_of
from tooling.schema import UNUSABLE, argument_problems, schema_problem

# What each took before it was bounded: hours, or the end of the process.
BEARABLE_S = 5.0


@contextmanager
def bearably() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < BEARABLE_S


def objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _level in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def laughs(levels: int) -> dict[str, Any]:
    """Each definition asks for the next one twice: 2 to the power of `levels` checks."""
    definitions: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "string"}
    return {**objects(a={"$ref": "#/$defs/d0"}), "$defs": definitions}


def unfolding() -> dict[str, Any]:
    """A tree whose every level is checked twice: 2 to the power of the arguments' depth."""
    tree = {"type": "object", "properties": {"a": {"allOf": [{"$ref": "#/$defs/tree"}] * 2}}}
    return {**objects(a={"$ref": "#/$defs/tree"}), "$defs": {"tree": tree}}


def deep_argument(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _level in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("hostile", "told", "harmless"),
    [
        (nested(30), "nested too deeply", nested(15)),
        (nested(3000), "nested too deeply", nested(1)),
        (
            objects(a={"enum": ["x" * 1000] * 100}),
            "longer than",
            objects(a={"enum": ["x" * 1000] * 10}),
        ),
        (objects(a={"enum": list(range(501))}), "more than 500", objects(a={"enum": [1, 2]})),
        (
            objects(a={"$ref": "http://169.254.169.254/latest"}),
            "only references within",
            {**objects(a={"$ref": "#/$defs/x"}), "$defs": {"x": {"type": "string"}}},
        ),
        (
            objects(a={"$ref": "file:///etc/passwd"}),
            "only references within",
            objects(a={"$ref": "#/properties/b"}, b={"type": "string"}),
        ),
        ({**objects(), "$dynamicRef": "#meta"}, "not supported", objects()),
        (objects(a={"patternProperties": {"(a+)+$": {}}}), "not supported", objects(a={})),
        (
            objects(a={"pattern": r"(\w{30}){30}"}),
            "not supported",
            objects(a={"type": "string", "pattern": r"^\d{4}-\d{2}$"}),
        ),
        (
            objects(**{f"a{n}": {"pattern": "a" * n} for n in range(1, 40)}),
            "more than 32 patterns",
            objects(**{f"a{n}": {"pattern": "a" * n} for n in range(1, 30)}),
        ),
    ],
)  # fmt: skip
def test_it_takes_no_schema_that_is_an_attack(
    hostile: dict[str, Any], told: str, harmless: dict[str, Any]
) -> None:
    with bearably():
        problem = schema_problem(hostile)
    assert problem is not None
    assert told in problem
    assert schema_problem(harmless) is None


@pytest.mark.parametrize(
    ("schema", "arguments", "fitting"),
    [
        # A foreign server's schema meets no check on save, so the checks of calls hold alone.
        (nested(500), {"a": 1}, None),
        (laughs(40), {"a": "x"}, None),
        (unfolding(), deep_argument(60), deep_argument(3)),
        ({**objects(), "$ref": "#"}, {"a": 1}, None),
        ({**objects(), "allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {}, None),
        (objects(a={"$ref": "http://127.0.0.1:9/schema"}), {"a": 1}, {}),
        (objects(a={"$ref": "#/$defs/none"}), {"a": 1}, {}),
        (objects(a={"items": {"allOf": [{}] * 500}}), {"a": [1] * 10_000}, {"a": [1, 2]}),
        (objects(a={"items": {"enum": list(range(500))}}), {"a": [7] * 10_000}, {"a": [7]}),
        (objects(a={"multipleOf": 0.5}), {"a": float("inf")}, {"a": 1.5}),
        (objects(a={"items": [{"type": "string"}]}), {"a": [1]}, None),
        (
            objects(a={"items": {"pattern": "(a|b|c){9999}"}}),
            {"a": ["a" * 900] * 40},
            {"a": []},
        ),
    ],
)
def test_it_gives_up_on_a_check_without_end(
    schema: dict[str, Any], arguments: dict[str, Any], fitting: dict[str, Any] | None
) -> None:
    with bearably():
        assert argument_problems(schema, arguments) == UNUSABLE
    if fitting is not None:
        assert argument_problems(schema, fitting) is None
    # The next check starts with all its steps.
    assert argument_problems(objects(a={"type": "string"}), {"a": "x"}) is None


def test_it_matches_only_short_texts_with_patterns() -> None:
    schema = objects(a={"type": "string", "pattern": "^(a+)+$"})
    with bearably():
        assert argument_problems(schema, {"a": "a" * 30 + "b"}) is not None
        problem = argument_problems(schema, {"a": "a" * 30_000})
    assert problem is not None
    assert "too long for its pattern" in problem
    assert argument_problems(schema, {"a": "a" * 1000}) is None


def test_it_reads_no_patterns_of_names() -> None:
    # `additionalProperties` would match every name with Python's `re`.
    schema = {**objects(), "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}
    name = "a" * 40 + "b"
    with bearably():
        assert argument_problems(schema, {name: 1}) is None
    closed = {**objects(), "additionalProperties": False}
    assert "unexpected" in str(argument_problems(closed, {name: 1}))


def test_it_compares_many_items_in_one_go() -> None:
    schema = objects(a={"type": "array", "uniqueItems": True})
    different = [{"n": number} for number in range(5000)]
    with bearably():
        assert argument_problems(schema, {"a": different}) is None
        assert "not all different" in str(argument_problems(schema, {"a": [*different, {"n": 0}]}))


def test_it_tells_of_endless_mistakes_in_a_few_words() -> None:
    schema = objects(a={"items": {"type": "string"}})
    with bearably():
        problem = argument_problems(schema, {"a": [[1] * 10] * 5000})
    assert problem is not None
    assert len(problem) < 1500
    assert json.dumps(problem)


def test_no_pattern_of_a_foreign_server_is_read_before_it_is_needed() -> None:
    # Each of these takes a tenth of a second to compile.
    listed = [
        objects(**{f"p{n}": {"type": "string", "pattern": rf"\w{{90}}x{{{n + 1}}}-{tool}"}
                   for n in range(30)})
        for tool in range(40)
    ]  # fmt: skip
    with bearably():
        assert [problem_of(offered(schema)) for schema in listed] == [None] * 40
    assert argument_problems(offered(listed[0]), {"p0": "x"}) is not None
