"""The one tree of errors that may reach a client. Edges render it in their family's shape.

AppError                    code, http_status, message, param, retry_after
├── InvalidRequest          400  a field is wrong; `details` maps fields to messages
│   └── Unprocessable       422  a parameter of the URL is missing or wrong (tools family only)
├── Unauthenticated         401  no credential, or a bad one
│   └── CredentialUnusable  401  a key that is disabled or expired (403 on the gateway)
├── Forbidden               403  the credential may not do this
├── NotFound                404  unknown, or somebody else's
│   └── RouteNotFound       404  no such path
├── MethodNotAllowed        405
├── Conflict                409  the row is in the way; `details` may say which
├── PayloadTooLarge         413
├── UnsupportedMediaType    415
├── RateLimited             429  with retry_after in seconds
├── OutboundRefused         400  an outbound address that nobody allowed
├── ResponseTooLarge        502  a server sent more than we read, or sent it compressed
├── ProviderError           502  a model vendor failed; is_permanent tells whether to try again
└── Unavailable             503  a part of ours is down or overloaded
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class AppError(Exception):
    """An error with a message for the client, a translatable English sentence.

    A lazy translation gets its language when the message is read, that is when it is rendered.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: StrOrPromise,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self._message = message
        self.error_code = code or self.code
        self.param = param
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        return str(self._message)


class InvalidRequest(AppError):
    code = "VALIDATION_ERROR"
    http_status = 400

    def __init__(
        self,
        message: StrOrPromise,
        *,
        code: str | None = None,
        param: str | None = None,
        details: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self._details = details

    @property
    def details(self) -> dict[str, list[str]]:
        """Messages by field, empty when no field is to blame."""
        if self._details is not None:
            return self._details
        return {self.param: [self.message]} if self.param else {}


class Unprocessable(InvalidRequest):
    """A parameter of the URL; the published tools API answers 422 where others answer 400."""

    http_status = 422


class Unauthenticated(AppError):
    code = "UNAUTHORIZED"
    http_status = 401


class CredentialUnusable(Unauthenticated):
    """The key exists, but is disabled, has expired, or its owner is disabled."""


class Forbidden(AppError):
    code = "FORBIDDEN"
    http_status = 403


class NotFound(AppError):
    code = "NOT_FOUND"
    http_status = 404


class RouteNotFound(NotFound):
    code = "ROUTE_NOT_FOUND"


class MethodNotAllowed(AppError):
    code = "METHOD_NOT_ALLOWED"
    http_status = 405


class Conflict(AppError):
    code = "CONFLICT"
    http_status = 409

    def __init__(
        self,
        message: StrOrPromise,
        *,
        code: str | None = None,
        param: str | None = None,
        details: dict[str, list[str]] | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.details = details or {}


class PayloadTooLarge(AppError):
    code = "PAYLOAD_TOO_LARGE"
    http_status = 413


class UnsupportedMediaType(AppError):
    code = "UNSUPPORTED_MEDIA_TYPE"
    http_status = 415


class RateLimited(AppError):
    code = "RATE_LIMITED"
    http_status = 429


class OutboundRefused(AppError):
    """An outbound request was stopped before it left; an operator can allow the address."""

    code = "OUTBOUND_REFUSED"
    http_status = 400


class ResponseTooLarge(AppError):
    """A server sent more than the caller wanted to read."""

    code = "UPSTREAM_ERROR"
    http_status = 502


class ProviderError(AppError):
    """A model vendor refused, failed, or answered nonsense. Translated once, where it enters.

    `message` says in our words what went wrong, without keys or the vendor's raw text.
    `is_permanent`: the same request will fail again (bad key, unknown model, refused content).
    """

    code = "UPSTREAM_ERROR"
    http_status = 502

    def __init__(
        self,
        message: StrOrPromise,
        *,
        is_permanent: bool,
        upstream_status: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.is_permanent = is_permanent
        self.upstream_status = upstream_status


class Unavailable(AppError):
    code = "UNAVAILABLE"
    http_status = 503
