"""One real request to a public model, made by an operator in the console.

It takes the gateway's own way, but for its door: no key is asked for, so no limit holds. It is
recorded as any other request, under the operator and no key.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import msgspec
from asgiref.typing import HTTPScope

from accounts.keyring import KeyRecord
from accounts.principals import Principal
from core.errors import AppError
from gateway import router
from gateway.exchange import Exchange
from gateway.metering import meter
from gateway.models import Kind
from gateway.request import GatedRequest
from gateway.types import Endpoint, Metered

_ENDPOINTS: dict[str, Endpoint] = {Kind.CHAT: "chat_completions", Kind.EMBEDDING: "embeddings"}
_PATHS = {Kind.CHAT: "/v1/chat/completions", Kind.EMBEDDING: "/v1/embeddings"}


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: an answer in words, or what the client would have been told."""

    answer: str
    error: str
    metered: Metered

    @property
    def is_ok(self) -> bool:
        return not self.error


async def try_model(
    principal: Principal, name: str, kind: Kind, words: str, *, max_tokens: int | None
) -> Trial:
    """Asks the model once. Failures of any kind are told in the trial."""
    heard = _Heard(_question(name, kind, words, max_tokens))
    exchange = Exchange(_scope(_PATHS[kind]), heard.receive, heard.send)
    record = KeyRecord(principal, key_id=0, key_name="", requests_per_minute=1)
    request = GatedRequest.of(exchange, record, _ENDPOINTS[kind])
    error = ""
    try:
        await router.counted(request, router.POSTS[_PATHS[kind]][1])
    except AppError as refused:
        error = refused.message
    finally:
        exchange.let_go()
    # So that the list of requests has it when the page leads there.
    await meter().flush()
    return Trial("" if error else _words(kind, heard.answer()), error, request.metered)


def _question(name: str, kind: Kind, words: str, max_tokens: int | None) -> bytes:
    asked: dict[str, Any] = {"model": name}
    if kind == Kind.EMBEDDING:
        asked["input"] = words
    else:
        asked["messages"] = [{"role": "user", "content": words}]
        if max_tokens is not None:
            asked["max_tokens"] = max_tokens
    return msgspec.json.encode(asked)


def _scope(path: str) -> HTTPScope:
    return cast(HTTPScope, {"type": "http", "method": "POST", "path": path, "headers": []})


class _Heard:
    """The two ends of a connection without one: the question, and what was answered."""

    def __init__(self, question: bytes) -> None:
        self._question: bytes | None = question
        self._pieces: list[bytes] = []

    async def receive(self) -> Any:
        if self._question is None:
            # The operator does not hang up.
            await asyncio.Event().wait()
        body, self._question = self._question, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, event: Any) -> None:
        if event["type"] == "http.response.body":
            self._pieces.append(event.get("body", b""))

    def answer(self) -> Any:
        return msgspec.json.decode(b"".join(self._pieces))


def _words(kind: Kind, answer: Any) -> str:
    """What of an answer people read."""
    if kind == Kind.EMBEDDING:
        vector = answer["data"][0]["embedding"]
        shown = ", ".join(f"{number:.4f}" for number in vector[:8])
        return f"[{shown}, …] ({len(vector)})" if len(vector) > 8 else f"[{shown}]"
    message = answer["choices"][0]["message"]
    calls = message.get("tool_calls") or []
    said = [message.get("content") or message.get("refusal") or ""]
    said += [f"{call['function']['name']}({call['function']['arguments']})" for call in calls]
    return "\n".join(each for each in said if each)
