"""What every endpoint of the tasks family shares: how bodies and queries are read, and answers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import IO, Any, cast

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from core.errors import InvalidRequest
from core.families import Tasks
from core.rest import StrictJSONParser

MAX_LISTED, LISTED = 100, 20
# A string, which is kept, or a comment, which is not. What begins a string and never ends is one
# too: otherwise each quote in it would be tried as the beginning of another.
_STRING_OR_COMMENT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|#[^\r\n]*', re.DOTALL)


class CommentedJSONParser(StrictJSONParser):
    """An object of JSON, whatever the content type says.

    The published samples have `# …` comments in their bodies; they are read where they are the only
    thing that is wrong.
    """

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        raw = stream.read()
        data = self._read(raw, media_type, parser_context)
        if not isinstance(data, dict):
            raise _no_json()
        return data

    def _read(self, raw: bytes, media_type: str | None, context: Mapping[str, Any] | None) -> Any:
        for text in (raw, without_comments(raw)):
            try:
                return super().parse(io.BytesIO(text), media_type, context)
            except ParseError:
                continue
        raise _no_json()


def without_comments(raw: bytes) -> bytes:
    """The text without what stands behind a `#` outside of strings."""
    return _STRING_OR_COMMENT.sub(lambda found: found[0] if found[0].startswith(b'"') else b"", raw)


def _no_json() -> InvalidRequest:
    return InvalidRequest(_("The request body must be a JSON object."), code="INVALID_BODY")


class TasksView(APIView):
    """A view of the family."""

    required_scope = Scope.TASKS
    parser_classes = (CommentedJSONParser,)


def answer(data: Mapping[str, Any] | None = None, *, status: int = 200) -> Response:
    """A tasks answer: success and the data's keys."""
    return Response(Tasks.success(data), status=status)


def body_of(request: Request) -> Mapping[str, Any]:
    """What was sent: the parser lets through nothing but objects, and no body is an empty one."""
    return cast(Mapping[str, Any], request.data)


def clamped_query(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A number of the query, brought within its bounds; what is none counts as not sent."""
    text = request.query_params.get(name, "").strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return default
    number = int(digits[:18]) * (-1 if text.startswith("-") else 1)
    return min(most, max(least, number))


def page_of(request: Request) -> tuple[int, int]:
    """The first row of a list, and how many."""
    count = clamped_query(request, "limit", default=LISTED, least=1, most=MAX_LISTED)
    return clamped_query(request, "offset", default=0, least=0, most=10**9), count


PAGE_PARAMETERS = [
    OpenApiParameter("limit", int, description="1 to 100; other numbers are brought into this."),
    OpenApiParameter("offset", int, description="From 0."),
]
