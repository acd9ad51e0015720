"""JSON Schema checks: of a tool's own schema, and of the arguments that a model sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any

import jsonschema
from jsonschema.exceptions import SchemaError, ValidationError, relevance
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic import StringConstraints, TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import SchemaError as PatternError
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SHOWN_ERRORS = 3
MAX_SHOWN_CHARS = 300


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def _check_pattern(
    _validator: Any, pattern: str, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    # Python's `re` can be made to run for hours by a schema's author, and holds the interpreter
    # while it does; pydantic's engine is linear in the text.
    if not isinstance(instance, str):
        return
    try:
        _pattern(pattern).validate_python(instance)
    except PydanticValidationError:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Checker: type[Validator] = extend(  # type: ignore[no-untyped-call]  # types-jsonschema lacks it
    jsonschema.Draft202012Validator, {"pattern": _check_pattern}
)


@lru_cache(maxsize=512)
def _compiled(schema_json: str) -> Validator:
    # The empty registry: a `$ref` to an address must not make the server fetch it.
    return _Checker(json.loads(schema_json), registry=Registry())


def _patterns(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            yield pattern
        for value in node.values():
            yield from _patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from _patterns(value)


def _has_key(node: object, name: str) -> bool:
    if isinstance(node, dict):
        return name in node or any(_has_key(value, name) for value in node.values())
    return isinstance(node, list) and any(_has_key(value, name) for value in node)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"


def schema_problem(schema: object) -> str | None:
    """Why this cannot describe a tool's arguments, or None: it must be an object schema."""
    if not isinstance(schema, dict):
        return "must be a JSON Schema object"
    if schema.get("type") != "object":
        return 'must have "type": "object"'
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return _cut(f"{error.json_path}: {error.message}")
    if _has_key(schema, "patternProperties"):
        return "patternProperties is not supported"
    for pattern in _patterns(schema):
        try:
            _pattern(pattern)
        except PatternError:
            return _cut(f"pattern {pattern!r} is not supported (no look-around, no references)")
    return None


def argument_problems(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments, precisely enough for a model to mend them; else None."""
    validator = _compiled(json.dumps(schema, sort_keys=True))
    try:
        errors = sorted(validator.iter_errors(arguments), key=relevance)
    except (Unresolvable, PatternError):
        return "the tool's own parameter schema cannot be used"
    if not errors:
        return None
    shown = [f"{_place(error)}: {_cut(error.message)}" for error in errors[:MAX_SHOWN_ERRORS]]
    if len(errors) > MAX_SHOWN_ERRORS:
        shown.append(f"and {len(errors) - MAX_SHOWN_ERRORS} more")
    return "; ".join(shown)


def _place(error: ValidationError) -> str:
    return "arguments" + error.json_path.removeprefix("$")
