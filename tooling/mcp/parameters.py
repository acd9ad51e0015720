"""A server's parameter schemas, as models are offered them; no input or output."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from tooling.schema import UNUSABLE, argument_problems

_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def offered(input_schema: dict[str, Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The schema without the hidden parameters.

    The server checks its arguments itself; ours only spare it what a model can mend at once.
    """
    schema: dict[str, Any] = {"type": "object", "properties": {}, **input_schema}
    properties = schema["properties"]
    if not isinstance(properties, dict):
        return schema
    schema["properties"] = {name: inner for name, inner in properties.items() if name not in hidden}
    if isinstance(schema.get("required"), list):
        schema["required"] = [name for name in schema["required"] if name not in hidden]
    return schema


def typed(value: str, schema: object) -> Any:
    """What a user set, as the number or the truth value that a parameter wants to be."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    wanted = _TYPES.get(kind) if isinstance(kind, str) else None
    if wanted is None:
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if type(found) in wanted else value


def problem_of(input_schema: dict[str, Any]) -> str | None:
    """Why no call with such parameters could be checked, or None."""
    schema = offered(input_schema)
    if schema["type"] != "object" or not isinstance(schema["properties"], dict):
        return UNUSABLE
    return UNUSABLE if argument_problems(schema, {}) == UNUSABLE else None
