"""Errors, as OpenAI and those who imitate it tell them and as their clients expect them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.dialects.failures import failure
from gateway.neutral import Failed

# What vendors say in streams, where there is no status: by a part of the code or the type.
_STATUSES = {
    "rate_limit": 429,
    "overloaded": 529,
    "unavailable": 503,
    "invalid_request": 400,
    "authentication": 401,
    "permission": 403,
    "api_key": 401,
}
_STATUS = re.compile(r"[45][0-9]{2}")
# Beyond this an error inside of errors says nothing.
_MOST_NESTED = 10
# Some vendors answer 400 to a wrong key, which is ours.
_ABOUT_KEYS = re.compile(r"api[ _-]?key|credential|authenticat|unauthori[sz]ed", re.I)


def of_answer(status: int, body: bytes) -> Failed:
    """The failure that an error answer of an upstream is."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    return _failed(status, _message(said))


def of_event(error: Any) -> Failed:
    """The failure that an error in the middle of a stream is."""
    return _failed(_status(error), _message(error))


def error_json(
    error_type: str, message: str, *, param: str | None, code: str | None, request_id: str
) -> bytes:
    """The error object that clients of both dialects read."""
    error = {"type": error_type, "message": message, "param": param, "code": code}
    body: dict[str, Any] = {"type": "error", "error": error}
    if request_id:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def _failed(status: int, message: str) -> Failed:
    is_ours = status in (400, 422) and _ABOUT_KEYS.search(message)
    return failure(401 if is_ours else status, message)


def _message(said: Any) -> str:
    """What the error says, wherever the vendor puts it."""
    for _depth in range(_MOST_NESTED):
        if isinstance(said, list) and said:
            said = said[0]
        elif isinstance(said, dict):
            names = ("error", "message", "detail", "msg")
            said = next((said[name] for name in names if said.get(name)), None)
    return said if isinstance(said, str) else ""


def _status(error: Any) -> int:
    for _depth in range(_MOST_NESTED):
        if isinstance(error, dict) and isinstance(error.get("error"), dict):
            error = error["error"]
    if not isinstance(error, dict):
        return 500
    for name in ("code", "status", "type"):
        word = str(error.get(name) or "").lower()
        if _STATUS.fullmatch(word):
            return int(word)
        for part, status in _STATUSES.items():
            if part in word:
                return status
    return 500
