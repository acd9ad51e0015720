"""What models call the tools of a server, and by what a change of one shows; no input or output."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

MAX_NAME = 64
MAX_PREFIX = 32
_SEPARATOR = "__"
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]+")
_PREFIX = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_))*(?<!_)")
_HASH_CHARS = 8


def digest_of(name: str, description: str, input_schema: dict[str, Any]) -> str:
    """A fingerprint of everything of a tool that a model reads."""
    text = json.dumps([name, description, input_schema], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def called(prefix: str, tool_name: str) -> str:
    """`prefix__tool`, in the characters and the length that every model vendor takes.

    A name that had to be changed ends in a part of its hash, so that two never become one.
    """
    plain = prefix + _SEPARATOR + tool_name
    fitting = _FOREIGN.sub("_", plain)
    if fitting == plain and len(plain) <= MAX_NAME:
        return plain
    mark = "_" + hashlib.sha256(plain.encode()).hexdigest()[:_HASH_CHARS]
    return fitting[: MAX_NAME - len(mark)] + mark


def is_prefix(text: str) -> bool:
    """Whether this can stand before `__`."""
    return len(text) <= MAX_PREFIX and _PREFIX.fullmatch(text) is not None


def prefix_for(name: str, taken: Collection[str]) -> str:
    """A prefix that resembles a server's name and that no other server of its owner has."""
    words = _FOREIGN.sub("_", name)
    stem = re.sub("_{2,}", "_", words).strip("_-")[:MAX_PREFIX].strip("_-").lower() or "mcp"
    if stem not in taken:
        return stem
    number = 2
    while (candidate := f"{stem[: MAX_PREFIX - 4]}_{number}") in taken:
        number += 1
    return candidate
