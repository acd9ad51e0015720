"""What holds for every API request around any view: its id, its size, the shape of its errors."""

from __future__ import annotations

import io
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from core import errors
from core.families import (
    Gateway,
    as_app_error,
    error_response,
    family_for,
    internal_error,
    is_api,
    method_not_allowed,
    request_id,
)

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# Files, and requests of the gateway with images in them; the rest is settings' limit.
LARGE_BODY_BYTES = 50 * 2**20
# Paths that take a file, as a form.
_FILE_PATHS = re.compile(
    r"/api/v1/(?:upload|files/upload|asr/[^/]+/(?:transcribe|preview)|knowledge-bases/[^/]+/documents)"
)
_CONSOLE = "/admin/"
# What a multipart body adds around the file.
_MULTIPART_OVERHEAD_BYTES = 64 * 1024
# The most that any request may have; core/asgi.py does not even read more.
HARD_BODY_LIMIT_BYTES = LARGE_BODY_BYTES + _MULTIPART_OVERHEAD_BYTES

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class FamilyErrorMiddleware:
    """Outermost: gives every error of an API path its family's shape, whoever raised it.

    Pages for people (console, voice page) pass through, but for addresses that none can have.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: GetResponse | AsyncGetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if not is_api(request.path_info):
            # No text in Postgres can hold a NUL: Django's lists and forms would fail to look it up.
            if request.path_info.startswith(_CONSOLE) and _has_nul(request):
                raise Http404
            return cast(GetResponse, self.get_response)(request)
        if self.is_async:
            return self._answer(request)
        if _is_chunked(request):
            _measure_chunks(request)
        response = self._refuse(request) or cast(GetResponse, self.get_response)(request)
        return self._shape(request, response)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if _is_chunked(request):
            await sync_to_async(_measure_chunks)(request)
        refused = self._refuse(request)
        response = refused or await cast(AsyncGetResponse, self.get_response)(request)
        return self._shape(request, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Errors of ours and the database's out of plain Django views; DRF handles its own."""
        is_ours = isinstance(exception, (errors.AppError, DatabaseError, InterfaceError))
        error = as_app_error(exception) if is_ours and is_api(request.path_info) else None
        return error_response(error, request) if error else None

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        """An answer to requests that no view should see; else the path without its last slash."""
        request_id(request)  # from here on log lines about the request carry it
        request.path_info = request.path_info.rstrip("/")
        request.path = request.path.rstrip("/")
        if not _knows_host(request):
            text = _("This server does not answer to that host name; see ALLOWED_HOSTS.")
            return error_response(errors.InvalidRequest(text, code="UNKNOWN_HOST"), request)
        if "\0" in request.path_info:
            return error_response(route_not_found(), request)
        if _has_nul(request):
            error = errors.InvalidRequest(_("The query string contains a NUL character."))
            return error_response(error, request)
        if _body_size(request) > _body_limit(request):
            return error_response(
                body_too_large(_hint(request), limit=_body_limit(request)), request
            )
        return None

    def _shape(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if _is_bare_error(response):
            shaped = error_response(_error_for(request, response.status_code), request)
            if allow := response.headers.get("Allow"):
                shaped["Allow"] = allow
            # Not closed: that would end the request (and its database connection) too early.
            response = shaped
        response["X-Request-Id"] = request_id(request)
        return response


def _has_nul(request: HttpRequest) -> bool:
    return "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", "")


def _knows_host(request: HttpRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


def route_not_found() -> errors.RouteNotFound:
    return errors.RouteNotFound(_("There is no such path in this API."))


def body_too_large(text: StrOrPromise = "", *, limit: int) -> errors.PayloadTooLarge:
    """The refusal of more than `limit` bytes; `text` may say what to do about it."""
    text = text or _("The request body is too large; {limit} MB are possible.")
    return errors.PayloadTooLarge(format_lazy(text, limit=limit // 2**20))


def _hint(request: HttpRequest) -> StrOrPromise:
    """What to do about a body that is too large, where something can be done."""
    if _is_form(request) or not _FILE_PATHS.fullmatch(request.path_info):
        return ""
    return _("The request body is too large; send more than {limit} MB as a file, in a form.")


def _is_bare_error(response: HttpResponseBase) -> bool:
    """Whether Django (not a view of ours) wrote this error: a page, or nothing at all."""
    if response.status_code < 400 or response.streaming:
        return False
    if settings.DEBUG and response.status_code >= 500:
        return False
    return not response.headers.get("Content-Type", "").startswith("application/json")


def _error_for(request: HttpRequest, status: int) -> errors.AppError:
    match status:
        case 401:
            return errors.Unauthenticated(_("A valid credential is needed."))
        case 403:
            return errors.Forbidden(_("You may not do this."))
        case 404 if request.resolver_match is None:
            return route_not_found()
        case 404:
            return errors.NotFound(_("Not found."))
        case 405:
            return method_not_allowed()
        case 413:
            return body_too_large(limit=_body_limit(request))
        case _ if status < 500:
            return errors.InvalidRequest(_("The request is malformed."))
        case _:
            return internal_error(request)


def _body_limit(request: HttpRequest) -> int:
    if _is_form(request) and _FILE_PATHS.fullmatch(request.path_info):
        return HARD_BODY_LIMIT_BYTES
    if family_for(request.path_info) is Gateway:
        return LARGE_BODY_BYTES
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE or LARGE_BODY_BYTES


def _is_form(request: HttpRequest) -> bool:
    content_type: str = request.META.get("CONTENT_TYPE", "")
    return content_type.startswith("multipart/form-data")


def _body_size(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or ""
    return int(length) if length.isdigit() else 0


def _is_chunked(request: HttpRequest) -> bool:
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def _measure_chunks(request: HttpRequest) -> None:
    """Finds the size of a body that did not announce it, which DRF would take for none.

    ASGI has stored the body before; measuring it there keeps a large file out of memory.
    """
    stored = getattr(request, "_stream", None)
    if stored is not None and stored.seekable():
        size = stored.seek(0, io.SEEK_END)
        stored.seek(0)
    else:
        # What Django's own `body` would keep, up to one byte too many.
        request._body = request.read(_body_limit(request) + 1)
        size = len(request._body)
    request.META["CONTENT_LENGTH"] = str(size)
