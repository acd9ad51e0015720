"""Reading a request's body: whatever is wrong with it becomes a sentence and a parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sized
from typing import Annotated, TypeVar

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.errors import InvalidRequest

T = TypeVar("T")
Body = bytes | bytearray | memoryview
# No name of ours is longer; what clients make up is kept in records and in memory.
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
# Messages, and parts of messages, of one request: more would take seconds to look at.
MAX_PARTS = 100_000

_TRUNCATED, _PREFIX = "truncated", "JSON is malformed: "
_SHORT = 64
_HALF_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*+\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])", re.S)
# Behind a sentence of msgspec's, where it tells a place.
_AT = " - at `"
# Sentences quote what the client wrote, which may be of any length.
_MAX_CHARS = 1_000
_TYPES = {
    "str": gettext_noop("a string"),
    "int": gettext_noop("an integer"),
    "float": gettext_noop("a number"),
    "bool": gettext_noop("true or false"),
    "array": gettext_noop("a list"),
    "object": gettext_noop("an object"),
    "null": gettext_noop("null"),
}


def read(body: Body, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type. Raises InvalidRequest, whose `param` says where."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from None
    except msgspec.DecodeError as error:
        raise invalid(_malformed(body, str(error))) from None
    except UnicodeDecodeError:
        raise invalid(_("The body is not valid UTF-8.")) from None
    except RecursionError:
        raise invalid(_("The body is nested too deeply.")) from None


def invalid(message: str, param: str | None = None) -> InvalidRequest:
    """The error that says so, with the parameter in front for clients that show the text only."""
    if len(message) > _MAX_CHARS:
        message = f"{message[:_MAX_CHARS]}…"
    return InvalidRequest(f"{param}: {message}" if param else message, param=param)


def check_parts(contents: Iterable[Sized | None]) -> None:
    """Refuses conversations in more pieces than any has. Raises InvalidRequest."""
    parts = 0
    for content in contents:
        parts += 1 if content is None or isinstance(content, str) else 1 + len(content)
        if parts > MAX_PARTS:
            text = _("A request may have at most {most} messages and parts of messages.")
            raise invalid(text.format(most=f"{MAX_PARTS:,}"), "messages")


def text_of(raw: msgspec.Raw, param: str) -> str:
    """JSON text that was only passed over so far. Raises InvalidRequest."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise invalid(_("This is not valid UTF-8."), param) from None


def string_of(raw: msgspec.Raw, param: str) -> str:
    """The string that the JSON text is. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid(_("This is not a valid string."), param) from None


def is_string(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[0] == ord('"')


def is_object(raw: msgspec.Raw) -> bool:
    return memoryview(raw)[0] == ord("{")


# --- msgspec's words -----------------------------------------------------------------------------


def _malformed(body: Body, reason: str) -> str:
    """What is wrong with a body that is no JSON at all."""
    if not bytes(body[:_SHORT]).strip() and len(body) <= _SHORT:
        return _("The body is empty; it must be a JSON object.")
    is_truncated = _TRUNCATED in reason
    # Half a pair looks to the parser as if its other half were cut off, or were wrong.
    if "surrogate" in reason or (is_truncated and _HALF_PAIR.search(body)):
        return _("The body is not valid JSON: a character is half of a pair (\\uD800 to \\uDFFF).")
    if is_truncated:
        return _("The body is not valid JSON: it ends before the object does.")
    reason = reason.removeprefix(_PREFIX)
    return _("The body is not valid JSON: {reason}.").format(reason=reason)


def _translated(text: str) -> InvalidRequest:
    what, place = _told_apart(text)
    for pattern, translate in _SENTENCES:
        if found := pattern.fullmatch(what):
            return translate(place, *found.groups())
    return invalid(_("This is not valid."), place or None)


def _told_apart(text: str) -> tuple[str, str]:
    """What is wrong, and where. The client's own words in it may look like either."""
    what, at, place = text.rpartition(_AT)
    if not at or not place.endswith("`"):
        return text, ""
    return what, place[:-1].removeprefix("key in ").removeprefix("$").removeprefix(".")


def _missing(place: str, name: str) -> InvalidRequest:
    return invalid(_("This field is required."), f"{place}.{name}".lstrip("."))


def _wrong_type(place: str, expected: str, got: str) -> InvalidRequest:
    message = _("This must be {expected}, not {got}.").format(
        expected=_(" or ").join(_named(each) for each in expected.split(" | ")), got=_named(got)
    )
    if place:
        return invalid(message, place)
    return invalid(_("The body must be a JSON object."))


def _named(kind: str) -> str:
    return _(_TYPES[kind]) if kind in _TYPES else kind


def _unknown_value(place: str, value: str) -> InvalidRequest:
    return invalid(_("“{value}” is not known here.").format(value=value.strip("'")), place)


def _at_least(place: str, bound: str) -> InvalidRequest:
    return invalid(_("This must be at least {bound}.").format(bound=_number(bound)), place)


def _at_most(place: str, bound: str) -> InvalidRequest:
    return invalid(_("This must be at most {bound}.").format(bound=_number(bound)), place)


def _empty(place: str, _least: str) -> InvalidRequest:
    return invalid(_("This must not be empty."), place)


def _too_long(place: str, kind: str, most: str) -> InvalidRequest:
    if kind == "str":
        return invalid(_("This may have at most {most} characters.").format(most=most), place)
    return invalid(_("This may have at most {most} elements.").format(most=most), place)


def _number(text: str) -> str:
    return text.removesuffix(".0")


_SENTENCES: tuple[tuple[re.Pattern[str], Callable[..., InvalidRequest]], ...] = (
    (re.compile(r"Object missing required field `(\w+)`"), _missing),
    (re.compile(r"Expected `(?:str|array|object)` of length >= (\d+)"), _empty),
    (re.compile(r"Expected `(str|array|object)` of length <= (\d+)"), _too_long),
    (re.compile(r"Expected `(?:int|float)` >= (\S+)"), _at_least),
    (re.compile(r"Expected `(?:int|float)` <= (\S+)"), _at_most),
    (re.compile(r"Expected `([^`]+)`, got `([^`]+)`"), _wrong_type),
    (re.compile(r"Invalid (?:enum )?value (.*)", re.S), _unknown_value),
)
