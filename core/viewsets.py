"""What every resource of the platform family shares: paging, envelope, both kinds of update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from core.errors import InvalidRequest, NotFound
from core.families import Platform
from core.filters import FALSE_WORDS, TRUE_WORDS

M = TypeVar("M", bound=Model)


def success(data: Any, status: int = 200) -> Response:
    """A platform answer around the data."""
    return Response(Platform.success(data), status=status)


def positive_query(request: Request, names: tuple[str, ...], default: int) -> int:
    """A number of at least 1 from the first of these query names that was sent."""
    for name in names:
        if (text := request.query_params.get(name)) is None:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) < 1:
            raise InvalidRequest(_("Expected a whole number of at least 1."), param=name)
        return int(text)
    return default


def flag_query(request: Request, name: str) -> bool:
    """Whether this query name was sent as `true` or `1`; not sent means false."""
    text = request.query_params.get(name, "false")
    if text not in TRUE_WORDS + FALSE_WORDS:
        raise InvalidRequest(_("Expected true or false."), param=name)
    return text in TRUE_WORDS


class PlatformPagination(BasePagination):
    """`page` and `page_size` (or `limit`); a page beyond the end is empty, not an error."""

    default_size = 20
    max_size = 100

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: Any = None
    ) -> list[Any]:
        self.page = positive_query(request, ("page",), 1)
        size = positive_query(request, ("page_size", "limit"), self.default_size)
        self.page_size = min(size, self.max_size)
        self.total = queryset.count() if isinstance(queryset, QuerySet) else len(queryset)
        start = (self.page - 1) * self.page_size
        return list(queryset[start : start + self.page_size]) if start < self.total else []

    def get_paginated_response(self, data: Any) -> Response:
        body = Platform.page(data, total=self.total, page=self.page, page_size=self.page_size)
        return Response(body)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer"}
        properties = {"items": schema, "total": number, "page": number, "page_size": number}
        return {"type": "object", "properties": properties, "required": list(properties)}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        def number(name: str, default: int, maximum: int | None) -> dict[str, Any]:
            schema: dict[str, Any] = {"type": "integer", "minimum": 1, "default": default}
            if maximum:
                schema["maximum"] = maximum
            return {"name": name, "in": "query", "required": False, "schema": schema}

        return [
            number("page", 1, None),
            number("page_size", self.default_size, self.max_size),
            number("limit", self.default_size, self.max_size),
        ]


class PlatformViewSet(GenericViewSet[M]):
    """List, create, retrieve, update and delete one kind of row in the platform's envelope.

    A subclass gives `get_queryset` (only what the principal may see), `serializer_class`, and where
    a row needs more than being saved, `create_row`, `update_row` or `delete_row`.
    """

    pagination_class = PlatformPagination
    lookup_value_regex = "[^/]+"
    not_found_code: ClassVar[str] = "NOT_FOUND"

    def get_object(self) -> M:
        """The row of the URL; an unknown one and one that must not be seen raise the same."""
        try:
            return super().get_object()
        except Http404:
            raise self.not_found() from None

    def not_found(self) -> NotFound:
        return NotFound(_("Not found."), code=self.not_found_code)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return success(self.render(self.get_object()))

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return success(self.render(self.create_row(serializer)), status=201)

    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(self.get_object(), data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return success(self.render(self.update_row(serializer)))

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.update(request, *args, **kwargs)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row = self.get_object()
        row_id = row.pk
        self.delete_row(row)
        return success({"id": row_id, "deleted": True})

    def render(self, row: M) -> Any:
        """The row as clients see it."""
        return self.get_serializer(row).data

    def create_row(self, serializer: serializers.BaseSerializer[M]) -> M:
        return serializer.save()

    def update_row(self, serializer: serializers.BaseSerializer[M]) -> M:
        return serializer.save()

    def delete_row(self, row: M) -> None:
        row.delete()
