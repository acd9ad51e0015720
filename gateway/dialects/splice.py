"""New values for members at the top level of a JSON text, with every other byte left as it is.

Passing a request or an answer on needs another model name in it and little else: a body of 50 MB
is neither decoded nor copied for that. The texts are known to be JSON objects; what is not one
makes nothing worse than another text that is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import msgspec

Text = bytes | bytearray | memoryview
Piece = bytes | memoryview
Span = tuple[int, int]

# Possessive, so that a long string with many escapes needs no memory for ways back.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.S)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]', re.S)
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
# What follows a member's name: its value, if that is a string.
_MEMBER_VALUE = re.compile(_COLON.pattern + b"(" + _STRING.pattern + b")?+", re.S)
# Bytes of a text up to this size are copied: that takes less than looking into them.
_COPIED_BYTES = 16_384
_SCALAR = re.compile(rb"[^,\]}\s]+")
_HEAD = re.compile(rb"\s*\{\s*(\}?)")
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")
# A letter of a name in its escaped form, as an odd client may write it; none of another language.
_ESCAPED_ASCII = rb"\u00"
_ESCAPED_LETTER = re.compile(rb"\\u00(?:5[fF]|[67])")
# Larger texts are not looked through token by token, which would stop all others for seconds.
_SEARCHED_BYTES = 262_144
_NONE: Mapping[str, bytes] = MappingProxyType({})


def with_members(
    text: Text, present: Mapping[str, bytes], optional: Mapping[str, bytes] = _NONE
) -> list[Piece]:
    """The text in pieces with these values (JSON texts) in all members of these names.

    `present` are known to be there, `optional` are added where they are not. A name given twice
    gets its value twice: readers differ in which one they believe. The pieces look into `text`,
    unless it is a large one that has to be written anew, as its members are hard to find.
    """
    if (
        not optional
        and len(present) == 1
        and isinstance(text, bytes)
        and len(text) <= _COPIED_BYTES
    ):
        ((name, value),) = present.items()
        if (span := _plain_value(text, name)) is not None:
            return [text[: span[0]], value, text[span[1] :]]
    if len(text) > _SEARCHED_BYTES and (optional or not all(_is_plain(text, n) for n in present)):
        return _written_anew(text, {**optional, **present})
    changes = [
        (start, end, value)
        for name, value in present.items()
        for start, end in known_spans(text, name)
    ]
    for name, value in optional.items():
        found = value_spans(text, name)
        changes += [(start, end, value) for start, end in found] or [_addition(text, name, value)]
    return _changed(text, changes)


def with_value(text: Text, path: tuple[str, ...], value: bytes) -> list[Piece]:
    """The text in pieces with this value in the member at the end of a path, where there is one."""
    return _changed(text, [(start, end, value) for start, end in value_spans(text, *path)])


def _changed(text: Text, changes: list[tuple[int, int, bytes]]) -> list[Piece]:
    view = memoryview(text)
    pieces: list[Piece] = []
    done = 0
    for start, end, value in sorted(changes):
        pieces += (view[done:start], value)
        done = end
    return [*pieces, view[done:]]


def _written_anew(text: Text, values: Mapping[str, bytes]) -> list[Piece]:
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [memoryview(text)]
    members |= {name: msgspec.Raw(value) for name, value in values.items()}
    return [msgspec.json.encode(members)]


def known_value(text: Text, name: str) -> bytes:
    """The JSON text of a member that the object is known to have; of several, the last."""
    if len(text) > _SEARCHED_BYTES and not _is_plain(text, name):
        return bytes(msgspec.json.decode(text, type=dict[str, msgspec.Raw])[name])
    start, end = known_spans(text, name)[-1]
    return bytes(text[start:end])


def _is_plain(text: Text, name: str) -> bool:
    """Whether the name in quotes, once in the whole text, is that member's."""
    return _plain_value(text, name) is not None


def known_spans(text: Text, name: str) -> list[Span]:
    """`value_spans` of a name that the object is known to have: faster where it is there once."""
    span = _plain_value(text, name)
    return value_spans(text, name) if span is None else [span]


def _plain_value(text: Text, name: str) -> Span | None:
    """Where the value of a name stands that the text has once, in quotes, and hides nowhere else.

    Of an object that is known to have such a member, this is it; only escapes could hide another.
    """
    if isinstance(text, memoryview):
        return None
    key = _key(name)
    start = text.find(key)
    end = start + len(key)
    if start < 0 or text.find(key, end) >= 0:
        return None
    # Each look takes several times as long as the one before it.
    if _BACKSLASH in text and _ESCAPED_ASCII in text and _ESCAPED_LETTER.search(text):
        return None
    found = _MEMBER_VALUE.match(text, end)
    if found is None:
        return None
    return found.span(1) if found[1] else _value_span(text, found.end())


@lru_cache(maxsize=16)
def _key(name: str) -> bytes:
    return b'"%b"' % name.encode()


def value_spans(text: Text, name: str, *inner: str) -> list[Span]:
    """Where the values of this name stand at the top level, without the spaces around them.

    With more names: those of the last, in the objects that are the values of the ones before.
    """
    spans = []
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
        elif depth == 1 and _spells(token, name) and (colon := _COLON.match(text, token.end())):
            spans.append(_value_span(text, colon.end()))
    if not inner:
        return spans
    return [
        (start + first, start + last)
        for start, end in spans
        for first, last in value_spans(text[start:end], *inner)
    ]


def _spells(token: re.Match[bytes], name: str) -> bool:
    # Six bytes for a letter that is escaped. Longer tokens are not even copied.
    if token.end() - token.start() > 6 * len(name) + 2:
        return False
    return bool(msgspec.json.decode(token.group()) == name)


def _value_span(text: Text, start: int) -> Span:
    first = text[start]
    if first in _OPENING:
        return start, _container_end(text, start)
    value = (_STRING if first == _QUOTE else _SCALAR).match(text, start)
    return start, value.end() if value else start


def _container_end(text: Text, start: int) -> int:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        first = text[token.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
        if not depth:
            return token.end()
    return len(text)


def _addition(text: Text, name: str, value: bytes) -> tuple[int, int, bytes]:
    head = _HEAD.match(text)
    if not head:
        return 0, 0, b""
    at, comma = head.start(1), b"" if head.group(1) else b","
    return at, at, b'"%b":%b%b' % (name.encode(), value, comma)
