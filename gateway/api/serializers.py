"""Keys, public models and what requests took, as REST shows them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.models import ApiKey, Scope
from gateway import directory
from gateway.models import Kind, PublicModel, Route, UsageRecord

_MOST = 2**31 - 1


class Money(serializers.DecimalField):
    """A sum that is a number on the wire."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_digits": 12, "decimal_places": 4, "min_value": 0, **kwargs})

    def to_representation(self, value: Any) -> Any:
        return None if value is None else float(Decimal(value))


class GatewayKeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without the key: that is shown once, when it is made."""

    user_id = serializers.IntegerField(source="owner_id", read_only=True)
    enabled = serializers.BooleanField(source="is_enabled", required=False)
    scopes = serializers.MultipleChoiceField(choices=Scope.choices, required=False)
    rate_per_min = serializers.IntegerField(
        source="requests_per_minute",
        min_value=1,
        max_value=1_000_000,
        required=False,
        allow_null=True,
    )
    tokens_per_min = serializers.IntegerField(
        source="tokens_per_minute", min_value=1, max_value=_MOST, required=False, allow_null=True
    )
    allowed_models = serializers.ListField(
        child=serializers.CharField(max_length=200), max_length=1000, required=False
    )
    monthly_token_quota = serializers.IntegerField(
        source="monthly_token_budget",
        min_value=0,
        max_value=2**63 - 1,
        required=False,
        allow_null=True,
    )
    monthly_cost_budget = Money(decimal_places=2, required=False, allow_null=True)

    class Meta:
        model = ApiKey
        fields: ClassVar = [
            "id", "user_id", "name", "prefix", "scopes", "enabled", "expires_at", "rate_per_min",
            "tokens_per_min", "allowed_models", "monthly_token_quota", "monthly_cost_budget",
            "last_used_at", "created_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["prefix", "last_used_at"]

    def to_internal_value(self, data: Any) -> Any:
        # A limit under the console's name for it would be no limit.
        fields = [field for field in self.fields.values() if not field.read_only]
        names = {str(each.source): str(each.field_name) for each in fields}
        wrong = {
            source: name for source, name in names.items() if source != name and source in data
        }
        if wrong:
            text = _("This is called “%(name)s” here.")
            raise serializers.ValidationError(
                {source: text % {"name": name} for source, name in wrong.items()}
            )
        return super().to_internal_value(data)

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["scopes"] = sorted(shown["scopes"])
        return shown


class NewGatewayKeyShape(GatewayKeySerializer):
    """The one answer that holds the key itself."""

    key = serializers.CharField(read_only=True)

    class Meta(GatewayKeySerializer.Meta):
        fields: ClassVar = [*GatewayKeySerializer.Meta.fields, "key"]


class RouteSerializer(serializers.ModelSerializer[Route]):
    llm_id = serializers.CharField(max_length=64)
    llm_name = serializers.CharField(source="llm.name", read_only=True)
    priority = serializers.IntegerField(min_value=0, max_value=_MOST, required=False)
    weight = serializers.IntegerField(min_value=1, max_value=_MOST, required=False)
    enabled = serializers.BooleanField(source="is_enabled", required=False)

    class Meta:
        model = Route
        fields: ClassVar = [
            "id", "llm_id", "llm_name", "priority", "weight", "enabled", "last_error",
            "last_failed_at",
        ]  # fmt: skip
        read_only_fields: ClassVar = ["last_error", "last_failed_at"]


class PublicModelSerializer(serializers.ModelSerializer[PublicModel]):
    """A public name with its routes. `problem` says why nothing can be answered, if so."""

    public_name = serializers.CharField(source="name", max_length=100)
    kind = serializers.ChoiceField(choices=Kind.choices, required=False)
    enabled = serializers.BooleanField(source="is_enabled", required=False)
    max_tokens_cap = serializers.IntegerField(
        min_value=1, max_value=_MOST, required=False, allow_null=True
    )
    price_in = Money(source="price_input", required=False, help_text=_("For a million tokens."))
    price_out = Money(source="price_output", required=False, help_text=_("For a million tokens."))
    price_cache_read = Money(required=False, allow_null=True)
    cache_s = serializers.IntegerField(min_value=0, max_value=_MOST, required=False)
    routes = RouteSerializer(many=True, required=False)
    problem = serializers.SerializerMethodField()

    class Meta:
        model = PublicModel
        fields: ClassVar = [
            "id", "public_name", "kind", "description", "enabled", "max_tokens_cap", "price_in",
            "price_out", "price_cache_read", "cache_s", "routes", "problem", "created_at",
            "updated_at",
        ]  # fmt: skip

    def get_problem(self, row: PublicModel) -> str:
        return directory.problem_of(row)


class RecordSerializer(serializers.ModelSerializer[UsageRecord]):
    """One request and what it took.

    `llm_id`, `llm_name` and `route_id` say which model answered, and behind a public name by which
    route; null for models that the caller may not see.
    """

    llm_id = serializers.CharField(allow_null=True, read_only=True)
    llm_name = serializers.CharField(allow_null=True, read_only=True)
    route_id = serializers.SerializerMethodField()

    user_id = serializers.IntegerField(source="owner_id", allow_null=True, read_only=True)
    key_id = serializers.IntegerField(allow_null=True, read_only=True)
    stream = serializers.BooleanField(source="is_streamed", read_only=True)
    aborted = serializers.BooleanField(source="is_aborted", read_only=True)
    cached = serializers.BooleanField(source="is_cached", read_only=True)
    estimated = serializers.BooleanField(source="is_estimated", read_only=True)
    ttft_ms = serializers.FloatField(source="first_byte_ms", allow_null=True, read_only=True)
    cost = Money(max_digits=18, decimal_places=8, read_only=True)
    created = serializers.DateTimeField(source="created_at", read_only=True)

    class Meta:
        model = UsageRecord
        fields: ClassVar = [
            "request_id", "user_id", "key_id", "endpoint", "model", "llm_id", "llm_name",
            "route_id", "status", "error_type", "error_message", "stream", "aborted", "cached",
            "estimated", "attempts", "input_tokens", "output_tokens", "cache_read_tokens",
            "cache_write_tokens", "latency_ms", "ttft_ms", "cost", "created",
        ]  # fmt: skip

    def get_route_id(self, row: UsageRecord) -> int | None:
        return row.route_id if getattr(row, "llm_id", None) else None


class UsageQuery(serializers.Serializer[Any]):
    """`from` and `to` are days (UTC), both included; by themselves the last 30."""

    to = serializers.DateField(required=False)
    group_by = serializers.ChoiceField(choices=["key", "model", "day"], default="day")
    owner = serializers.IntegerField(
        min_value=1, max_value=2**63 - 1, required=False, help_text=_("For operators.")
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that Python takes for a field.
        return {"from": serializers.DateField(required=False), **super().get_fields()}


class UsageShape(serializers.Serializer[Any]):
    """What a key (its id), a model or a day took."""

    group = serializers.CharField()
    name = serializers.CharField()
    requests = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]  # DRF takes fields off the class
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost = Money(max_digits=20, decimal_places=8)
