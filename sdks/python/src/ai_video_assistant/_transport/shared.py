"""What both transports have in common."""

from __future__ import annotations

import time
from typing import Any

import httpx

from ai_video_assistant._operation import Operation, Upload, refusal_of_bytes
from ai_video_assistant._retries import Fate, seconds_in
from ai_video_assistant._settings import STREAM_SILENCE_S, Settings
from ai_video_assistant.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigurationError,
    UnexpectedAnswerError,
)

LONGEST_CONNECT_S = 10.0
# A request that failed in one of these ways has not reached the server.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Deadline:
    """When an answer must be complete: httpx limits each pause, which a slow one can repeat."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def check(self) -> None:
        """Raises APITimeoutError."""
        if time.monotonic() > self._at:
            raise APITimeoutError(f"the answer was not complete within {self._timeout_s:g} s")


def pauses(settings: Settings) -> httpx.Timeout:
    """How long each step of a request may take."""
    return httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s, LONGEST_CONNECT_S))


def allow_silence(response: httpx.Response) -> None:
    """Lets a stream that has begun pause for as long as streams may. Before its body is read."""
    response.request.extensions["timeout"]["read"] = STREAM_SILENCE_S


def sent(
    operation: Operation[Any], settings: Settings, uploads: dict[str, Upload]
) -> dict[str, Any]:
    """The arguments of httpx's `build_request`."""
    headers = settings.all_headers
    request: dict[str, Any] = {
        "method": operation.method,
        "url": f"{settings.api_url}{operation.address}",
        "headers": headers,
    }
    content = operation.content()
    if content is not None:
        request |= {"content": content, "headers": {**headers, "Content-Type": "application/json"}}
    if operation.files:
        request |= {"data": operation.fields(), "files": uploads}
    return request


def fate_of(error: httpx.RequestError) -> Fate:
    """How far a request came that failed."""
    return "unsent" if isinstance(error, _UNSENT) else "unknown"


def check_open(http: httpx.Client | httpx.AsyncClient) -> None:
    """Raises ConfigurationError."""
    if http.is_closed:
        raise ConfigurationError("the client is closed")


def translated(error: httpx.RequestError, settings: Settings) -> APIConnectionError:
    """The same failure, as an error of this package."""
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError(f"{settings.api_url} did not answer in time")
    return APIConnectionError(
        f"the connection to {settings.api_url} failed: {error or type(error).__name__}"
    )


def is_event_stream(response: httpx.Response) -> bool:
    """Whether the answer is a stream of events, not an error told in another shape."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return bool(response.is_success and kind == "text/event-stream")


def retry_after_of(response: httpx.Response) -> float | None:
    """The seconds that the server asks to wait."""
    return seconds_in(response.headers.get("Retry-After"))


def refused(response: httpx.Response, content: bytes) -> APIError:
    """The error in an answer that is none of success."""
    return refusal_of_bytes(
        response.status_code,
        content,
        place=str(response.url.copy_with(query=None, userinfo=b"")),
        retry_after=retry_after_of(response),
    )


def check_success(response: httpx.Response, content: bytes) -> None:
    """Raises APIError; UnexpectedAnswerError for a redirection, which would show others the key."""
    if response.is_redirect:
        place = response.headers.get("Location", "nowhere")
        raise UnexpectedAnswerError(f"redirected to {place}", status=response.status_code)
    if not response.is_success:
        raise refused(response, content)
