"""JSON Schema checks: of a tool's own schema, and of the arguments that a model sends.

Users write schemas, and so do foreign servers; a short one can mean endless work. So a schema has
a size, every step of a check is counted, patterns run in an engine that is linear in the text, and
no reference leaves the schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
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
from referencing.jsonschema import DRAFT202012

MAX_SHOWN_ERRORS = 3
MAX_SHOWN_CHARS = 300
MAX_SCHEMA_CHARS = 64_000
MAX_SCHEMA_DEPTH = 40
MAX_LIST_ITEMS = 500
MAX_PATTERNS = 32
# What a text may have to be matched with a pattern: ids, dates and numbers have far less.
MAX_MATCHED_CHARS = 1000
# Keywords looked at and items compared in one check; an ordinary one takes some dozens.
MAX_STEPS = 50_000

_UNSUPPORTED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef")
_WITHIN = "only references within the schema (#/…) are supported"
UNUSABLE = "the tool's own parameter schema cannot be used"

Check = Callable[..., Iterator[ValidationError] | None]


class _TooMuchError(Exception):
    """A check that takes more steps than any honest schema needs."""


_steps_left: ContextVar[int] = ContextVar("steps_left", default=MAX_STEPS)


def _spend(steps: int) -> None:
    left = _steps_left.get() - steps
    _steps_left.set(left)
    if left < 0:
        raise _TooMuchError


# --- Keywords that are checked in another way than the library's --------------------------------


@lru_cache(maxsize=128)
def _pattern(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def _check_pattern(
    _validator: Any, pattern: str, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    # Python's `re` can be made to run for hours by a schema's author, and holds the interpreter
    # while it does; pydantic's engine is linear in the text.
    if not isinstance(instance, str):
        return
    if len(instance) > MAX_MATCHED_CHARS:
        yield ValidationError(f"more than {MAX_MATCHED_CHARS} characters, too long for its pattern")
        return
    _spend(100 + 20 * len(instance))
    try:
        _pattern(pattern).validate_python(instance)
    except PatternError:
        # Of a foreign server, which checks what it is sent itself; users cannot save such a one.
        return
    except PydanticValidationError:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _check_unique(
    _validator: Any, is_wanted: bool, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    # The library compares each with each.
    if not is_wanted or not isinstance(instance, list):
        return
    if len({json.dumps(item, sort_keys=True) for item in instance}) < len(instance):
        yield ValidationError("the items are not all different")


def _check_additional(
    validator: Any, allowed: Any, instance: object, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    # The library reads `patternProperties` here, with Python's `re`.
    if "patternProperties" not in schema:
        yield from _LIBRARYS["additionalProperties"](validator, allowed, instance, schema) or ()


def _size(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _counted(check: Check) -> Check:
    def counting(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError] | None:
        _spend(1 + _size(value) + _size(instance))
        return check(validator, value, instance, schema)

    return counting


_LIBRARYS: dict[str, Check] = dict(jsonschema.Draft202012Validator.VALIDATORS)
_OURS: dict[str, Check] = {
    **_LIBRARYS,
    "pattern": _check_pattern,
    "uniqueItems": _check_unique,
    "additionalProperties": _check_additional,
    # Foreign servers' schemas may have them; they check their arguments themselves.
    **dict.fromkeys(_UNSUPPORTED, lambda *_arguments: None),
}
_Checker: type[Validator] = extend(  # type: ignore[no-untyped-call]  # types-jsonschema lacks it
    jsonschema.Draft202012Validator, {name: _counted(check) for name, check in _OURS.items()}
)


@lru_cache(maxsize=512)
def _compiled(schema_json: str) -> Validator | None:
    """The schema's checker; None where it is none of a bearable size."""
    schema = json.loads(schema_json)
    if _problem(schema, schema_json):
        return None
    # The empty registry: a `$ref` to an address must not make the server fetch it.
    return _Checker(schema, registry=Registry())


# --- Schemas ------------------------------------------------------------------------------------


def _nodes(schema: object) -> Iterator[tuple[int, object]]:
    """Everything in a schema with its depth, without recursion."""
    waiting = [(1, schema)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend((depth + 1, value) for value in inner)


def _size_problem(schema: object) -> str | None:
    patterns = 0
    for depth, node in _nodes(schema):
        if depth > MAX_SCHEMA_DEPTH:
            return "is nested too deeply"
        if isinstance(node, list) and len(node) > MAX_LIST_ITEMS:
            return f"has a list of more than {MAX_LIST_ITEMS} items"
        patterns += isinstance(node, dict) and isinstance(node.get("pattern"), str)
    return f"has more than {MAX_PATTERNS} patterns" if patterns > MAX_PATTERNS else None


def _subschemas(schema: dict[str, Any]) -> Iterator[Any]:
    """Every schema in a schema, itself first: what else is in it is data."""
    waiting = [DRAFT202012.create_resource(schema)]
    while waiting:
        resource = waiting.pop()
        yield resource.contents
        waiting.extend(resource.subresources())


def _reference_problem(schema: dict[str, Any]) -> str | None:
    """What of its references cannot be followed safely; of the rest, a check finds out.

    The library follows them to whatever is there, and fails at what is no schema; for an anchor, it
    looks through all of the schema each time; and below an `$id`, places have other names.
    """
    schemas = [each for each in _subschemas(schema) if isinstance(each, dict)]
    if any("$id" in each for each in schemas[1:]):
        return "$id is supported in the outermost schema only"
    places = {id(each) for each in schemas}
    for reference in (each["$ref"] for each in schemas if "$ref" in each):
        if _is_anchor(reference):
            return _cut(f"$ref {reference!r}: {_WITHIN}")
        if reference.startswith("#") and not _may_be_followed(schema, reference, places):
            return _cut(f"$ref {reference!r} leads to what is no schema")
    return None


def _is_anchor(reference: str) -> bool:
    return reference.startswith("#") and reference != "#" and not reference.startswith("#/")


def _may_be_followed(schema: dict[str, Any], reference: str, places: set[int]) -> bool:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    try:
        target = resolver.lookup(reference).contents
    except Unresolvable:
        return True
    except (TypeError, ValueError):
        # A step into a number, or one with a name into a list.
        return False
    return id(target) in places or isinstance(target, bool)


def _loose_end(schema: dict[str, Any]) -> str | None:
    """The first reference that leads nowhere, or out of the schema."""
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for each in _subschemas(schema):
        reference = each.get("$ref") if isinstance(each, dict) else None
        if reference is None:
            continue
        if not reference.startswith("#"):
            return _cut(f"$ref {reference!r}: {_WITHIN}")
        try:
            resolver.lookup(reference)
        except Unresolvable:
            return _cut(f"$ref {reference!r} leads nowhere")
    return None


def _pattern_problem(schema: object) -> str | None:
    for _depth, node in _nodes(schema):
        pattern = node.get("pattern") if isinstance(node, dict) else None
        if not isinstance(pattern, str):
            continue
        try:
            _pattern(pattern)
        except PatternError:
            return _cut(f"pattern {pattern!r} is not supported (no look-around, no references)")
    return None


def _problem(schema: Any, schema_json: str) -> str | None:
    """Why this cannot be checked by: too large, no JSON Schema, or with unsafe references."""
    if len(schema_json) > MAX_SCHEMA_CHARS:
        return f"is longer than {MAX_SCHEMA_CHARS} characters"
    if problem := _size_problem(schema):
        return problem
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return _cut(f"{error.json_path}: {error.message}")
    return _reference_problem(schema)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"


def schema_problem(schema: object) -> str | None:
    """Why this cannot describe a tool's arguments, or None: it must be an object schema."""
    if not isinstance(schema, dict):
        return "must be a JSON Schema object"
    if schema.get("type") != "object":
        return 'must have "type": "object"'
    try:
        schema_json = json.dumps(schema)
    except RecursionError:
        return "is nested too deeply"
    if problem := _problem(schema, schema_json) or _loose_end(schema):
        return problem
    names = {name for _depth, node in _nodes(schema) if isinstance(node, dict) for name in node}
    for name in _UNSUPPORTED:
        if name in names:
            return f"{name} is not supported"
    return _pattern_problem(schema)


def argument_problems(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with the arguments, precisely enough for a model to mend them; else None."""
    before = _steps_left.set(MAX_STEPS)
    try:
        validator = _compiled(json.dumps(schema, sort_keys=True))
        if validator is None:
            return UNUSABLE
        # The first hundred: there is no end to what can be wrong.
        errors = sorted(islice(validator.iter_errors(arguments), 100), key=relevance)
    except (Unresolvable, RecursionError, _TooMuchError, OverflowError):
        return UNUSABLE
    finally:
        _steps_left.reset(before)
    if not errors:
        return None
    shown = [f"{_place(error)}: {_cut(error.message)}" for error in errors[:MAX_SHOWN_ERRORS]]
    if len(errors) > MAX_SHOWN_ERRORS:
        shown.append(f"and {len(errors) - MAX_SHOWN_ERRORS} more")
    return "; ".join(shown)


def _place(error: ValidationError) -> str:
    return "arguments" + error.json_path.removeprefix("$")
