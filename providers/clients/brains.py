"""What the clients of services that answer for an assistant have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from core.errors import AppError
from providers.clients import failures, transport
from providers.clients.event_stream import ServerEvent, events_of
from providers.tokens import estimate_tokens, is_count
from providers.types import BrainSpec, Endpoint, Usage

# A flow may search and call tools before its first word, and not every service says so meanwhile.
SILENCE_S = 120.0
# Services tell of every step of their flow, with all that it read; none of that is kept.
MAX_EVENT_BYTES = 4 * 1024 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
REST_S = 0.1
# Errors may come as a stream that does not say that it is one.
EXPECTS = ("text/event-stream", "text/plain", "application/json")


def endpoint_of(spec: BrainSpec, *, name: str, base_url: str) -> Endpoint:
    """The service as transport and failures know vendors: by the name that people read."""
    return Endpoint(
        row_id=f"brain:{spec.kind}",
        vendor=name,
        base_url=base_url,
        api_key=spec.api_key,
        model_name=name,
    )


def without(address: str, *endings: str) -> str:
    """The address as somebody may have copied it, without query, slash and these endings."""
    parts = urlsplit(address.strip())
    path = parts.path.rstrip("/")
    for ending in endings:
        path = path.removesuffix(ending).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


@asynccontextmanager
async def streamed(
    endpoint: Endpoint,
    path: str,
    body: dict[str, Any],
    *,
    refusal: transport.Refusal = failures.from_status,
) -> AsyncIterator[AsyncGenerator[ServerEvent, None]]:
    """The events that answer a request; leaving closes it. All that fails is a ProviderError."""
    timeout = httpx.Timeout(SILENCE_S, connect=transport.CONNECT_S, pool=transport.CONNECT_S)
    async with (
        transport.post(
            endpoint, path, expects=EXPECTS, timeout=timeout, refusal=refusal, json=body
        ) as response,
        aclosing(_events(response)) as events,
    ):
        yield events
        await _read_rest(events)


async def _read_rest(events: AsyncGenerator[ServerEvent, None]) -> None:
    """Reads what comes after the last event that matters: closed there, the connection is lost."""
    with suppress(TimeoutError, httpx.HTTPError, httpx.StreamError, AppError):
        async with asyncio.timeout(REST_S):
            async for _event in events:
                pass


async def _events(response: httpx.Response) -> AsyncGenerator[ServerEvent, None]:
    if response.headers.get("content-type", "").lower().startswith("application/json"):
        # Some refuse with an error in JSON and status 200.
        body = await transport.read(response, max_bytes=transport.MAX_ERROR_BYTES)
        yield ServerEvent("error", body)
        return
    async for event in events_of(
        response, max_event_bytes=MAX_EVENT_BYTES, max_bytes=MAX_STREAM_BYTES
    ):
        yield event


def text_at(value: object) -> str:
    """The text that a service sent, or "" where it sent something else."""
    return value if isinstance(value, str) else ""


def counted(value: object, *, asked: str, answered: str) -> Usage:
    """The tokens that the service counted; an estimate of what passed by where it counts none."""
    counts = value if isinstance(value, dict) else {}
    read, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if is_count(read) and is_count(written) and (read or written):
        return Usage(read, written)
    return Usage(estimate_tokens(asked), estimate_tokens(answered))
