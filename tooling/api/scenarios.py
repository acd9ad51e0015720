"""`/tools/autotest/scenarios`: scripted conversations that test an assistant."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.serializers import WireSerializer
from tooling.api.filters import ScenarioFilters
from tooling.api.resources import ToolsPagination
from tooling.api.serializers import DeletedSerializer
from tooling.autotest import scenarios
from tooling.autotest.scenario import MAX_EXPECTATIONS, MAX_STEPS
from tooling.autotest.scenarios import ScenarioValues
from tooling.models import Scenario


class ScenarioSerializer(WireSerializer):
    """A conversation; each step is `{say, expect_words, forbid_words, expect_tools}`."""

    id = serializers.CharField(read_only=True)
    user_id = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)
    name = serializers.CharField(max_length=100)
    assistant_id = serializers.CharField(max_length=64)
    steps = serializers.JSONField(
        help_text=(
            f"1 to {MAX_STEPS} objects: `say` and up to {MAX_EXPECTATIONS} `expect_words`, "
            "`forbid_words` and `expect_tools` each. A word may be alternatives: `yes|sure`."
        )
    )
    is_system = serializers.BooleanField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)


@extend_schema_view(
    list=extend_schema(operation_id="tools_autotest_scenarios_list"),
    retrieve=extend_schema(operation_id="tools_autotest_scenarios_retrieve"),
    destroy=extend_schema(responses={200: DeletedSerializer}),
)
class ScenarioViewSet(GenericViewSet[Scenario]):
    """Conversations: own ones and the system's."""

    serializer_class = ScenarioSerializer
    pagination_class = ToolsPagination
    filterset_class = ScenarioFilters
    lookup_value_regex = "[^/]+"
    queryset = Scenario.objects.none()

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_queryset(self) -> QuerySet[Scenario]:
        return scenarios.visible_scenarios(self.principal).order_by("name", "pk")

    def list(self, request: Request) -> Response:
        """Conversations by name."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One conversation."""
        return self._answer(scenarios.access_scenario(self.principal, pk))

    def create(self, request: Request) -> Response:
        """A new conversation of the caller."""
        return self._answer(scenarios.create_scenario(self.principal, self._sent()))

    def update(self, request: Request, pk: str) -> Response:
        """Changes what is sent."""
        row = scenarios.access_own_scenario(self.principal, pk)
        return self._answer(scenarios.save_scenario(self.principal, row, self._sent(row)))

    def partial_update(self, request: Request, pk: str) -> Response:
        """Changes what is sent."""
        return self.update(request, pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Deletes a conversation; runs that held it stay."""
        scenarios.access_own_scenario(self.principal, pk).delete()
        return Response({"message": _("Deleted successfully")})

    def _sent(self, row: Scenario | None = None) -> ScenarioValues:
        body = self.get_serializer(row, data=self.request.data, partial=row is not None)
        body.is_valid(raise_exception=True)
        return cast(ScenarioValues, body.validated_data)

    def _answer(self, row: Scenario) -> Response:
        shown: dict[str, Any] = self.get_serializer(row).data
        return Response(shown)
