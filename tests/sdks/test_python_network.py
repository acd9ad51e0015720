"""The Python client on a network that fails: retries where they are safe, and never a hang."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ai_video_assistant import AIVideoAssistant, AsyncAIVideoAssistant, errors
from ai_video_assistant._retries import LONGEST_RETRY_AFTER_S, Retries, backoff, seconds_in
from ai_video_assistant._sse import EventLines
from ai_video_assistant._transport import shared
from ai_video_assistant.resources import following

from tests.sdks.conftest import Server
from tests.sdks.proxy import proxy_to

EMPTY = b'{"success":true,"data":{"items":[],"total":0,"page":1,"page_size":20}}'
PATIENCE_S = 20.0
SLOW = "slow"
CUT = "cut"
SILENT = "silent"


@dataclasses.dataclass(frozen=True)
class Stream:
    """A stream of events, which ends in order behind them, or falls silent."""

    events: tuple[dict[str, Any], ...] = ()
    is_silent: bool = False


Told = str | tuple[int, str] | Stream


class Answers:
    """A server that answers as it is told, one entry per request; then with an empty list."""

    def __init__(self, *answers: Told) -> None:
        self._answers = list(answers)
        self._serving: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.url = ""

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def stop(self) -> None:
        for task in [*self._serving]:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            self.requests += 1
            await self._answer(writer, self._answers.pop(0) if self._answers else (200, ""))
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, answer: Told) -> None:
        if answer == CUT:
            writer.transport.abort()
            return
        if answer == SLOW:
            # Always something, and never all of it.
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        if answer == SILENT:
            await asyncio.Event().wait()
        if isinstance(answer, Stream):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for event in answer.events:
                writer.write(f"data: {json.dumps(event)}\n\n".encode())
            await writer.drain()
            if answer.is_silent:
                await asyncio.Event().wait()
            return
        assert not isinstance(answer, str)
        status, header = answer
        body = EMPTY if status == 200 else json.dumps({"error": {"message": "no"}}).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
        writer.write("\r\n".join([*lines, *([header] if header else []), "", ""]).encode() + body)
        await writer.drain()


@asynccontextmanager
async def answering(*answers: Told) -> AsyncIterator[Answers]:
    made = Answers(*answers)
    server = await asyncio.start_server(made.accept, "localhost", 0)
    made.url = f"http://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.stop()


async def listed(url: str, *, is_async: bool, timeout: float = 20.0, max_retries: int = 2) -> None:
    """Asks for a list, which may be asked for again."""
    if is_async:
        async with AsyncAIVideoAssistant(
            api_url=url, api_key="k", timeout=timeout, max_retries=max_retries
        ) as client:
            assert await client.assistants.list() is not None
        return

    def ask() -> None:
        with AIVideoAssistant(
            api_url=url, api_key="k", timeout=timeout, max_retries=max_retries
        ) as client:
            assert client.assistants.list() is not None

    await asyncio.to_thread(ask)


async def created(url: str) -> None:
    """Makes something, which must not be made twice."""
    async with AsyncAIVideoAssistant(api_url=url, api_key="k") as client:
        await client.assistants.create(name="Ann")


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
@pytest.mark.parametrize("failure", [(429, "Retry-After: 0"), (503, ""), (502, ""), CUT])
async def test_it_asks_again_what_may_be_asked_again(
    failure: str | tuple[int, str], is_async: bool
) -> None:
    async with answering(failure) as server:
        await listed(server.url, is_async=is_async)
    assert server.requests == 2


@both
async def test_it_gives_up_after_the_retries_that_it_has(is_async: bool) -> None:
    async with answering(*[(503, "Retry-After: 0")] * 5) as server:
        with pytest.raises(errors.ServerError) as failed:
            await listed(server.url, is_async=is_async, max_retries=1)
    assert (server.requests, failed.value.status) == (2, 503)


@pytest.mark.parametrize("refusal", [(429, "Retry-After: 0"), (503, "Retry-After: 0")])
async def test_it_sends_again_what_was_refused_before_it_was_done(
    refusal: tuple[int, str],
) -> None:
    async with answering(refusal) as server:
        with pytest.raises(errors.UnexpectedAnswerError):  # the second answer is a list
            await created(server.url)
    assert server.requests == 2


@pytest.mark.parametrize("failure", [CUT, (502, ""), (503, ""), (500, "")])
async def test_it_does_not_send_again_what_may_have_been_done(
    failure: str | tuple[int, str],
) -> None:
    async with answering(failure) as server:
        with pytest.raises((errors.APIConnectionError, errors.ServerError)):
            await created(server.url)
    assert server.requests == 1


async def test_it_does_not_wait_for_longer_than_anybody_would() -> None:
    long = f"Retry-After: {LONGEST_RETRY_AFTER_S + 1:.0f}"
    async with answering((429, long)) as server:
        with pytest.raises(errors.RateLimitError) as refused:
            await listed(server.url, is_async=True)
    assert refused.value.retry_after == LONGEST_RETRY_AFTER_S + 1
    assert server.requests == 1


@both
async def test_an_answer_that_never_ends_is_given_up(is_async: bool) -> None:
    async with answering(SLOW) as server:
        with pytest.raises(errors.APITimeoutError):
            await listed(server.url, is_async=is_async, timeout=0.3)


@both
async def test_a_silent_network_is_given_up(server: Server, is_async: bool) -> None:
    async with proxy_to(server.api_url) as proxy:
        proxy.freeze()
        with pytest.raises(errors.APITimeoutError):
            await listed(proxy.http_url, is_async=is_async, timeout=0.3, max_retries=0)


@both
async def test_nobody_there_is_an_error(is_async: bool) -> None:
    async with answering() as server:
        url = server.url
    with pytest.raises(errors.APIConnectionError, match="localhost"):
        await listed(url, is_async=is_async, max_retries=1)


async def test_what_is_not_encoded_as_it_says_is_an_error() -> None:
    async with answering((200, "Content-Encoding: gzip")) as server:
        with pytest.raises(errors.APIConnectionError, match="localhost"):
            await listed(server.url, is_async=True, max_retries=0)


async def test_a_client_that_was_closed_says_so() -> None:
    plain, awaited = AIVideoAssistant(api_key="k"), AsyncAIVideoAssistant(api_key="k")
    plain.close()
    await awaited.close()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        plain.with_options(timeout=3).assistants.list()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await awaited.assistants.list()


async def test_a_redirection_does_not_get_the_key() -> None:
    async with answering((302, "Location: http://127.0.0.1:1/")) as server:
        with pytest.raises(errors.UnexpectedAnswerError, match="redirected"):
            await listed(server.url, is_async=True)


# --- streams -------------------------------------------------------------------------------------
def logged(idx: int, kind: str = "text_chunk") -> Stream:
    """A stream with one event of a task."""
    return Stream(({"idx": idx, "type": kind, "data": {}, "ts": 1.0},))


async def followed(
    url: str, *, is_async: bool, timeout: float = 20.0, max_retries: int = 2
) -> list[int]:
    """The numbers of a task's events."""
    if is_async:
        async with AsyncAIVideoAssistant(
            api_url=url, api_key="k", timeout=timeout, max_retries=max_retries
        ) as client:
            return [event.idx async for event in client.tasks.follow("t")]

    def follow() -> list[int]:
        with AIVideoAssistant(
            api_url=url, api_key="k", timeout=timeout, max_retries=max_retries
        ) as client:
            return [event.idx for event in client.tasks.follow("t")]

    return await asyncio.to_thread(follow)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "backoff", lambda _attempt: 0.001)


@both
async def test_it_follows_over_a_restart_however_often_it_has_to_try(
    is_async: bool, no_pauses: None
) -> None:
    away: list[Told] = [CUT, (502, ""), CUT, (503, "Retry-After: 0"), CUT, Stream()]
    async with answering(logged(0), *away, logged(1), CUT, logged(2, "task_complete")) as server:
        assert await followed(server.url, is_async=is_async) == [0, 1, 2]
    assert server.requests == 10


@both
async def test_it_stops_following_a_server_that_stays_away(
    is_async: bool, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert following.AWAY_S == 60
    monkeypatch.setattr(following, "AWAY_S", 0.2)
    async with answering(logged(0), *[Stream()] * 10_000) as server:
        with pytest.raises(errors.APIConnectionError, match="ended before"):
            await followed(server.url, is_async=is_async)
    assert server.requests > 4


@both
async def test_it_does_not_follow_what_never_answers_or_is_refused(
    is_async: bool, no_pauses: None
) -> None:
    async with answering(*[CUT] * 10) as server:
        with pytest.raises(errors.APIConnectionError):
            await followed(server.url, is_async=is_async)
    assert server.requests == 3
    async with answering(logged(0), (404, "")) as server:
        with pytest.raises(errors.NotFoundError):
            await followed(server.url, is_async=is_async)
    async with answering(logged(0)) as server:
        with pytest.raises(errors.APIConnectionError):
            await followed(server.url, is_async=is_async, max_retries=0)
    assert server.requests == 1


@both
async def test_a_stream_that_does_not_begin_is_given_up_when_answers_are(is_async: bool) -> None:
    async with answering(SILENT) as server:
        with pytest.raises(errors.APITimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await followed(server.url, is_async=is_async, timeout=0.3, max_retries=0)


@both
async def test_a_stream_that_has_begun_may_pause_for_as_long_as_streams_may(
    is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "STREAM_SILENCE_S", 0.3)
    async with answering(Stream(is_silent=True)) as server:
        with pytest.raises(errors.APITimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await followed(server.url, is_async=is_async, timeout=600, max_retries=0)


# --- the rules alone -----------------------------------------------------------------------------
def test_pauses_grow_and_differ() -> None:
    pauses = [backoff(5) for _ in range(20)]
    assert len(set(pauses)) > 1
    assert max(backoff(1) for _ in range(20)) <= 0.5 < min(pauses)
    assert max(backoff(50) for _ in range(20)) <= 8.0


def test_it_waits_at_least_for_what_the_server_asks() -> None:
    wait_s = Retries(2, is_repeatable=False).after_status(429, 7.0)
    assert wait_s is not None
    assert 7.0 <= wait_s < 8.0


@pytest.mark.parametrize("header", ["nonsense", "", "Mon, 99 Foo"])
def test_a_retry_after_that_says_nothing_counts_as_none(header: str) -> None:
    assert seconds_in(header) is None


def test_a_retry_after_may_be_a_moment() -> None:
    moment = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    wait_s = seconds_in(moment)
    assert wait_s is not None
    assert 25 < wait_s <= 30
    assert seconds_in("3") == 3.0
    assert seconds_in("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_of_a_stream_are_the_same_however_it_is_cut(size: int) -> None:
    text = ": ping\r\n\r\nid: 7\r\ndata: 你\r\ndata: b\r\n\r\nevent: e\ndata:c\n\ndata: cut off"
    stream = text.encode()
    lines = EventLines()
    events = [
        event
        for start in range(0, len(stream), size)
        for event in lines.feed(stream[start : start + size])
    ]
    assert [(event.data, event.id, event.event) for event in events] == [
        ("你\nb", "7", ""),
        ("c", "", "e"),
    ]
