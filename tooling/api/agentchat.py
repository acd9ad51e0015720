"""`/tool/*` of the agentchat family: the same tools, with one operation of an OpenAPI document.

A tool that is made without an address is an entry of the catalogue: assistants get it when it has
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict, cast

from django.db.models import F
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.agentchat import IN_QUERY, IdField, answer, naming, owner_word, validated
from core.errors import InvalidRequest
from core.models import OwnedQuerySet
from core.serializers import WireSerializer, wire_names
from core.viewsets import positive_query
from tooling import actions
from tooling.access import access_tool, may_edit, require_editable, visible_tools
from tooling.api_auth import (
    AUTH_TYPES,
    SECRET,
    AuthType,
    ToolRequest,
    auth_type_of,
    place_of,
    secret_of,
    with_auth,
    without_auth,
)
from tooling.catalogue import BUILTIN_TOOLS, description_to_read, is_builtin
from tooling.models import Category, Tool
from tooling.openapi import KeyPlace, Operation, exported, imported
from tooling.secrecy import shown

MAX_LISTED = 1000


# --- What is shown -----------------------------------------------------------------------------


class AuthShape(serializers.Serializer[Any]):
    """How the tool proves itself to its service."""

    auth_type = serializers.ChoiceField(AUTH_TYPES)
    data = serializers.CharField(  # type: ignore[assignment]  # a field, not the property
        help_text="Masked; the mask sent back keeps it."
    )


class ToolShape(serializers.Serializer[Any]):
    """A tool."""

    tool_id = serializers.CharField()
    zh_name = serializers.CharField()
    en_name = serializers.CharField(help_text="What models call it by.")
    user_id = serializers.CharField(help_text="0: the system.")
    logo_url = serializers.CharField()
    description = serializers.CharField()
    is_user_defined = serializers.BooleanField()
    http_url = serializers.CharField(help_text="Empty: an entry of the catalogue only.")
    http_method = serializers.CharField()
    parameter_schema = serializers.JSONField(help_text="A JSON Schema object.")
    openapi_schema = serializers.JSONField(
        allow_null=True, help_text="The request as an OpenAPI document, where one can say it."
    )
    auth_config = AuthShape(allow_null=True)
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


def tool_data(principal: Principal, row: Tool) -> dict[str, Any]:
    """What `ToolShape` describes."""
    builtin = BUILTIN_TOOLS.get(row.pk) if is_builtin(row) else None
    return {
        "tool_id": row.pk,
        "zh_name": builtin.name.zh if builtin else row.name,
        "en_name": row.called,
        "user_id": owner_word(row),
        "logo_url": row.logo_url,
        "description": description_to_read(row),
        "is_user_defined": not row.is_system,
        "http_url": row.http_url,
        "http_method": row.http_method,
        "parameter_schema": row.parameter_schema,
        "openapi_schema": exported(operation_of(row)),
        "auth_config": _auth_data(principal, row),
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


def _auth_data(principal: Principal, row: Tool) -> dict[str, str] | None:
    auth_type = auth_type_of(request_of(row))
    if auth_type is None:
        return None
    values = [secret.value for secret in row.secrets.all() if secret.name == SECRET]
    data = shown(values[0], shows_end=may_edit(principal, row)) if values else ""
    return {"auth_type": auth_type, "data": data}


def request_of(row: Tool) -> ToolRequest:
    """What of the row's request takes part in proving who asks."""
    return ToolRequest(row.http_url, row.http_headers)


def operation_of(row: Tool) -> Operation:
    """The row's request without its credential, as an operation of a document."""
    plain = without_auth(request_of(row))
    return Operation(
        id=row.called,
        description=row.description,
        method=row.http_method,
        url=plain.url,
        headers=dict(plain.headers),
        body=row.http_body,
        schema=row.parameter_schema,
        defaults=row.parameter_defaults,
        key_place=place_of(request_of(row)) or KeyPlace(),
    )


# --- What is sent ------------------------------------------------------------------------------


class AuthBody(WireSerializer):
    auth_type = serializers.ChoiceField(AUTH_TYPES)
    data = serializers.CharField(  # type: ignore[assignment]  # as above
        max_length=actions.MAX_SECRET_LENGTH,
        help_text="The token, the key, or name:password.",
    )


class ToolFields(WireSerializer):
    """What may be said of every tool."""

    description = serializers.CharField(max_length=300, required=False, allow_blank=True)
    logo_url = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    openapi_schema = serializers.JSONField(
        required=False,
        allow_null=True,
        help_text="An OpenAPI 3 document, of which the tool is one operation: the only one, or that"
        " with `en_name` as its operationId.",
    )
    auth_config = AuthBody(required=False, allow_null=True)


class ToolCreateBody(ToolFields):
    zh_name = serializers.CharField(source="name", min_length=2, max_length=50)
    en_name = serializers.CharField(source="function_name", min_length=2, max_length=64)


class ToolUpdateBody(ToolFields):
    tool_id = IdField()
    zh_name = serializers.CharField(source="name", min_length=2, max_length=50, required=False)
    en_name = serializers.CharField(
        source="function_name", min_length=2, max_length=64, required=False
    )


class ToolIdBody(WireSerializer):
    tool_id = IdField()


class ToolCreatedShape(serializers.Serializer[Any]):
    tool_id = serializers.CharField()


class _AuthConfig(TypedDict):
    auth_type: AuthType
    data: str


# The fields of the row that a document and a credential stand for.
_SENT_AS = {
    "secrets": "auth_config",
    **dict.fromkeys(
        ("http_url", "http_method", "http_headers", "parameter_schema", "parameter_defaults"),
        "openapi_schema",
    ),
}


@contextmanager
def named_as_sent(body: WireSerializer) -> Iterator[None]:
    """Errors about fields of the row, raised inside, name what the client sent."""
    try:
        with wire_names(body):
            yield
    except InvalidRequest as error:
        name = _SENT_AS.get(error.param or "", error.param)
        raise InvalidRequest(error.message, code=error.error_code, param=name) from None


def values_of(fields: dict[str, Any], *, before: Tool | None = None) -> actions.ToolValues:
    """What was sent, as values of a new row or of the one before. Raises InvalidRequest."""
    sent = dict(fields)
    document, has_auth = sent.pop("openapi_schema", None), "auth_config" in sent
    auth: _AuthConfig | None = sent.pop("auth_config", None)
    sent.pop("tool_id", None)
    values: actions.ToolValues = cast(actions.ToolValues, sent)
    operation = None
    is_sent = document not in (None, "", {})
    if is_sent and (before is None or document != exported(operation_of(before))):
        called = sent.get("function_name") or (before.called if before else "")
        operation = imported(document, wanted=called)
        values = {**values, **_request_values(operation)}
        if before is None:
            values["description"] = values.get("description") or operation.description[:300]
        if before is None or not before.http_url:
            values["is_enabled"] = True
    if operation is not None or auth or (has_auth and before and before.http_url):
        request = _proving_request(operation, before, auth, keeps_auth=not has_auth)
        values["http_url"], values["http_headers"] = request.url, dict(request.headers)
    if has_auth:
        secret = secret_of(auth["auth_type"], auth["data"]) if auth else None
        values["secrets"] = {SECRET: secret}
    return values


def _request_values(operation: Operation) -> actions.ToolValues:
    return {
        "category": Category.QUERY,
        "http_method": operation.method,
        "http_body": "",
        "parameter_schema": operation.schema,
        "parameter_defaults": operation.defaults,
    }


def _proving_request(
    operation: Operation | None,
    before: Tool | None,
    auth: _AuthConfig | None,
    *,
    keeps_auth: bool,
) -> ToolRequest:
    """The new request, or the one before, with a place for the credential that goes along."""
    old = request_of(before) if before else ToolRequest("", {})
    if operation is None and not old.url:
        text = _("There is no address yet that this could be sent to: openapi_schema gives one.")
        raise InvalidRequest(text, param="auth_config")
    new = ToolRequest(operation.url, operation.headers) if operation else old
    auth_type = auth["auth_type"] if auth else auth_type_of(old) if keeps_auth else None
    if auth_type is None:
        return without_auth(new)
    place = operation.key_place if operation else place_of(old)
    return with_auth(new, auth_type, place or KeyPlace())


# --- Views -------------------------------------------------------------------------------------


class ToolCreateView(APIView):
    """A tool of the caller."""

    serializer_class = ToolCreateBody

    @extend_schema(responses=ToolCreatedShape)
    def post(self, request: Request) -> Response:
        body = validated(request, ToolCreateBody)
        with named_as_sent(body):
            values = values_of(body.validated_data)
            row = actions.create_tool(
                principal_of(request).user_id,
                {"category": Category.QUERY, "is_enabled": False, **values},
                is_entry=True,
            )
        return answer({"tool_id": row.pk})


_PAGE = [OpenApiParameter("page", int), OpenApiParameter("limit", int)]


def _listed(request: Request, rows: OwnedQuerySet[Tool]) -> Response:
    page = positive_query(request, ("page",), 1)
    size = min(positive_query(request, ("limit", "page_size"), MAX_LISTED), MAX_LISTED)
    ordered = rows.order_by(F("owner").asc(nulls_first=True), "created_at", "pk")
    shown_rows = ordered.prefetch_related("secrets")[(page - 1) * size : page * size]
    return answer([tool_data(principal_of(request), row) for row in shown_rows])


class ToolAllView(APIView):
    """Own tools and the system's; operators see everybody's."""

    @extend_schema(parameters=_PAGE, responses=ToolShape(many=True))
    def get(self, request: Request) -> Response:
        return _listed(request, visible_tools(principal_of(request)))


class ToolOwnView(APIView):
    """The tools of the caller."""

    @extend_schema(request=None, parameters=_PAGE, responses=ToolShape(many=True))
    def post(self, request: Request) -> Response:
        return _listed(request, Tool.objects.filter(owner_id=principal_of(request).user_id))


class ToolVisibleView(APIView):
    """The tools of the caller and the system's."""

    @extend_schema(request=None, parameters=_PAGE, responses=ToolShape(many=True))
    def post(self, request: Request) -> Response:
        user_id = principal_of(request).user_id
        return _listed(request, Tool.objects.visible_to(user_id, is_operator=False))


def _own_tool(principal: Principal, tool_id: str) -> Tool:
    with naming("tool_id"):
        row = access_tool(principal, tool_id)
    require_editable(principal, row)
    return row


class ToolUpdateView(APIView):
    """Changes what is sent of a tool; `auth_config` null takes its credential away."""

    serializer_class = ToolUpdateBody

    @extend_schema(responses={200: None})
    def put(self, request: Request) -> Response:
        body, principal = validated(request, ToolUpdateBody), principal_of(request)
        row = _own_tool(principal, body.validated_data["tool_id"])
        with named_as_sent(body):
            values = values_of(body.validated_data, before=row)
            actions.update_tool(row, values, by_operator=principal.is_operator)
        return answer()


class ToolDeleteView(APIView):
    """Deletes a tool; assistants that use it go on without it."""

    serializer_class = ToolIdBody

    @extend_schema(
        parameters=[OpenApiParameter("tool_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        body = validated(request, ToolIdBody)
        actions.delete_tool(_own_tool(principal_of(request), body.validated_data["tool_id"]))
        return answer()
