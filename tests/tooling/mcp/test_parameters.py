"""Parameter schemas of servers, as models are offered them."""

from __future__ import annotations

from typing import Any

import pytest

from tooling.mcp.parameters import offered, problem_of, typed
from tooling.schema import UNUSABLE, argument_problems

SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"city": {"type": "string"}, "tenant": {"type": "string"}},
    "required": ["city", "tenant"],
    "additionalProperties": False,
}


def test_hidden_parameters_are_not_the_models_to_choose() -> None:
    schema = offered(SCHEMA, {"tenant"})
    assert (list(schema["properties"]), schema["required"]) == (["city"], ["city"])
    assert argument_problems(schema, {"city": "Bonn"}) is None
    assert argument_problems(schema, {"city": "Bonn", "tenant": "other"}) is not None
    assert list(SCHEMA["properties"]) == ["city", "tenant"]


def test_an_empty_schema_takes_no_arguments() -> None:
    assert offered({}) == {"type": "object", "properties": {}}
    assert problem_of({}) is None


def test_patterns_that_our_engine_lacks_are_left_to_the_server() -> None:
    odd = {"type": "string", "pattern": "^(?!a)b"}
    plain = {"type": "string", "pattern": "^b"}
    schema = offered({"type": "object", "properties": {"odd": odd, "plain": plain}})
    assert argument_problems(schema, {"odd": "a", "plain": "b"}) is None
    assert "plain" in str(argument_problems(schema, {"odd": "a", "plain": "a"}))


def test_a_parameter_may_be_called_pattern() -> None:
    properties = {"pattern": {"type": "string"}}
    assert offered({"type": "object", "properties": properties})["properties"] == properties


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _level in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"type": "nonsense"}}},
        {"type": "object", "properties": {"a": {"enum": list(range(100_000))}}},
        deep(5000),
    ],
)
def test_what_no_call_can_be_checked_by(schema: dict[str, Any]) -> None:
    assert problem_of(schema) is not None
    assert problem_of(SCHEMA) is None


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("integer", "42", 42),
        ("integer", "4.2", "4.2"),
        ("integer", "true", "true"),
        ("number", "4.2", 4.2),
        ("boolean", "true", True),
        ("boolean", "1", "1"),
        ("string", "42", "42"),
        (["string", "null"], "42", "42"),
    ],
)
def test_what_a_user_set_gets_the_type_of_its_parameter(kind: Any, value: str, sent: Any) -> None:
    found = typed(value, {"type": kind})
    assert (found, type(found)) == (sent, type(sent))


def test_names_that_cannot_be_names_are_unusable() -> None:
    assert problem_of({"properties": {"a": {}}, "required": ["a"]}) is None
    assert problem_of({"properties": {"a": {}}, "required": [{}]}) == UNUSABLE
