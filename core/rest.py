"""How the REST framework reads requests and chooses the form of answers."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any

from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

# Escapes that may stand for what Postgres cannot store: NUL, and halves of surrogate pairs.
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


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
        if b"\0" in raw or (_SUSPECT_ESCAPE.search(raw) and not is_storable(data)):
            raise ParseError(_("The JSON contains characters that cannot be stored."))
        return data


def is_storable(data: Any) -> bool:
    """Whether the texts in JSON can be written to the database: no NUL, no half characters."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
                return False
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
    return True


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
