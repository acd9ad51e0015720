"""What every endpoint of the agentchat family shares: its envelope, and how its bodies are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import NotFound
from core.families import AgentChat
from core.models import OwnedRow
from core.serializers import WireSerializer
from core.viewsets import positive_query

MAX_LISTED = 1000
# How lists are read in parts; without them, up to so many at once.
PAGE = [OpenApiParameter("page", int), OpenApiParameter("limit", int)]
# OpenAPI knows no body of DELETE.
IN_QUERY = "May also be sent in a JSON body."


def answer(data: Any = None) -> Response:
    """An agentchat answer around the data."""
    return Response(AgentChat.success(data))


def sent(request: Request, form: type[WireSerializer]) -> dict[str, Any]:
    """The validated fields of the body, or of the query where a proxy dropped the body."""
    fields: dict[str, Any] = validated(request, form).validated_data
    return fields


def validated(request: Request, form: type[WireSerializer]) -> WireSerializer:
    """The form with what was sent in it, found valid. Raises ValidationError."""
    data = request.data
    if isinstance(data, QueryDict) or data == {}:
        # A form may give several values for a name, and so may a query.
        given = request.query_params.copy()
        for name, values in dict(data).items():
            given.setlist(name, values)
        data = given
    elif isinstance(data, Mapping):
        data = {**request.query_params.dict(), **data}
    body = form(data=data)
    body.is_valid(raise_exception=True)
    return body


def page_of(request: Request) -> tuple[int, int]:
    """Which page of a list is asked for, from 1, and its number of rows. Raises InvalidRequest."""
    size = positive_query(request, ("limit", "page_size"), MAX_LISTED)
    return positive_query(request, ("page",), 1), min(size, MAX_LISTED)


@contextmanager
def naming(field: str) -> Iterator[None]:
    """What is not found inside, is not found as the value of this field."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"{field}: {error.message}", code=error.error_code, param=field) from None


def owner_word(row: OwnedRow) -> str:
    """The owner as this family names users; the system is user 0."""
    return str(row.owner_id or 0)


class IdField(serializers.CharField):
    """The id of a row."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, **kwargs)
