"""Tool calls as models write them, read with suspicion. Pure."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from providers.types import ToolCall

MAX_ARGUMENT_CHARS = 32_000
MAX_ARGUMENT_DEPTH = 64
MAX_NAME_CHARS = 64

# What vendors take back as the id of a call, and in the name of a tool.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
# Half of a character, as it is or escaped; escaped, the other half may follow.
_HALF = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")


def parsed(arguments: str) -> dict[str, Any]:
    """The arguments. Raises ValueError, which says what keeps them from being a JSON object."""
    if len(arguments) > MAX_ARGUMENT_CHARS:
        raise ValueError(f"longer than {MAX_ARGUMENT_CHARS} characters")
    try:
        value = json.loads(
            arguments or "{}", parse_constant=_refused_number, parse_float=_finite_number
        )
        is_deep = _is_deeper(value, MAX_ARGUMENT_DEPTH)
    except RecursionError:
        is_deep = True
    if is_deep:
        raise ValueError("nested too deeply")
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} instead of an object")
    if not _HALF.search(arguments):
        return value
    return {_whole(key): _whole(item) for key, item in value.items()}


def identity(call: ToolCall, arguments: Mapping[str, Any] | None) -> tuple[str, str]:
    """The same for calls that ask the same. `arguments` is None where they cannot be read."""
    if arguments is None:
        return call.name, call.arguments
    return call.name, json.dumps(arguments, sort_keys=True)


def returnable(call: ToolCall) -> ToolCall:
    """The call as vendors take it back: they refuse odd names and what is no JSON object."""
    name = _NOT_IN_NAMES.sub("_", call.name[:MAX_NAME_CHARS]) or "unknown"
    try:
        value = parsed(call.arguments)
    except ValueError:
        value = {}
        is_fine = False
    else:
        is_fine = bool(call.arguments) and not _HALF.search(call.arguments)
    arguments = call.arguments if is_fine else json.dumps(value)
    return dataclasses.replace(call, name=name, arguments=arguments)


def is_returnable_id(call_id: str) -> bool:
    """Whether every vendor takes this back as the id of a call."""
    return _ID.fullmatch(call_id) is not None


def _refused_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _is_deeper(value: object, levels: int) -> bool:
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deeper(item, levels - 1) for item in inner)


def _whole(value: Any) -> Any:
    """The same without half characters, which neither sockets nor the database take."""
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case _:
            return value
