"""`/tools/resources`: the tools of the caller and the system's, as rows that can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.db.models import F, QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.families import Tools
from core.serializers import wire_names
from core.viewsets import PlatformPagination
from tooling import actions
from tooling.access import require_editable, tool_not_found, visible_tools
from tooling.api.filters import ToolFilters
from tooling.api.serializers import DeletedSerializer, ToolResourceSerializer
from tooling.api.tools import language_of
from tooling.catalogue import is_builtin, normalise_tool_id
from tooling.models import Tool


class ToolsPagination(PlatformPagination):
    """`page` and `limit` in the envelope of the tools family."""

    default_size = 100
    max_size = 1000

    def get_paginated_response(self, data: Any) -> Response:
        body = Tools.page(data, total=self.total, page=self.page, page_size=self.page_size)
        return Response(body)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer"}
        properties = {"total": number, "page": number, "limit": number, "list": schema}
        return {"type": "object", "properties": properties, "required": list(properties)}


@extend_schema_view(
    list=extend_schema(operation_id="tools_resources_list"),
    retrieve=extend_schema(operation_id="tools_resources_retrieve"),
    destroy=extend_schema(responses={200: DeletedSerializer}),
)
class ToolResourceViewSet(GenericViewSet[Tool]):
    """Tools: own ones and the system's, of which operators change `enabled`."""

    serializer_class = ToolResourceSerializer
    pagination_class = ToolsPagination
    filterset_class = ToolFilters
    lookup_value_regex = "[^/]+"
    queryset = Tool.objects.none()

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_queryset(self) -> QuerySet[Tool]:
        rows = visible_tools(self.principal).prefetch_related("secrets")
        return rows.order_by(F("owner").asc(nulls_first=True), "created_at", "pk")

    def get_object(self) -> Tool:
        """The row of the URL; an unknown one and one that must not be seen raise the same."""
        self.kwargs["pk"] = normalise_tool_id(self.kwargs["pk"])
        try:
            return super().get_object()
        except Http404:
            raise tool_not_found() from None

    def get_own_object(self) -> Tool:
        """The row of the URL, if it may be changed."""
        row = self.get_object()
        require_editable(self.principal, row)
        return row

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "language": language_of(self.request)}

    def list(self, request: Request) -> Response:
        """Tools, the system's first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One tool."""
        return Response(self._shown(self.get_object()))

    def create(self, request: Request) -> Response:
        """A new tool of the caller."""
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        with wire_names(body):
            row = actions.create_tool(self.principal.user_id, body.validated_data)
        return Response(self._shown(row))

    def update(self, request: Request, pk: str) -> Response:
        """Changes what is sent."""
        row = self.get_own_object()
        body = self.get_serializer(row, data=self._sent(row), partial=True)
        body.is_valid(raise_exception=True)
        values = cast(actions.ToolValues, body.validated_data)
        with wire_names(body):
            row = actions.update_tool(row, values, by_operator=self.principal.is_operator)
        return Response(self._shown(row))

    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes what is sent."""
        return self.update(request, pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes a tool; assistants that use it go on without it."""
        actions.delete_tool(self.get_own_object())
        return Response({"message": _("Deleted successfully")})

    def _sent(self, row: Tool) -> Any:
        """The body; of a built-in tool, without what it says as the tool says it itself."""
        data = self.request.data
        if not is_builtin(row) or not isinstance(data, Mapping):
            return data
        shown = self._shown(row)
        return {key: value for key, value in data.items() if shown.get(key, ...) != value}

    def _shown(self, row: Tool) -> Any:
        return self.get_serializer(row).data
