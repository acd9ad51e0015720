"""The product's URLs, and in each family one view that fails in every way."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.urls import urlpatterns as product_urls
from core import errors

SECRET = "a secret inside an exception"
PREFIXES = {
    "platform": "/api/v1/testing/x",
    "tools": "/api/v1/tools/testing/x",
    "agentchat": "/api/v1/user/testing/x",
    "tasks": "/api/v1/conversations/testing/x",
    "gateway": "/v1/testing/x",
}


def _select(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


ERRORS: dict[str, Any] = {
    "invalid": errors.InvalidRequest("wrong", param="field"),
    "unauthenticated": errors.Unauthenticated("who?"),
    "unusable": errors.CredentialUnusable("disabled"),
    "forbidden": errors.Forbidden("no"),
    "not_found": errors.NotFound("gone", code="THING_NOT_FOUND"),
    "conflict": errors.Conflict("in the way"),
    "rate_limited": errors.RateLimited("slow down", retry_after=7),
    "provider": errors.ProviderError("the model failed", is_permanent=False),
    "unavailable": errors.Unavailable("later", retry_after=3),
    "http404": Http404(SECRET),
    "denied": PermissionDenied(SECRET),
    "suspicious": SuspiciousOperation(SECRET),
    "database": OperationalError(SECRET),
    "bug": KeyError(SECRET),
}


class Body(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=5)
    parts = serializers.ListField(child=serializers.IntegerField(), required=False)


class Boom(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()

    def get(self, request: Request, kind: str) -> Response:
        if kind == "data":
            _select("select '\\uD800'::jsonb")
        if kind == "throttled":
            raise exceptions.Throttled(wait=4)
        if kind in ERRORS:
            raise ERRORS[kind]
        return Response({"ok": True})

    def post(self, request: Request, kind: str) -> Response:
        body = Body(data=request.data)
        body.is_valid(raise_exception=True)
        return Response({"ok": True})


class Counted(APIView):
    """With a credential, and counted."""

    def get(self, request: Request) -> Response:
        return Response({"ok": True})


@require_GET
def plain(request: HttpRequest, kind: str) -> HttpResponse:
    if kind in ERRORS:
        raise ERRORS[kind]
    return JsonResponse({"ok": True})


@csrf_exempt
async def plain_async(request: HttpRequest, kind: str) -> HttpResponse:
    if kind in ERRORS:
        raise ERRORS[kind]
    return JsonResponse({"size": len(request.body)})


urlpatterns = [
    *product_urls,
    *(path(f"{prefix[1:]}-counted", Counted.as_view()) for prefix in PREFIXES.values()),
    path("people/<kind>", plain),
    *(
        path(f"{prefix[1:]}{ending}/<kind>", view)
        for prefix in PREFIXES.values()
        for ending, view in (("", Boom.as_view()), ("-plain", plain), ("-async", plain_async))
    ),
]
