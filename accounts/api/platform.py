"""API keys in the platform family."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import as_row_id, visible_api_keys
from accounts.actions import NewKey, create_own_api_key, revoke_api_key, update_api_key
from accounts.models import ApiKey, Scope
from accounts.permissions import principal_of
from core.viewsets import PlatformViewSet, success


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without the key: that is shown once, when it is made."""

    enabled = serializers.BooleanField(
        source="is_enabled",
        required=False,
        help_text=_("A new key is enabled, whatever is sent."),
    )
    user_id = serializers.IntegerField(source="owner_id", read_only=True)
    scopes = serializers.MultipleChoiceField(choices=Scope.choices, required=False)
    requests_per_minute = serializers.IntegerField(
        min_value=1, max_value=1_000_000, required=False, allow_null=True
    )

    class Meta:
        model = ApiKey
        fields: ClassVar = [
            "id", "user_id", "name", "prefix", "scopes", "enabled", "expires_at",
            "requests_per_minute", "tokens_per_minute", "allowed_models", "monthly_token_budget",
            "monthly_cost_budget", "last_used_at", "created_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = [
            "prefix", "tokens_per_minute", "allowed_models", "monthly_token_budget",
            "monthly_cost_budget",
        ]  # fmt: skip

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["scopes"] = sorted(shown["scopes"])
        return shown


class NewApiKeyShape(ApiKeySerializer):
    """The one answer that holds the key itself."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields: ClassVar = [*ApiKeySerializer.Meta.fields, "key"]


class ApiKeyViewSet(PlatformViewSet[ApiKey]):
    """The keys of the one who asks; operators see all."""

    queryset = ApiKey.objects.none()
    serializer_class = ApiKeySerializer
    not_found_code = "API_KEY_NOT_FOUND"

    def get_queryset(self) -> QuerySet[ApiKey]:
        return visible_api_keys(principal_of(self.request))

    def get_object(self) -> ApiKey:
        if as_row_id(self.kwargs["pk"]) is None:
            raise self.not_found()
        return super().get_object()

    @extend_schema(responses={201: NewApiKeyShape})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        wanted = NewKey(
            name=fields["name"],
            scopes=tuple(fields["scopes"]) if "scopes" in fields else None,
            requests_per_minute=fields.get("requests_per_minute"),
            expires_at=fields.get("expires_at"),
        )
        row, key = create_own_api_key(principal_of(request), wanted)
        return success({**self.render(row), "key": key}, status=201)

    def update_row(self, serializer: serializers.BaseSerializer[ApiKey]) -> ApiKey:
        row = self.get_object()
        update_api_key(principal_of(self.request), row, serializer.validated_data)
        return row

    def delete_row(self, row: ApiKey) -> None:
        revoke_api_key(principal_of(self.request), row)
