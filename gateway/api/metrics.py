"""`/metrics`: what Prometheus reads, for operators and for whoever has the token."""

from __future__ import annotations

import asyncio
import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from accounts.models import Scope
from accounts.principals import credential_in, identify, no_credential
from core.db import in_db
from core.errors import AppError
from gateway import metrics


@csrf_exempt  # so that other methods are answered with 405
@require_safe
async def show(request: HttpRequest) -> HttpResponse:
    """The figures. 401 without a credential that is good; 404 for people who are no operators."""
    try:
        may_see = await in_db(_may_see, request)
    except AppError as error:
        return _refusal(str(error.message), 401)
    if not may_see:
        return _refusal(_("Not found."), 404)
    metrics.tally().write()
    shown = await asyncio.to_thread(metrics.exposition)
    return HttpResponse(shown, content_type=metrics.CONTENT_TYPE)


def _may_see(request: HttpRequest) -> bool:
    """Raises AppError where nobody known asks."""
    credential = credential_in(
        request.headers.get("Authorization"), request.headers.get("X-Api-Key")
    )
    if credential is not None:
        if _is_token(credential):
            return True
        principal = identify(credential).principal
        return principal.is_operator and Scope.MANAGE in principal.scopes
    if request.user.is_authenticated:
        return bool(request.user.is_active and request.user.is_staff)
    raise no_credential()


def _is_token(credential: str) -> bool:
    token = settings.METRICS_TOKEN
    return bool(token) and hmac.compare_digest(credential.encode(), token.encode())


def _refusal(message: str, status: int) -> HttpResponse:
    response = HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response
