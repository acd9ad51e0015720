"""How the REST framework reads requests and chooses the form of answers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple

from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from core.errors import InvalidRequest

# Escapes that may stand for what Postgres cannot store: NUL, and halves of surrogate pairs.
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MAX_PATH_CHARS = 200


class StrictJSONParser(JSONParser):
    """JSON that can be stored: no NUL characters, no half characters, no bottomless nesting."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        raw = stream.read()
        try:
            data = super().parse(io.BytesIO(raw), media_type, parser_context)
        except RecursionError:
            raise ParseError(_("The JSON is nested too deeply.")) from None
        if b"\0" in raw or _SUSPECT_ESCAPE.search(raw):
            _require_storable(data)
        return data


def is_storable(data: Any) -> bool:
    """Whether the texts in JSON can be written to the database: no NUL, no half characters."""
    return _unstorable(data) is None


def _require_storable(data: Any) -> None:
    """Raises InvalidRequest, naming the field, for a text that cannot be written."""
    found = _unstorable(data)
    if found is None:
        return
    text = _("The text contains characters that cannot be stored: NUL, or half of a pair.")
    field = _dotted(found.place)[:_MAX_PATH_CHARS]
    raise InvalidRequest(text, param=field or None, details={field: [text]} if field else {})


class _Place(NamedTuple):
    """Where a value stands in JSON: in what, and under which name or number."""

    inside: _Place | None
    name: str | int


class _Found(NamedTuple):
    place: _Place | None
    value: Any


def _unstorable(data: Any) -> _Found | None:
    """A text that cannot be written; of the name of a field, the object that has it."""
    waiting = [_Found(None, data)]
    while waiting:
        found = waiting.pop()
        place, value = found
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                return found
        elif isinstance(value, dict):
            if any(map(_UNSTORABLE.search, value)):
                return found
            waiting += [_Found(_Place(place, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [_Found(_Place(place, at), item) for at, item in enumerate(value)]
    return None


def _dotted(place: _Place | None) -> str:
    """The place as `messages.0.content`; empty for all of the JSON."""
    names: list[str] = []
    while place is not None:
        names.append(str(place.name))
        place = place.inside
    return ".".join(reversed(names))


class LenientNegotiation(DefaultContentNegotiation):
    """Answers in the view's first format when a client asks for one that the view does not have.

    Clients of event streams and browsers send an `Accept` that JSON does not match; refusing them
    (406), or reading `?format=` as a choice of renderer (404), would help nobody.
    """

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        offered = list(renderers)
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(
                request, offered, format_suffix
            )
        except (NotAcceptable, Http404):
            return offered[0], offered[0].media_type or "application/json"
        return chosen
