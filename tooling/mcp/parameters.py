"""A server's parameter schemas, as models are offered them; no input or output."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tooling.schema import UNUSABLE, argument_problems, schema_problem


def offered(input_schema: dict[str, Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The schema without the hidden parameters, and without patterns that our engine lacks.

    The server checks its arguments itself; ours only spare it what a model can mend at once.
    """
    schema: dict[str, Any] = _without_odd_patterns(
        {"type": "object", "properties": {}, **input_schema}
    )
    properties = schema["properties"]
    if not isinstance(properties, dict):
        return schema
    schema["properties"] = {name: inner for name, inner in properties.items() if name not in hidden}
    if isinstance(schema.get("required"), list):
        schema["required"] = [name for name in schema["required"] if name not in hidden]
    return schema


def problem_of(input_schema: dict[str, Any]) -> str | None:
    """Why no call with such parameters could be checked, or None."""
    try:
        schema = offered(input_schema)
    except RecursionError:
        return UNUSABLE
    if schema["type"] != "object" or not isinstance(schema["properties"], dict):
        return UNUSABLE
    return UNUSABLE if argument_problems(schema, {}) == UNUSABLE else None


def _without_odd_patterns(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: _without_odd_patterns(inner)
            for name, inner in node.items()
            if name != "pattern" or not isinstance(inner, str) or _is_usable(inner)
        }
    if isinstance(node, list):
        return [_without_odd_patterns(inner) for inner in node]
    return node


def _is_usable(pattern: str) -> bool:
    return schema_problem({"type": "object", "properties": {"x": {"pattern": pattern}}}) is None
