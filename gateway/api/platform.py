"""`/gateway/…` of the platform family: keys, public models, requests and what they took."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import access_user, as_row_id, visible_api_keys
from accounts.actions import (
    KeyLimits,
    NewKey,
    create_own_api_key,
    revoke_api_key,
    update_api_key,
)
from accounts.models import ApiKey, Scope
from accounts.permissions import IsOperator, principal_of
from core.errors import InvalidRequest
from core.viewsets import PlatformViewSet, success
from gateway import usage
from gateway.access import visible_days, visible_models, visible_records, with_models
from gateway.actions import check_allowed_models, save_public_model
from gateway.api.filters import RecordFilters
from gateway.api.serializers import (
    GatewayKeySerializer,
    NewGatewayKeyShape,
    PublicModelSerializer,
    RecordSerializer,
    UsageQuery,
    UsageShape,
)
from gateway.models import PublicModel, Route, UsageRecord

DEFAULT_DAYS = 30
_LIMITS = tuple(KeyLimits.__annotations__)
# Fields of keys that clients of this path know by other names.
_ASKED_AS = {
    "requests_per_minute": "rate_per_min",
    "tokens_per_minute": "tokens_per_min",
    "monthly_token_budget": "monthly_token_quota",
}


@contextlib.contextmanager
def _named_as_asked() -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        if error.param in _ASKED_AS:
            raise InvalidRequest(error.message, param=_ASKED_AS[error.param]) from None
        raise


class GatewayKeyViewSet(PlatformViewSet[ApiKey]):
    """The keys of the one who asks; operators see all."""

    queryset = ApiKey.objects.none()
    serializer_class = GatewayKeySerializer
    not_found_code = "API_KEY_NOT_FOUND"

    def get_queryset(self) -> QuerySet[ApiKey]:
        return visible_api_keys(principal_of(self.request)).order_by("-created_at", "-pk")

    def get_object(self) -> ApiKey:
        if as_row_id(self.kwargs["pk"]) is None:
            raise self.not_found()
        return super().get_object()

    @extend_schema(responses={201: NewGatewayKeyShape})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        limits: Any = {name: fields[name] for name in _LIMITS if name in fields}
        wanted = NewKey(
            name=fields["name"],
            scopes=tuple(fields.get("scopes", (Scope.GATEWAY,))),
            requests_per_minute=fields.get("requests_per_minute"),
            expires_at=fields.get("expires_at"),
            limits=limits,
            is_enabled=fields.get("is_enabled", True),
        )
        principal = principal_of(request)
        owner = access_user(principal, str(principal.user_id))
        with _named_as_asked():
            check_allowed_models(owner, fields.get("allowed_models", ()), known=())
            row, key = create_own_api_key(principal, wanted)
        return success({**self.render(row), "key": key}, status=201)

    def update_row(self, serializer: serializers.BaseSerializer[ApiKey]) -> ApiKey:
        row = self.get_object()
        fields = serializer.validated_data
        names = fields.get("allowed_models", ())
        with _named_as_asked():
            check_allowed_models(row.owner, names, known=row.allowed_models)
            update_api_key(principal_of(self.request), row, fields)
        return row

    def delete_row(self, row: ApiKey) -> None:
        revoke_api_key(principal_of(self.request), row)


class PublicModelViewSet(PlatformViewSet[PublicModel]):
    """Public names and their routes, for operators. Routes that are sent replace all there were."""

    permission_classes = (IsOperator,)
    queryset = PublicModel.objects.none()
    serializer_class = PublicModelSerializer
    not_found_code = "PUBLIC_MODEL_NOT_FOUND"

    def get_queryset(self) -> QuerySet[PublicModel]:
        rows = visible_models(principal_of(self.request))
        routes = Prefetch("routes", Route.objects.with_models())
        return rows.prefetch_related(routes).order_by("name")

    def get_object(self) -> PublicModel:
        if as_row_id(self.kwargs["pk"]) is None:
            raise self.not_found()
        return super().get_object()

    def create_row(self, serializer: serializers.BaseSerializer[PublicModel]) -> PublicModel:
        return self._save(PublicModel(), serializer)

    def update_row(self, serializer: serializers.BaseSerializer[PublicModel]) -> PublicModel:
        return self._save(self.get_object(), serializer)

    def _save(
        self, row: PublicModel, serializer: serializers.BaseSerializer[PublicModel]
    ) -> PublicModel:
        values = dict(serializer.validated_data)
        routes = values.pop("routes", None)
        saved = save_public_model(row, values, routes)
        return self.get_queryset().get(pk=saved.pk)


@extend_schema_view(list=extend_schema(summary="Requests on the gateway, the latest first"))
class RecordViewSet(PlatformViewSet[UsageRecord]):
    """The requests of the one who asks; operators see all. Sums outlive them."""

    queryset = UsageRecord.objects.none()
    serializer_class = RecordSerializer
    filterset_class = RecordFilters
    not_found_code: ClassVar = "REQUEST_NOT_FOUND"

    def get_queryset(self) -> QuerySet[UsageRecord]:
        principal = principal_of(self.request)
        rows = with_models(principal, visible_records(principal))
        return rows.order_by("-created_at", "pk")


class UsageView(APIView):
    @extend_schema(parameters=[UsageQuery], responses=UsageShape(many=True))
    def get(self, request: Request) -> Response:
        """What requests took, by key, model or day (UTC); operators may name an owner."""
        query = UsageQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        principal = principal_of(request)
        last = asked.get("to") or datetime.datetime.now(datetime.UTC).date()
        first = asked.get("from") or _days_before(last, DEFAULT_DAYS - 1)
        if first > last:
            raise InvalidRequest(_("“from” is later than “to”."), param="from")
        days = usage.between(visible_days(principal), first, last)
        if "owner" in asked:
            days = days.filter(owner=access_user(principal, str(asked["owner"])))
        groups = usage.grouped(days, asked["group_by"])
        return success(UsageShape(groups, many=True).data)


def _days_before(day: datetime.date, count: int) -> datetime.date:
    return datetime.date.fromordinal(max(1, day.toordinal() - count))
