"""The five envelopes. Which one a request gets is decided by its URL alone.

platform    {"success": true, "data": …}                  {"success": false, "error": {…}}
tools       the bare object                                {"detail": "…"}
agentchat   {"status_code", "status_message", "data"}      the same, plus "detail"
tasks       {"success": true, …}                           {"success": false, "error": "…"}
gateway     the dialect's own                              {"type": "error", "error": {…}}
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.utils.encoding import force_str
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as drf
from rest_framework.response import Response

from core import errors
from core.ids import prefixed_id

Body = dict[str, Any]
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """An error as it goes to the client."""

    body: Body
    status: int
    headers: dict[str, str]


class Family(ABC):
    """How one family of the API wraps what it answers."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def success(cls, data: Any) -> Any:
        """The envelope around the result of one request."""

    @classmethod
    @abstractmethod
    def page(
        cls, items: Sequence[Any] | Iterable[Any], *, total: int, page: int, page_size: int
    ) -> Any:
        """The envelope around one page of a list."""

    @classmethod
    def error(cls, error: errors.AppError, request: HttpRequest) -> Rendered:
        """The error in this family's shape, with its HTTP status and headers."""
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        status = cls.status(error)
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Rendered(cls.error_body(error, request), status, headers)

    @classmethod
    def status(cls, error: errors.AppError) -> int:
        return error.http_status

    @classmethod
    @abstractmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        """The error's body."""


class Platform(Family):
    """Assistants, models, voices, knowledge bases, history."""

    name = "platform"

    @classmethod
    def success(cls, data: Any) -> Body:
        return {"success": True, "data": data}

    @classmethod
    def page(cls, items: Iterable[Any], *, total: int, page: int, page_size: int) -> Body:
        return cls.success(
            {"items": list(items), "total": total, "page": page, "page_size": page_size}
        )

    @classmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        shown: Body = {"code": error.error_code, "message": error.message}
        if isinstance(error, errors.InvalidRequest | errors.Conflict) and error.details:
            shown["details"] = error.details
        return {"success": False, "error": shown}


class Tools(Family):
    """Tool registry, tool resources, autotest."""

    name = "tools"

    @classmethod
    def success(cls, data: Any) -> Any:
        return data

    @classmethod
    def page(cls, items: Iterable[Any], *, total: int, page: int, page_size: int) -> Body:
        return {"total": total, "page": page, "limit": page_size, "list": list(items)}

    @classmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        return {"detail": _with_field(error)}


class AgentChat(Family):
    """Users, agents, dialogs. Business errors are HTTP 200 with a code in the body."""

    name = "agentchat"

    # Refused by HTTP itself, before the business of the request: these keep their HTTP status.
    _HTTP_ERRORS = (
        errors.Unauthenticated,
        errors.RouteNotFound,
        errors.MethodNotAllowed,
        errors.PayloadTooLarge,
        errors.UnsupportedMediaType,
        errors.RateLimited,
        errors.Unavailable,
    )
    # Codes of the body that differ from the HTTP status that other families would send.
    _BODY_CODES: ClassVar[dict[str, int]] = {
        "WRONG_LOGIN": 10600,
        "WRONG_CURRENT_PASSWORD": 10603,
        "USER_NAME_TAKEN": 500,
        "USER_NAME_TOO_LONG": 500,
        "ACCOUNT_DISABLED": 500,
        "NAME_TAKEN": 500,
        "UPSTREAM_ERROR": 500,
        "OUTBOUND_REFUSED": 500,
    }

    @classmethod
    def success(cls, data: Any) -> Body:
        return {"status_code": 200, "status_message": "SUCCESS", "data": data}

    @classmethod
    def page(cls, items: Iterable[Any], *, total: int, page: int, page_size: int) -> Body:
        return cls.success(list(items))

    @classmethod
    def status(cls, error: errors.AppError) -> int:
        if error.error_code in cls._BODY_CODES:
            return 200
        if isinstance(error, errors.InvalidRequest):
            return 422
        if isinstance(error, cls._HTTP_ERRORS) or type(error) is errors.AppError:
            return error.http_status
        return 200

    @classmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        message = error.message
        if isinstance(error, errors.Unauthenticated):
            body = {"status_code": 401, "status_message": "UNAUTHORIZED", "data": None}
            return {**body, "detail": str(_("Invalid authentication credentials"))}
        status = cls.status(error)
        code = cls._BODY_CODES.get(error.error_code, error.http_status if status == 200 else status)
        detail: Any = message
        if isinstance(error, errors.InvalidRequest) and status == 422:
            detail = [
                {"loc": ["body", *field.split(".")], "msg": text, "type": "value_error"}
                for field, texts in (error.details or {"": [message]}).items()
                for text in texts
            ]
            message = _with_field(error)
        return {"status_code": code, "status_message": message, "data": None, "detail": detail}


class Tasks(Family):
    """Conversations, background tasks, files, prompts."""

    name = "tasks"

    @classmethod
    def success(cls, data: Any) -> Body:
        return {"success": True, **(data or {})}

    @classmethod
    def page(cls, items: Iterable[Any], *, total: int, page: int, page_size: int) -> Body:
        return {"success": True, "data": list(items), "total": total}

    @classmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        body: Body = {"success": False, "error": _with_field(error)}
        if isinstance(error, errors.Conflict):
            # Who was refused wants to watch or stop the task that is in the way.
            for task_id in error.details.get("task_id", []):
                body["error"] += f" (task_id: {task_id})"
                body["task_id"] = task_id
        return body


class Gateway(Family):
    """`/v1`: errors that both vendors' client libraries understand."""

    name = "gateway"

    _TYPES: ClassVar[dict[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        409: "invalid_request_error",
        413: "request_too_large",
        415: "invalid_request_error",
        429: "rate_limit_error",
        502: "upstream_error",
        503: "overloaded_error",
    }

    @classmethod
    def success(cls, data: Any) -> Any:
        return data

    @classmethod
    def page(cls, items: Iterable[Any], *, total: int, page: int, page_size: int) -> Body:
        return {"object": "list", "data": list(items), "has_more": page * page_size < total}

    @classmethod
    def status(cls, error: errors.AppError) -> int:
        return 403 if isinstance(error, errors.CredentialUnusable) else error.http_status

    @classmethod
    def error(cls, error: errors.AppError, request: HttpRequest) -> Rendered:
        rendered = super().error(error, request)
        rendered.headers["request-id"] = request_id(request)
        return rendered

    @classmethod
    def error_body(cls, error: errors.AppError, request: HttpRequest) -> Body:
        return cls.body_of(error, request_id(request))

    @classmethod
    def body_of(cls, error: errors.AppError, request_id: str) -> Body:
        """The error's body, which the libraries of both vendors understand."""
        shown = {
            "type": cls._TYPES.get(cls.status(error), "api_error"),
            "message": error.message,
            "param": error.param,
            "code": error.error_code.lower(),
        }
        return {"type": "error", "error": shown, "request_id": request_id}


def _with_field(error: errors.AppError) -> str:
    """The message, with the field's name, for envelopes that have no place of their own for it."""
    message = error.message
    if isinstance(error, errors.InvalidRequest) and error.param and error.param not in message:
        return f"{error.param}: {message}"
    return message


# --- Which family a URL belongs to -------------------------------------------------------------

_BY_FIRST_SEGMENT: dict[str, type[Family]] = {
    "tools": Tools,
    **dict.fromkeys(
        (
            "user", "agent", "dialog", "chat", "completion", "knowledge", "knowledge_file", "tool",
            "upload", "mcp_server", "mcp_tools", "mcp_user_config", "message", "usage",
            "usage_count", "workspace", "memory",
        ),
        AgentChat,
    ),
    **dict.fromkeys(
        (
            "conversations", "messages", "tasks", "files", "prompts", "personalizations", "models",
            "health",
        ),
        Tasks,
    ),
}  # fmt: skip
# Words of the agentchat family under /llm; any other segment there is the id of a model.
AGENTCHAT_LLM_WORDS = frozenset(
    {"create", "delete", "update", "all", "personal", "visible", "schema", "search", "agent"}
)


def family_for(path: str, query: Mapping[str, Any] | None = None) -> type[Family]:
    """The family of a URL; the platform's where no other claims it."""
    parts = path.strip("/").split("/")
    if parts[0] == "v1":
        return Gateway
    if parts[:2] != ["api", "v1"] or len(parts) < 3:
        return Platform
    first, second = parts[2], parts[3] if len(parts) > 3 else ""
    if first == "llm" and second in AGENTCHAT_LLM_WORDS:
        return AgentChat
    if first == "history" and not second and query is not None and "dialog_id" in query:
        return AgentChat
    return _BY_FIRST_SEGMENT.get(first, Platform)


def family_of(request: HttpRequest) -> type[Family]:
    """The family of a request, the query string included."""
    return family_for(request.path_info, request.GET)


def is_api(path: str) -> bool:
    """Whether errors of this path are JSON in a family's shape, not pages for people."""
    return path.startswith(("/api/", "/v1/")) or path in ("/api", "/v1", "/health")


# --- From any exception to a response ----------------------------------------------------------


def request_id(request: HttpRequest) -> str:
    """The request's id: in its log lines, in a header of its answer, in messages of failures."""
    if (known := getattr(request, "request_id", None)) is None:
        known = prefixed_id("req")
        request.request_id = known  # type: ignore[attr-defined]  # ours, on Django's object
    return str(known)


def error_response(error: errors.AppError, request: HttpRequest) -> JsonResponse:
    """The error as a response, in the family and the language of the request."""
    rendered = _render(error, request)
    return JsonResponse(rendered.body, status=rendered.status, headers=rendered.headers)


def internal_error(request: HttpRequest) -> errors.AppError:
    """What a client learns of a failure of ours: that it happened, and the id to look for."""
    text = _("Something went wrong on our side. The log has the reason under %(id)s.")
    return errors.AppError(text % {"id": request_id(request)})


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's hook: known errors in the family's shape; unknown ones go on to Django, which logs."""
    request: HttpRequest = context["request"]._request
    error = as_app_error(exception)
    if error is None:
        return None
    rendered = _render(error, request)
    return Response(rendered.body, status=rendered.status, headers=rendered.headers)


def _render(error: errors.AppError, request: HttpRequest) -> Rendered:
    # Errors before LocaleMiddleware ran, or after it, still speak the client's language.
    with translation.override(translation.get_language_from_request(request)):
        return family_of(request).error(error, request)


def as_app_error(exception: BaseException) -> errors.AppError | None:
    """The error of ours that an exception of Django or DRF stands for; None for unknown ones."""
    if isinstance(exception, errors.AppError):
        return exception
    for kind, translate in _TRANSLATIONS:
        if isinstance(exception, kind):
            return translate(exception)
    return None


def _invalid_fields(exception: Any) -> errors.InvalidRequest:
    return invalid_request(exception.detail)


def _invalid_model(exception: Any) -> errors.InvalidRequest:
    if hasattr(exception, "error_dict"):
        return invalid_request(exception.message_dict)
    return invalid_request(exception.messages)


def _unstorable(exception: Any) -> errors.InvalidRequest:
    logger.warning("The database refused a value", exc_info=exception)
    return errors.InvalidRequest(_("A value has a size or a form that cannot be stored."))


def _database_away(exception: Any) -> errors.Unavailable:
    logger.error("The database does not answer", exc_info=exception)
    return errors.Unavailable(
        _("The database does not answer right now; try again later."), retry_after=5
    )


def _throttled(exception: Any) -> errors.RateLimited:
    wait_s = max(1, round(exception.wait or 1))
    return errors.RateLimited(_("Too many requests; try again later."), retry_after=wait_s)


def method_not_allowed() -> errors.MethodNotAllowed:
    return errors.MethodNotAllowed(_("This method is not allowed here."))


_TRANSLATIONS: tuple[tuple[Any, Callable[[Any], errors.AppError]], ...] = (
    (drf.ValidationError, _invalid_fields),
    (
        (drf.ParseError, MultiPartParserError),
        lambda e: errors.InvalidRequest(_("The body cannot be read: %s") % e, code="INVALID_BODY"),
    ),
    (
        (drf.NotAuthenticated, drf.AuthenticationFailed),
        lambda e: errors.Unauthenticated(_("A valid credential is needed.")),
    ),
    (
        (drf.PermissionDenied, PermissionDenied),
        lambda e: errors.Forbidden(_("You may not do this.")),
    ),
    ((drf.NotFound, Http404), lambda e: errors.NotFound(_("Not found."))),
    (drf.MethodNotAllowed, lambda e: method_not_allowed()),
    (
        drf.UnsupportedMediaType,
        lambda e: errors.UnsupportedMediaType(_("This content type is not accepted here.")),
    ),
    (drf.Throttled, _throttled),
    (RequestDataTooBig, lambda e: errors.PayloadTooLarge(_("The request body is too large."))),
    (SuspiciousOperation, lambda e: errors.InvalidRequest(_("The request is malformed."))),
    (ValidationError, _invalid_model),
    (DataError, _unstorable),
    ((OperationalError, InterfaceError), _database_away),
)


def invalid_request(detail: Any) -> errors.InvalidRequest:
    """Field errors, nested as DRF gives them, as one error with a flat mapping of fields."""
    fields = dict(_flatten(detail, ""))
    general = {"", "non_field_errors", "__all__"}
    first_field, texts = next(iter(fields.items()), ("", [str(_("The request is invalid."))]))
    return errors.InvalidRequest(
        texts[0],
        param=None if first_field in general else first_field,
        details={field or "non_field_errors": texts for field, texts in fields.items()},
    )


def _flatten(detail: Any, path: str) -> Iterable[tuple[str, list[str]]]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flatten(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, (list, tuple)):
        texts = [force_str(item) for item in detail if not isinstance(item, (Mapping, list))]
        if texts:
            yield path, texts
        for position, item in enumerate(detail):
            if isinstance(item, (Mapping, list)):
                yield from _flatten(item, f"{path}.{position}" if path else str(position))
    else:
        yield path, [force_str(detail)]
