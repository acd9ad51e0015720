"""`/v1/messages` and `/v1/chat/completions`: one way through, whatever the client and model speak.

A model of the client's own dialect is passed through, bytes and all; any other model's answer comes
as neutral events, which the client's dialect writes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Self

from django.utils.translation import gettext as _

from core.db import in_db
from core.errors import AppError, InvalidRequest, ProviderError
from core.families import Gateway
from core.ids import prefixed_id
from core.wire import Response, Timeouts, WireError
from gateway import assistants, directory, local, upstream
from gateway.dialects.failures import unreadable
from gateway.dialects.sse import TooLong
from gateway.dialects.table import DIALECTS, ChatDialect, Decoder, Encoder, Relay
from gateway.estimates import tokens_of_body
from gateway.exchange import ErrorEvent, Exchange, Stopping
from gateway.neutral import (
    CallArguments,
    Event,
    Failed,
    Finished,
    Incomplete,
    Inexpressible,
    Request,
    TextDelta,
    ThinkingDelta,
    Usage,
    collect,
)
from gateway.request import GatedRequest
from gateway.types import PublicModel, Target
from providers.profiles import thinking_wire
from providers.types import LlmSpec

PING_EVERY_S = 15.0
# Where a client of a dialect without the rule asks a model of one that needs a number.
DEFAULT_MAX_TOKENS = 4096
_CHARS_PER_TOKEN = 4
_LAST = (Finished, Failed)
# Its models that think know the limit of an answer by a name of their own.
_OPENAI = "openai"


@dataclasses.dataclass(frozen=True, slots=True)
class Passed:
    """A stream in the client's own dialect: what is passed on of it first, and the rest to come."""

    response: Response
    relay: Relay
    first: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer in the client's dialect."""

    body: bytes
    usage: Usage | None


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """An answer as events, the first of which has come."""

    first: Event
    rest: AsyncGenerator[Event, None]


Opened = Passed | Whole | Told


async def answer(request: GatedRequest, dialect: ChatDialect) -> None:
    """Answers one request for a chat model. Raises AppError before the answer has begun."""
    body = await request.exchange.body()
    asked = dialect.parse(body)
    metered = request.metered
    metered.model, metered.is_streamed = asked.model, bool(asked.stream)
    with request.exchange.watched():
        opened = await _opened(request, dialect, asked, body)
        match opened:
            case Whole():
                await _send_whole(request, opened)
            case Told() if not asked.stream:
                await _send_collected(request, dialect, opened)
            case _:
                await _stream(request, dialect, asked, opened)


async def _opened(
    request: GatedRequest, dialect: ChatDialect, asked: Any, body: bytes | bytearray
) -> Opened:
    asking = _Asking(request, dialect, asked, body)
    if assistants.is_assistant(asked.model):
        return await asking.assistant()
    model = await directory.find(request.record, asked.model)
    request.model = model
    _check(model, asked)
    if not asked.stream and asked.temperature == 0:
        kept = await request.kept_answer(model, body, headers=asking.passed_headers())
        if kept is not None:
            return Whole(kept, Usage())
    return await upstream.first_answer(model.targets, request.metered, asking.target)


def _check(model: PublicModel, asked: Any) -> None:
    if model.kind != "chat":
        text = _("“%(name)s” is no chat model.") % {"name": model.name}
        raise InvalidRequest(text, param="model")
    cap = model.max_tokens_cap
    if cap is not None and asked.max_tokens is not None and asked.max_tokens > cap:
        text = _("The model gives at most %(cap)d tokens.") % {"cap": cap}
        raise InvalidRequest(text, param=getattr(asked, "max_tokens_param", "max_tokens"))


# --- Asking ---------------------------------------------------------------------------------------


class _Asking:
    """One request, put to whichever model is to answer it."""

    def __init__(
        self, request: GatedRequest, dialect: ChatDialect, asked: Any, body: bytes | bytearray
    ) -> None:
        self._request = request
        self._dialect = dialect
        self._asked = asked
        self._body = body
        self._neutral: Request | None = None
        self._has_next = False

    @property
    def neutral(self) -> Request:
        if self._neutral is None:
            self._neutral = self._dialect.decode_request(self._asked)
            if self._limit is not None:
                self._neutral = dataclasses.replace(self._neutral, max_tokens=self._limit)
        return self._neutral

    @property
    def _limit(self) -> int | None:
        """The longest answer, where the client named none and the public model has one."""
        model = self._request.model
        return model.max_tokens_cap if model and self._asked.max_tokens is None else None

    async def target(self, target: Target, has_next: bool) -> Opened:
        """What the target answers; for less long where there is another. Raises Failing."""
        self._has_next = has_next
        self._request.estimate = self._estimate
        if target.dialect == self._dialect.name:
            return await self._same(target)
        try:
            if target.dialect == "builtin":
                return await self._builtin(target)
            return await self._other(target, DIALECTS[target.dialect])
        except Inexpressible as unable:
            raise self._unable(unable) from None

    async def assistant(self) -> Told:
        """What the assistant answers. Raises AppError."""
        self._request.metered.attempts = 1
        runtime = await in_db(assistants.load, self._request.record, self._asked.model)
        self._request.metered.target_row = runtime.id
        try:
            turn = assistants.to_turn(self.neutral, runtime)
        except Inexpressible as unable:
            raise self._refusal(unable) from None
        try:
            return await self._first(assistants.answer(turn, runtime, self.neutral))
        except upstream.Failing as failing:
            raise upstream.as_error(failing) from failing

    async def _same(self, target: Target) -> Opened:
        asked, dialect = self._asked, self._dialect
        limit = {} if self._limit is None else {_limit_name(target): self._limit}
        pieces = dialect.relay_request(self._body, asked, model=target.model_name, limit=limit)
        response = await upstream.send(
            target,
            pieces,
            headers=self.passed_headers(),
            timeouts=self._timeouts,
            decode_error=dialect.decode_error,
        )
        if not asked.stream:
            return self._whole(await upstream.read(response))
        relay = dialect.relay(public_model=asked.model, wants_usage=asked.wants_usage)
        return Passed(response, relay, await self._first_words(response, relay))

    def _whole(self, data: bytes) -> Whole:
        body, usage = self._dialect.relay_answer(data, public_model=self._asked.model)
        if usage is None:
            last = self._dialect.decode_answer(data)[-1:]
            if last and isinstance(last[0], Failed):
                raise upstream.Failing(last[0], is_service=True)
        return Whole(body, usage)

    async def _other(self, target: Target, theirs: ChatDialect) -> Told:
        body = theirs.encode_request(
            self.neutral,
            model=target.model_name,
            default_max_tokens=self._default_max_tokens(target),
            **self._vendors_words(target),
        )
        response = await upstream.send(
            target,
            [body],
            timeouts=self._timeouts,
            decode_error=theirs.decode_error,
        )
        if not self._asked.stream:
            events = theirs.decode_answer(await upstream.read(response))
            return await self._first(_each(events))
        return await self._first(_decoded(response, theirs.decoder()))

    async def _builtin(self, target: Target) -> Told:
        assert isinstance(target.spec, LlmSpec)
        # Looked at before anything is begun, so that what cannot be said is refused.
        local.to_request(self.neutral, target.spec)
        return await self._first(local.answer(self.neutral, target.spec))

    async def _first(self, events: AsyncGenerator[Event, None]) -> Told:
        """The events, once the first has come that says something."""
        try:
            first = await anext(events)
        except StopAsyncIteration:
            failed = Failed("upstream_error", _("The model gave no answer."))
            raise upstream.Failing(failed, is_service=True) from None
        except ProviderError as error:
            failed = Failed("upstream_error", error.message)
            raise upstream.Failing(failed, is_service=True) from error
        if isinstance(first, Failed):
            await events.aclose()
            raise upstream.told(first)
        return Told(first, events)

    async def _first_words(self, response: Response, relay: Relay) -> bytes:
        """The first event, unless it tells of a failure: then others may still be asked."""
        content_type = response.header(b"content-type") or b""
        if not content_type.startswith(b"text/event-stream"):
            await response.aclose()
            failed = Failed("upstream_error", _("The model's server sent no event stream."))
            raise upstream.Failing(failed, is_service=True)
        first = b""
        try:
            # Part of an event says nothing yet.
            while not first and relay.failed is None:
                first = relay.push(await anext(response))
        except StopAsyncIteration:
            failed = Failed("upstream_error", _("The model gave no answer."))
            raise upstream.Failing(failed, is_service=True) from None
        except WireError as error:
            raise upstream.broken(error) from error
        except TooLong:
            await response.aclose()
            raise upstream.Failing(unreadable(), is_service=True) from None
        if relay.failed is not None:
            await response.aclose()
            raise upstream.told(relay.failed)
        return first

    def passed_headers(self) -> list[tuple[bytes, bytes]]:
        """What the client says to the vendor's API beside the body."""
        given = self._request.exchange.headers
        return [(name, given[name]) for name in self._dialect.passed_headers if name in given]

    def _default_max_tokens(self, target: Target) -> int:
        assert isinstance(target.spec, LlmSpec)
        return target.spec.max_output_tokens or DEFAULT_MAX_TOKENS

    @property
    def _timeouts(self) -> Timeouts:
        if self._asked.stream:
            return upstream.STREAMED_OR_NEXT if self._has_next else upstream.STREAMED
        return upstream.WHOLE_OR_NEXT if self._has_next else upstream.WHOLE

    def _vendors_words(self, target: Target) -> dict[str, Any]:
        """What the target's vendor calls otherwise than its dialect does."""
        if target.dialect != "chat_completions":
            return {}
        endpoint = target.spec.endpoint
        words: dict[str, Any] = {}
        words["max_tokens_name"] = _limit_name(target)
        thinking = self.neutral.thinking
        wire = thinking_wire(endpoint)
        if thinking is not None and wire.on is not None:
            words["thinking_fields"] = wire.on if thinking.is_on else wire.off
        return words

    def _estimate(self) -> Usage:
        """What an answer has taken before its first word, where nobody tells."""
        return Usage(tokens_of_body(self._body, lambda: self.neutral))

    def _unable(self, unable: Inexpressible) -> upstream.Failing:
        error = self._refusal(unable)
        failed = Failed("invalid_request_error", error.message, status=400)
        return upstream.Failing(failed, is_service=False, error=error)

    def _refusal(self, unable: Inexpressible) -> InvalidRequest:
        param = unable.place or self._dialect.params.get(unable.feature, unable.feature)
        text = _("“%(param)s” cannot be asked of this model.") % {"param": param}
        return InvalidRequest(text, param=param)


def _limit_name(target: Target) -> str:
    is_openai = target.spec.endpoint.vendor == _OPENAI
    return "max_completion_tokens" if is_openai else "max_tokens"


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


async def _decoded(response: Response, decoder: Decoder) -> AsyncGenerator[Event, None]:
    """The events of an upstream's stream; the last is Finished or Failed."""
    async with response:
        try:
            async for piece in response:
                for event in decoder.push(piece):
                    yield event
                    if isinstance(event, _LAST):
                        return
        except WireError as error:
            yield upstream.broken(error).failed
            return
        for event in decoder.close():
            yield event


# --- Answering ------------------------------------------------------------------------------------


async def _send_whole(request: GatedRequest, whole: Whole) -> None:
    request.usage = whole.usage
    if whole.usage is not None:
        await request.keep(whole.body)
    request.first_byte()
    request.close()
    await request.exchange.json(whole.body)


async def _send_collected(request: GatedRequest, dialect: ChatDialect, told: Told) -> None:
    async with aclosing(told.rest) as rest:
        events = [told.first, *[event async for event in rest]]
    try:
        collected = collect(events)
    except Incomplete as incomplete:
        failing = upstream.Failing(incomplete.failure, is_service=True)
        raise upstream.as_error(failing) from None
    body = dialect.encode_answer(
        collected,
        request_id=_answer_id(dialect),
        model=request.metered.model,
        created=int(request.metered.started_at),
    )
    await _send_whole(request, Whole(body, collected.usage))


async def _stream(
    request: GatedRequest, dialect: ChatDialect, asked: Any, opened: Passed | Told
) -> None:
    """The answer as it comes; before the process stops, the client is told that it breaks off."""
    exchange = request.exchange
    try:
        with exchange.until_stopping():
            match opened:
                case Passed():
                    await _pass_on(request, dialect, opened)
                case Told():
                    await _tell(request, dialect, asked, opened)
    except Stopping:
        # What is complete but for its last bytes is none that was broken off.
        if not (exchange.answered and request.is_recorded):
            raise
        await exchange.end_stream()


def _error_event(request: GatedRequest, dialect: ChatDialect) -> ErrorEvent:
    def written(error: AppError) -> bytes:
        request_id = request.exchange.request_id
        shown = Gateway.body_of(error, request_id)["error"]
        return dialect.error_event(shown.pop("type"), **shown, request_id=request_id)

    return written


async def _pass_on(request: GatedRequest, dialect: ChatDialect, passed: Passed) -> None:
    relay = passed.relay
    before = request.estimate
    request.estimate = lambda: Usage(
        before().input_tokens, -(-relay.seen_chars // _CHARS_PER_TOKEN)
    )
    exchange = request.exchange
    async with passed.response:
        request.first_byte()
        await exchange.begin_stream(_error_event(request, dialect))
        await _pass(request, relay, passed.first)
        try:
            async for piece in passed.response:
                await _pass(request, relay, relay.push(piece))
        except (WireError, TooLong):
            # The relay knows that the end has not come, and says so.
            pass
    tail = relay.close()
    request.usage = relay.usage
    if relay.failed is not None:
        request.fail(relay.failed)
    request.close()
    if tail:
        await exchange.write(tail)
    await exchange.end_stream()


async def _pass(request: GatedRequest, relay: Relay, out: bytes) -> None:
    if relay.is_complete:
        request.usage = relay.usage
        request.close()
    if out:
        await request.exchange.write(out)


async def _tell(request: GatedRequest, dialect: ChatDialect, asked: Any, told: Told) -> None:
    guessed = request.estimate().input_tokens
    encoder = dialect.encoder(
        request_id=_answer_id(dialect),
        model=asked.model,
        include_usage=asked.wants_usage,
        input_tokens=guessed,
        created=int(request.metered.started_at),
    )
    count = _Count(guessed)
    request.estimate = count.usage
    exchange = request.exchange
    request.first_byte()
    async with aclosing(told.rest) as rest:
        await exchange.begin_stream(_error_event(request, dialect))
        with _Pings(exchange, encoder) as pings:
            await _write(request, encoder, count, told.first)
            async for event in _guarded(rest):
                pings.put_off()
                await _write(request, encoder, count, event)
    await exchange.end_stream()


async def _write(request: GatedRequest, encoder: Encoder, count: _Count, event: Event) -> None:
    count.take(event)
    if isinstance(event, _LAST):
        if isinstance(event, Finished):
            request.usage = event.usage
        else:
            request.fail(event)
        request.close()
    if out := encoder.encode(event):
        await request.exchange.write(out)


async def _guarded(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The events; an error of the product's own models becomes the last of them."""
    try:
        async for event in events:
            yield event
    except AppError as error:
        yield Failed("upstream_error", error.message)


def _answer_id(dialect: ChatDialect) -> str:
    return dialect.id_prefix + prefixed_id("").lstrip("_")


class _Count:
    """How many tokens have been told so far, estimated."""

    def __init__(self, input_tokens: int) -> None:
        self._input_tokens = input_tokens
        self._chars = 0

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text) | ThinkingDelta(text) | CallArguments(text=text):
                self._chars += len(text)
            case _:
                pass

    def usage(self) -> Usage:
        return Usage(self._input_tokens, -(-self._chars // _CHARS_PER_TOKEN))


class _Pings:
    """Keeps the client's connection alive while the model is silent."""

    def __init__(self, exchange: Exchange, encoder: Encoder) -> None:
        self._exchange = exchange
        self._encoder = encoder
        self._last = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self.put_off()
        self._arm(PING_EVERY_S)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def put_off(self) -> None:
        """Something was said just now."""
        self._last = asyncio.get_running_loop().time()

    def _arm(self, after_s: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(after_s, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._last + PING_EVERY_S - loop.time()
        if left_s <= 0:
            # Whoever writes the answer waits for the model meanwhile: the two cannot mix. A client
            # that has not taken the last one needs no more of them.
            if self._sending is None or self._sending.done():
                self._sending = loop.create_task(self._exchange.write(self._encoder.ping()))
            left_s = PING_EVERY_S
            self._last = loop.time()
        self._arm(left_s)
