"""Streams from upstreams to clients: byte for byte, whatever breaks or leaves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from core import leaving
from core.db import in_db
from core.wire import Timeouts, wire
from gateway import chat
from gateway import upstream as gateway_upstream
from gateway.models import Route
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.fakes.behaviour import Kind
from tests.gateway.conftest import Records, make_llm, publish

pytestmark = pytest.mark.django_db(transaction=True)

KINDS_OF_CHAT: tuple[Kind, ...] = ("chat", "messages")
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def models(openai_model: str, anthropic_model: str, builtin: None) -> None:
    """All models are there in each test."""


def completion(model: str = "over-openai", **values: Any) -> dict[str, Any]:
    return {"model": model, "messages": HI, "stream": True, **values}


def message(model: str = "over-anthropic", **values: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": HI, "stream": True, **values}


# Each dialect, over an upstream of its own and over one of the other.
EVERY_WAY = pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", completion()),
        ("chat/completions", completion("over-anthropic")),
        ("messages", message()),
        ("messages", message("over-openai")),
    ],
)


def events(text: str) -> list[Any]:
    """The data of each event but the last mark."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(
    ("path", "body"), [("chat/completions", completion), ("messages", message)]
)
async def test_the_same_dialect_is_passed_on_byte_for_byte(
    client: httpx.AsyncClient, upstream: FakeUpstream, path: str, body: Any
) -> None:
    usage = {"stream_options": {"include_usage": True}} if path != "messages" else {}
    upstream.set_behaviour(Behaviour(reply="Spring has come, 春天来了 — at last."))
    asked = body(**usage)
    passed = (await client.post(path, json=asked)).text
    async with httpx.AsyncClient(trust_env=False) as direct:
        kind = "chat/completions" if path != "messages" else "messages"
        own = (
            await direct.post(f"{upstream.base_url}/{kind}", json={**asked, "model": "fake-model"})
        ).text
    created = [str(event["created"]) for event in events(own) if "created" in event]
    for event, number in zip(events(passed), created, strict=False):
        own = own.replace(number, str(event["created"]))
    assert passed.replace(asked["model"], "fake-model") == own


@EVERY_WAY
async def test_a_client_that_leaves_ends_the_upstreams_work(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    recorded: Records,
    path: str,
    body: dict[str, Any],
) -> None:
    upstream.set_behaviour(Behaviour(reply="word " * 500, llm_token_ms=20))
    async with client.stream("POST", path, json=body) as response:
        async for piece in response.aiter_raw():
            if b"word" in piece:
                break
    kind: Kind = "chat" if body["model"] == "over-openai" else "messages"
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of(kind).cancelled == 1
    )
    row = await until_recorded(recorded)
    assert (row.is_aborted, row.status) == (True, 200)
    assert row.output_tokens > 0
    assert row.is_estimated


async def until_recorded(recorded: Records) -> Any:
    async with asyncio.timeout(10):
        while not (rows := await recorded()):
            await asyncio.sleep(0.01)
    return rows[-1]


async def test_a_client_that_leaves_before_the_answer_ends_the_work_too(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records
) -> None:
    upstream.script("chat", Step(wait_ms=60_000))
    asked = asyncio.create_task(client.post("chat/completions", json=completion(stream=False)))
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").requests == 1
    )
    asked.cancel()
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("chat").cancelled == 1
    )
    row = await until_recorded(recorded)
    assert (row.is_aborted, row.status) == (True, 499)


async def test_silence_is_filled(
    client: httpx.AsyncClient, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "PING_EVERY_S", 0.02)
    upstream.script("chat", Step(text="At last.", wait_ms=0))
    upstream.set_behaviour(Behaviour(llm_token_ms=200))
    text = (await client.post("messages", json=message("over-openai"))).text
    assert "event: ping" in text
    assert events(text)[-1]["type"] == "message_stop"


@EVERY_WAY
async def test_an_upstream_that_breaks_off_is_told_of(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    recorded: Records,
    path: str,
    body: dict[str, Any],
) -> None:
    for kind in ("chat", "messages"):
        upstream.script(kind, Step(text="one two three four five six", break_after=3))
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert "error" in events(answer.text)[-1]
    (row,) = await recorded()
    assert row.error_type == "upstream_error"
    assert row.output_tokens > 0


# --- Failing over ---------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("failure", [Step(status=503), Step(status=401), Step(status=429)])
async def test_another_upstream_is_asked_before_the_first_byte(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    recorded: Records,
    failure: Step,
    streamed: bool,
) -> None:
    def make() -> None:
        first = make_llm(upstream, name="first")
        second = make_llm(upstream, name="second", vendor="anthropic")
        publish("spare", first, second)

    await in_db(make)
    upstream.script("chat", failure)
    answer = await client.post("chat/completions", json=completion("spare", stream=streamed))
    assert answer.status_code == 200
    (row,) = await recorded()
    assert row.attempts == 2
    assert upstream.stats.of("messages").requests == 1


async def test_an_upstream_that_is_not_there_costs_nothing_but_time(
    client: httpx.AsyncClient, upstream: FakeUpstream, unused_tcp_port: int, recorded: Records
) -> None:
    def make() -> None:
        gone = make_llm(upstream, name="gone", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1")
        publish("spare", gone, make_llm(upstream, name="there"))

    await in_db(make)
    answer = await client.post("chat/completions", json=completion("spare", stream=False))
    assert answer.status_code == 200
    await recorded()
    errors = await in_db(lambda: list(Route.objects.values_list("last_error", flat=True)))
    assert any("cannot be reached" in error for error in errors)


async def test_what_a_model_refuses_is_not_asked_of_others(
    client: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    def make() -> None:
        publish("spare", make_llm(upstream, name="one"), make_llm(upstream, name="two"))

    await in_db(make)
    upstream.script("chat", Step(status=400, body={"error": {"message": "Too long."}}))
    answer = await client.post("chat/completions", json=completion("spare"))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Too long."
    assert upstream.stats.of("chat").requests == 1


_FAILURES = {
    "chat": 'data: {"error":{"message":"Busy.","type":"server_error","code":503}}\n\n',
    "messages": 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
    '"message":"Overloaded"}}\n\n',
}


@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [("chat", "chat/completions", completion), ("messages", "messages", message)],
)
async def test_a_stream_that_begins_with_an_error_is_asked_of_another(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    recorded: Records,
    kind: Kind,
    path: str,
    body: Any,
) -> None:
    vendor = "anthropic" if kind == "messages" else "openai_compatible"

    def make() -> None:
        rows = [make_llm(upstream, name=name, vendor=vendor) for name in ("first", "second")]
        publish("spare", *rows)

    await in_db(make)
    upstream.script(
        kind,
        Step(raw=_FAILURES[kind], content_type="text/event-stream"),
        Step(text="Here I am."),
    )
    answer = await client.post(path, json=body("spare"))
    assert answer.status_code == 200
    assert "error" not in answer.text
    (row,) = await recorded()
    assert (row.attempts, row.error_type) == (2, "")


@EVERY_WAY
async def test_open_streams_are_told_that_the_process_stops(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    recorded: Records,
    path: str,
    body: dict[str, Any],
) -> None:
    upstream.script("chat", Step(text="one two three", hang_after=2))
    upstream.script("messages", Step(text="one two three", hang_after=2))
    async with client.stream("POST", path, json=body) as response:
        pieces = aiter(response.aiter_text())
        text = ""
        while "two" not in text:
            text += await anext(pieces)
        leaving.tell()
        text += "".join([piece async for piece in pieces])
    assert "restarted" in str(events(text)[-1]["error"]["message"])
    (row,) = await recorded()
    assert (row.status, row.error_type, row.is_aborted) == (200, "overloaded", False)
    assert row.output_tokens > 0


@EVERY_WAY
async def test_a_flaw_of_ours_in_mid_stream_is_told_in_it(
    client: httpx.AsyncClient,
    recorded: Records,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, Any],
) -> None:
    async def fail(*_arguments: Any) -> None:
        raise RuntimeError("a flaw")

    for name in ("_pass", "_write"):
        monkeypatch.setattr(chat, name, fail)
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    error = events(answer.text)[-1]["error"]
    assert (error["type"], error["code"]) == ("api_error", "internal_error")
    assert "a flaw" not in answer.text
    (row,) = await recorded()
    assert (row.status, row.error_type, row.is_aborted) == (200, "internal_error", False)
    assert "a flaw" in caplog.text


async def test_connections_to_upstreams_are_used_again(
    client: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    before = upstream.stats.connections
    for number in range(12):
        streamed = bool(number % 2)
        answer = await client.post("chat/completions", json=completion(stream=streamed))
        assert answer.status_code == 200
    assert upstream.stats.connections - before == 1
    assert wire().stats.reused >= 11


# --- What nobody tells of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {"functions": [{"name": "f", "parameters": {}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi " * 50}]}]},
    ],
)
async def test_an_answer_without_a_count_is_estimated_whatever_was_asked(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records, odd: dict[str, Any]
) -> None:
    """Also of requests that only their own dialect understands."""
    said = {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]}
    upstream.script("chat", Step(raw=json.dumps(said)))
    answer = await client.post("chat/completions", json=completion(stream=False, **odd))
    assert answer.status_code == 200
    (row,) = await recorded()
    assert row.is_estimated
    assert row.input_tokens > 0


async def test_a_missing_file_of_the_clients_rests_no_upstream(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records
) -> None:
    missing = {"error": {"message": "No such file: file_id abc"}}
    upstream.script("chat", *[Step(status=404, body=missing)] * 4)
    for _ in range(4):
        answer = await client.post("chat/completions", json=completion())
        assert answer.status_code == 400
    await recorded()
    assert await in_db(lambda: list(Route.objects.exclude(last_error="").values())) == []


# --- Upstreams that hang, processes that stop -----------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upstream_that_hangs_is_left_for_the_next(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    def make() -> None:
        first = make_llm(upstream, name="hangs")
        publish("spare", first, make_llm(upstream, name="answers", vendor="anthropic"))

    await in_db(make)
    for name in ("WHOLE_OR_NEXT", "STREAMED_OR_NEXT"):
        monkeypatch.setattr(gateway_upstream, name, Timeouts(head_s=0.1))
    upstream.script("chat", Step(wait_ms=60_000))
    answer = await client.post("chat/completions", json=completion("spare", stream=streamed))
    assert answer.status_code == 200
    assert upstream.stats.of("messages").requests == 1


async def test_one_that_hangs_until_the_client_gives_up_is_noted(
    client: httpx.AsyncClient,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    recorded: Records,
) -> None:
    monkeypatch.setattr(gateway_upstream, "_SILENCE_S", 0.0)
    upstream.script("chat", Step(wait_ms=60_000))
    asked = asyncio.create_task(client.post("chat/completions", json=completion(stream=False)))
    await asyncio.to_thread(upstream.stats.wait_until, lambda stats: stats.of("chat").requests == 1)
    asked.cancel()
    await until_recorded(recorded)
    await recorded()
    errors = await in_db(lambda: list(Route.objects.values_list("last_error", flat=True)))
    assert "It said nothing until the client gave up." in errors


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_whoever_waits_for_a_whole_answer_is_told_that_the_process_stops(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records, path: str
) -> None:
    for each in KINDS_OF_CHAT:
        upstream.script(each, Step(wait_ms=60_000))
    body = completion(stream=False) if path != "messages" else message(stream=False)
    asked = asyncio.create_task(client.post(path, json=body))
    kind: Kind = "chat" if path != "messages" else "messages"
    await asyncio.to_thread(upstream.stats.wait_until, lambda stats: stats.of(kind).requests == 1)
    # Whoever waits is looked after a moment later.
    async with asyncio.timeout(10):
        while not asked.done():
            leaving.tell()
            await asyncio.sleep(0.02)
    answer = asked.result()
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "overloaded_error"
    (row,) = await recorded()
    assert (row.status, row.is_aborted) == (503, False)


async def test_operators_see_what_an_upstream_said(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records
) -> None:
    said = {"error": {"message": "The account is suspended: sk-vendor-secret-0123456789"}}
    upstream.script("chat", *[Step(status=403, body=said)] * 2)
    answer = await client.post("chat/completions", json=completion())
    assert "suspended" not in answer.text
    await recorded()
    (error,) = await in_db(
        lambda: list(Route.objects.exclude(last_error="").values_list("last_error", flat=True))
    )
    assert error.startswith("HTTP 403: ")
    assert "suspended" in error
    assert "sk-vendor" not in error
