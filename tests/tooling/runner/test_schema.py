from __future__ import annotations

import time
from typing import Any

import pytest

from tooling.schema import UNUSABLE, argument_problems, schema_problem

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "days": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"enum": ["rain", "wind"]}},
    },
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("arguments", [{"city": "Rome"}, {"city": "北京", "days": 3, "tags": []}])
def test_it_lets_fitting_arguments_pass(arguments: dict[str, Any]) -> None:
    assert argument_problems(CITY, arguments) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "arguments: 'city' is a required property"),
        ({"city": 5}, "arguments.city: 5 is not of type 'string'"),
        ({"city": "Rome", "days": "x"}, "arguments.days: 'x' is not of type 'integer'"),
        ({"city": "Rome", "tags": ["sun"]}, "arguments.tags[0]: 'sun' is not one of"),
        ({"city": "Rome", "town": "y"}, "('town' was unexpected)"),
    ],
)
def test_it_says_precisely_what_does_not_fit(arguments: dict[str, Any], told: str) -> None:
    problems = argument_problems(CITY, arguments)
    assert problems is not None
    assert told in problems


def test_it_names_several_problems_but_not_all_of_many() -> None:
    schema = {"type": "object", "required": ["a", "b", "c", "d", "e"]}
    problems = argument_problems(schema, {})
    assert problems is not None
    assert problems.endswith("and 2 more")


def test_it_does_not_repeat_long_values() -> None:
    problems = argument_problems(CITY, {"city": ["x" * 5000]})
    assert problems is not None
    assert len(problems) < 500


def test_it_checks_patterns_in_linear_time() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    assert schema_problem(schema) is None
    started = time.perf_counter()
    assert argument_problems(schema, {"a": "a" * 40 + "b"}) is not None
    assert time.perf_counter() - started < 0.5
    assert argument_problems(schema, {"a": "a" * 40}) is None


def test_it_never_fetches_a_reference() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    assert argument_problems(schema, {"a": 1}) == "the tool's own parameter schema cannot be used"


@pytest.mark.parametrize(
    "schema",
    [
        CITY,
        {"type": "object"},
        {"type": "object", "properties": {"pattern": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b%20c"}}, "$defs": {"b c": True}},
        {"type": "object", "default": {"$ref": "#/data"}, "properties": {"$id": {}}},
        {"$id": "https://a.example/", "type": "object", "properties": {"a": {"$ref": "#"}}},
    ],
)
def test_it_accepts_object_schemas(schema: dict[str, Any]) -> None:
    assert schema_problem(schema) is None


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ([], "must be a JSON Schema object"),
        ({}, '"type": "object"'),
        ({"type": "string"}, '"type": "object"'),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "$.properties.a.type"),
        ({"type": "object", "required": "a"}, "$.required"),
        ({"type": "object", "patternProperties": {"^a": {}}}, "patternProperties"),
        ({"type": "object", "properties": {"a": {"pattern": "(?=a)"}}}, "not supported"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "'#/$defs/b' leads nowhe"),
        ({"type": "object", "$anchor": "b", "not": {"$ref": "#b"}}, "only references within"),
        ({"type": "object", "not": {"$id": "https://a.example/"}}, "outermost schema only"),
    ],
)
def test_it_refuses_other_schemas_and_says_why(schema: object, told: str) -> None:
    problem = schema_problem(schema)
    assert problem is not None
    assert told in problem


@pytest.mark.parametrize(
    "reference",
    ["#/required/x", "#/required/0", "#/required/-1", "#/type", "#/title/0", "#/minProperties/x",
     "#/properties", "#/default", "#/nowhere", "#anchor", "##", "https://a.example/#/x"],
)  # fmt: skip
def test_it_follows_references_to_schemas_only(reference: str) -> None:
    schema = {
        "type": "object",
        "title": "of a foreign server",
        "minProperties": 0,
        "properties": {"a": {"$ref": "#/$defs/a"}, "type": {"type": "string"}},
        "required": ["a"],
        "default": {"type": "no such type"},
        "$anchor": "anchor",
        "$defs": {"a": {"type": "integer"}},
    }
    assert schema_problem(schema) is None
    assert argument_problems(schema, {"a": 1}) is None
    loose = {**schema, "$defs": {"a": {"$ref": reference}}}
    assert "$ref" in (schema_problem(loose) or "")
    assert argument_problems(loose, {"a": 1}) == UNUSABLE
