"""JSON pointers (RFC 6901): a part of a document, by its path. Pure."""

from __future__ import annotations

import re
from typing import Any

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE = re.compile(r"~(?![01])")


def is_pointer(text: str) -> bool:
    """Whether it is one: empty, or parts that each begin with a slash, `~` only as ~0 or ~1."""
    return text == "" or (text.startswith("/") and not _BAD_ESCAPE.search(text))


def resolved(document: Any, pointer: str) -> Any:
    """The part that the pointer names. Raises LookupError, naming the first step that fails."""
    if not is_pointer(pointer):
        raise LookupError(pointer)
    steps = pointer.split("/")[1:]
    for position, step in enumerate(steps):
        try:
            document = _child(document, step.replace("~1", "/").replace("~0", "~"))
        except LookupError:
            raise LookupError("/" + "/".join(steps[: position + 1])) from None
    return document


def _child(node: Any, step: str) -> Any:
    if isinstance(node, dict):
        return node[step]
    if isinstance(node, list) and _INDEX.fullmatch(step):
        return node[int(step)]
    raise LookupError(step)
