"""JSON: each object as lines of `key: value` below its path, numbers digit by digit as written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowledge.parse.charsets import decode
from knowledge.parse.draft import Draft, Refused, clean
from knowledge.parse.wire import Order

# Numbers stay text: nothing is rounded, and no number is too long.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)
_MAX_PATH = 200


def read(order: Order, draft: Draft) -> None:
    for value in _values(decode(Path(order.path).read_bytes())):
        for path, lines in _groups(value):
            heading = [path] if path else []
            draft.add("paragraph", "\n".join(heading + lines))


def _values(text: str) -> Iterator[Any]:
    """The value of the file, or of each of its lines (JSON Lines)."""
    try:
        yield _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise Refused("broken") from None
        for line in text.split("\n"):
            if line.strip():
                yield _line_value(line)


def _line_value(line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError:
        raise Refused("broken") from None


def _groups(root: Any) -> Iterator[tuple[str, list[str]]]:
    """The path of every object and array with the plain values in it, in the order of the file.

    Without recursion: the values may be nested as deep as the decoder lets them.
    """
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        path, value = stack.pop()
        if not isinstance(value, dict | list):
            yield path, [_plain(value)]
            continue
        inner: list[tuple[str, Any]] = []
        lines: list[str] = []
        for key, item in _items(value):
            if isinstance(item, dict) or (isinstance(item, list) and not _is_plain(item)):
                inner.append((_joined(path, key), item))
            elif isinstance(item, list):
                lines.append(_labelled(key, ", ".join(map(_plain, item))))
            else:
                lines.append(_labelled(key, _plain(item)))
        if lines:
            yield path, lines
        stack.extend(reversed(inner))


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    yield from value.items() if isinstance(value, dict) else enumerate(value)


def _is_plain(items: list[Any]) -> bool:
    return not any(isinstance(item, dict | list) for item in items)


def _labelled(key: str | int, text: str) -> str:
    """Positions in an array say nothing; names in an object do."""
    return f"{key}: {text}" if isinstance(key, str) else text


def _plain(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return clean(str(value))


def _joined(path: str, key: str | int) -> str:
    """`users[2].address`, and of a very long path its end."""
    name = f".{key}" if path else str(key)
    joined = path + (f"[{key}]" if isinstance(key, int) else name)
    return joined if len(joined) <= _MAX_PATH else "…" + joined[-_MAX_PATH:]
