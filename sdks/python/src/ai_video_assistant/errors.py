"""Everything that the package raises.

AssistantError
├── ConfigurationError             an address or an argument that cannot work
├── APIError                       the server refused a request: status, code, message, details
│   ├── BadRequestError            400
│   ├── AuthenticationError        401: no key, or a wrong one
│   ├── PermissionDeniedError      403
│   ├── NotFoundError              404
│   ├── ConflictError              409
│   ├── PayloadTooLargeError       413
│   ├── UnsupportedMediaTypeError  415
│   ├── UnprocessableError         422
│   ├── RateLimitError             429: retry_after says when to come back
│   └── ServerError                5xx
├── APIConnectionError             no answer: nobody there, or the connection broke
│   └── APITimeoutError            nothing came for too long
├── UnexpectedAnswerError          an answer that is none of this API
├── DocumentFailedError            a document of a knowledge base could not be read
├── WaitTimeoutError               something was not ready in the time given
├── ChatFailedError                the model failed in the middle of a chat's answer
└── ConversationError              a voice conversation: code, close_code, is_retryable
    ├── ConversationAuthError      a missing, wrong or insufficient key (4401, 4403)
    ├── AssistantNotFoundError     no such assistant (4404)
    ├── TooManyConversationsError  4429
    ├── ProtocolError              the server did not understand, or was not understood (4400)
    ├── ConversationClosedError    the conversation is over
    │   ├── ConversationLostError  nobody there, or the connection did not come back; it is an
    │   │                          APIConnectionError, too
    │   └── ResumeExpiredError     it came back too late to go on (4410)
    ├── ReplyFailedError           the model could not answer
    ├── ReplyInterruptedError      the reply was cut off; what was made of it is in `text`
    └── ReplyTimeoutError          no complete reply in the time given
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ai_video_assistant.models import Document


class AssistantError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(AssistantError, ValueError):
    """An address or an argument that cannot work."""


# --- REST ----------------------------------------------------------------------------------------
class APIError(AssistantError):
    """The server refused a request.

    `details` names the fields that are wrong, `retry_after` the seconds to wait, where it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        details: Mapping[str, Any] | Sequence[Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details = details
        self.retry_after = retry_after

    def __str__(self) -> str:
        code = f" {self.code}" if self.code not in ("", str(self.status)) else ""
        details = f" {self.details}" if self.details else ""
        return f"{self.status}{code}: {self.message}{details}"


class BadRequestError(APIError):
    """400: what was sent cannot be used."""


class AuthenticationError(APIError):
    """401: no key, or a wrong one."""


class PermissionDeniedError(APIError):
    """403: the key may not do this."""


class NotFoundError(APIError):
    """404: there is no such thing, or it is somebody else's."""


class ConflictError(APIError):
    """409: something that exists or runs is in the way."""


class PayloadTooLargeError(APIError):
    """413: a body or a file that is too large."""


class UnsupportedMediaTypeError(APIError):
    """415: a kind of body or file that is not taken."""


class UnprocessableError(APIError):
    """422: a field is missing or wrong."""


class RateLimitError(APIError):
    """429: too many requests; `retry_after` says when to come back."""


class ServerError(APIError):
    """5xx: the server, or a vendor behind it, failed."""


_OF_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    415: UnsupportedMediaTypeError,
    422: UnprocessableError,
    429: RateLimitError,
}


def error_class(status: int) -> type[APIError]:
    """The class for a status; a status without one of its own is a plain or a server's error."""
    return _OF_STATUS.get(status) or (ServerError if 500 <= status < 600 else APIError)


class APIConnectionError(AssistantError):
    """No answer: nobody is there, or the connection broke."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """Nothing came for too long."""


class UnexpectedAnswerError(AssistantError):
    """An answer that is none of this API: perhaps a proxy's, or of a version too far away."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class DocumentFailedError(AssistantError):
    """A document of a knowledge base could not be read; `document` says how far it came."""

    def __init__(self, document: Document) -> None:
        reason = document.error_message or document.status
        super().__init__(f"{document.name}: {reason}")
        self.document = document
        self.code = document.error_code


class WaitTimeoutError(AssistantError, TimeoutError):
    """Something was not ready in the time given. It goes on; ask again."""


class ChatFailedError(AssistantError):
    """The model failed, or the server was stopped, in the middle of an answer.

    `text` is what it had said by then.
    """

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


# --- conversations -------------------------------------------------------------------------------
class ConversationError(AssistantError):
    """Something went wrong in a voice conversation.

    `code` is the protocol's, such as "llm.failed"; `close_code` that of the WebSocket, where it was
    closed; `is_retryable` whether the same may work later.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        close_code: int | None = None,
        is_retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.close_code = close_code
        self.is_retryable = is_retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class ConversationAuthError(ConversationError):
    """The key is missing, wrong, or may not talk to this assistant."""


class AssistantNotFoundError(ConversationError):
    """There is no such assistant, or it is somebody else's."""


class TooManyConversationsError(ConversationError):
    """The user has as many conversations open as are allowed, or opened them too fast."""


class ProtocolError(ConversationError):
    """The server did not understand this package, or the other way round."""


class ConversationClosedError(ConversationError):
    """The conversation is over."""


class ConversationLostError(ConversationClosedError, APIConnectionError):
    """Nobody is there, or the connection broke and did not come back."""


class ResumeExpiredError(ConversationClosedError):
    """The connection came back too late: the server has ended the session."""


class ReplyFailedError(ConversationError):
    """The model could not answer."""


class ReplyInterruptedError(ConversationError):
    """The reply was cut off; `text` is what was made of it, `heard_text` what was heard."""

    def __init__(self, reason: str, *, text: str, heard_text: str) -> None:
        super().__init__(f"the reply was interrupted: {reason}", code="reply.interrupted")
        self.reason = reason
        self.text = text
        self.heard_text = heard_text


class ReplyTimeoutError(ConversationError, TimeoutError):
    """No complete reply in the time given. It may still come, as events."""
