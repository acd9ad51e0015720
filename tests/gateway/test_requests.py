"""What the gateway refuses, and how it says so."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.utils import timezone

from accounts.models import User
from core.db import in_db
from gateway import exchange
from gateway.models import PublicModel
from providers.fakes import FakeUpstream, Step
from providers.fakes.behaviour import Kind
from providers.models import Llm
from tests.gateway.conftest import PATIENCE_S, Records, change_key

pytestmark = pytest.mark.django_db(transaction=True)

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def models(openai_model: str, anthropic_model: str, embedding: str, builtin: None) -> None:
    """All models are there in each test."""


def message(**values: Any) -> dict[str, Any]:
    return {"model": "over-openai", "max_tokens": 10, "messages": HI, **values}


def completion(**values: Any) -> dict[str, Any]:
    return {"model": "over-anthropic", "messages": HI, **values}


async def test_a_good_request_passes(client: httpx.AsyncClient) -> None:
    """The twin of all refusals below."""
    assert (await client.post("messages", json=message())).status_code == 200
    assert (await client.post("chat/completions", json=completion())).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("messages", message(max_tokens=0), "max_tokens"),
        ("messages", {"model": "over-openai", "messages": HI}, "max_tokens"),
        ("messages", message(temperature=1.5), "temperature"),
        ("messages", message(messages=[]), "messages"),
        ("messages", message(messages=[{"role": "bot", "content": "x"}]), "messages[0].role"),
        ("messages", message(messages="Hi"), "messages"),
        ("messages", {"max_tokens": 1, "messages": HI}, "model"),
        ("messages", message(model="vectors-public"), "model"),
        ("messages", message(model=7), "model"),
        ("chat/completions", completion(temperature=2.5), "temperature"),
        ("chat/completions", completion(n=2), "n"),
        ("chat/completions", completion(stop=["a"] * 5), "stop"),
        ("chat/completions", completion(model="vectors-public"), "model"),
        ("chat/completions", completion(seed=1), "seed"),
        ("chat/completions", completion(temperature=1.5), "temperature"),
        ("embeddings", {"model": "vectors-public", "input": ""}, "input"),
        ("embeddings", {"model": "vectors-public", "input": []}, "input"),
        ("embeddings", {"model": "over-openai", "input": "x"}, "model"),
        ("embeddings", {"model": "vectors-public"}, "input"),
    ],
)
async def test_it_names_the_parameter_that_is_wrong(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert answer.headers["request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    "feature", [{"top_k": 5}, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}]
)
async def test_it_refuses_what_the_upstreams_dialect_cannot_say(
    client: httpx.AsyncClient, feature: dict[str, Any]
) -> None:
    answer = await client.post("messages", json=message(**feature))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(feature))
    passed = await client.post("messages", json=message(model="over-anthropic", **feature))
    assert passed.status_code == 200


PIXEL = "iVBORw0KGgo="


def shown(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


TEXT = {"type": "text", "text": "Look"}
BASE64 = shown(type="base64", media_type="image/png", data=PIXEL)
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}


@pytest.mark.parametrize(
    ("path", "last", "param"),
    [
        ("messages", [TEXT, BASE64], "messages[2].content[1]"),
        ("messages", [shown(type="url", url="https://a/b.png")], "messages[2].content[0]"),
        ("messages", [shown(type="file", file_id="f")], "messages[2].content[0]"),
        (
            "messages",
            [TEXT, {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}],
            "messages[2].content[1]",
        ),
        (
            "messages",
            [{"type": "tool_result", "tool_use_id": "t1", "content": [TEXT, BASE64]}],
            "messages[2].content[0].content[1]",
        ),
        (
            "chat/completions",
            [TEXT, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}],
            "messages[2].content[1]",
        ),
    ],
)
async def test_it_says_where_stands_what_a_model_cannot_see(
    client: httpx.AsyncClient, path: str, last: list[dict[str, Any]], param: str
) -> None:
    answered: Any = [CALL] if last[0]["type"] == "tool_result" else "Yes?"
    between = {"role": "assistant", "content": answered}
    asked = {"model": "Offline demo model", "max_tokens": 10}

    async def ask(content: list[dict[str, Any]]) -> httpx.Response:
        told = [*HI, between, {"role": "user", "content": content}]
        return await client.post(path, json={**asked, "messages": told})

    refused = await ask(last)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], param in error["message"]) == (param, True)
    if answered == "Yes?":
        assert (await ask([TEXT])).status_code == 200


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": NaN}'])
async def test_it_refuses_what_is_no_json_object(client: httpx.AsyncClient, raw: bytes) -> None:
    for path in ("messages", "chat/completions", "embeddings"):
        answer = await client.post(path, content=raw)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "The body is empty"),
        (b" \n", "The body is empty"),
        (b'{"model": "x"', "it ends before the object does"),
        (b'{"model": "\\ud800"}', "half of a pair"),
        (b'{"model": "\\ud83d and so on"}', "half of a pair"),
        (b'{"model": "\\\\ud83d", "a": ', "it ends before the object does"),
        (b'{"model": "\\udc00"}', "half of a pair"),
        (b'{"model": x}', "invalid character (byte 10)"),
    ],
)
async def test_it_says_what_is_wrong_with_a_body(
    client: httpx.AsyncClient, raw: bytes, words: str
) -> None:
    for path in ("messages", "chat/completions", "embeddings"):
        answer = await client.post(path, content=raw)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]


async def test_it_reads_a_body_behind_a_byte_order_mark(client: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        yield b"\xef\xbb"
        yield b"\xbf" + json.dumps(message()).encode()

    for model in ("over-openai", "over-anthropic"):
        raw = b"\xef\xbb\xbf" + json.dumps(message(model=model)).encode()
        assert (await client.post("messages", content=raw)).status_code == 200
    assert (await client.post("messages", content=in_pieces())).status_code == 200


async def test_fields_that_nobody_knows_reach_models_of_the_same_dialect(
    client: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    ways: tuple[tuple[str, Kind, bool], ...] = (
        ("over-anthropic", "messages", True),
        ("over-openai", "chat", False),
    )
    for model, kind, is_passed in ways:
        body = message(model=model, new_field={"a": 1}, metadata={"user_id": "u", "b": 2})
        assert (await client.post("messages", json=body)).status_code == 200
        (asked,) = upstream.stats.last(kind)
        assert ("new_field" in asked["body"]) is is_passed


async def test_it_refuses_a_large_body_before_reading_it(address: str, alice_key: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    size = exchange.MAX_BODY_BYTES + 1
    # No byte of the body is ever sent: the answer cannot have waited for it.
    writer.write(
        f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {alice_key}\r\n"
        f"Content-Length: {size}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413")


async def test_it_refuses_a_body_that_grows_too_large(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_BODY_BYTES", 100_000)

    async def pieces() -> Any:
        for _ in range(4):
            yield b" " * 40_000

    answer = await client.post("messages", content=pieces())
    assert answer.status_code == 413


async def test_too_many_large_bodies_at_once_are_told_to_come_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_in_flight", exchange.BytesInFlight(limit=100_000))
    large = json.dumps(message(messages=[{"role": "user", "content": "x" * 90_000}]))
    assert (await client.post("messages", content=large)).status_code == 200
    larger = json.dumps(message(messages=[{"role": "user", "content": "x" * 120_000}]))
    answer = await client.post("messages", content=larger)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    # What was taken has been given back.
    assert (await client.post("messages", content=large)).status_code == 200


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_both_headers_obey_the_same_rules(
    address: str, alice: User, alice_key: str, name: str
) -> None:
    def headers(key: str) -> dict[str, str]:
        return {name: key if name == "x-api-key" else f"Bearer {key}"}

    async with httpx.AsyncClient(base_url=f"{address}/v1/", trust_env=False) as client:

        async def status(key: str = alice_key) -> int:
            answer = await client.post("messages", json=message(), headers=headers(key))
            return answer.status_code

        assert await status() == 200
        assert await status("sk-gw-wrong") == 401
        await change_key(alice, is_enabled=False)
        assert await eventually(status, 403)
        await change_key(alice, is_enabled=True, expires_at=timezone.now())
        assert await eventually(status, 403)
        later = timezone.now() + datetime.timedelta(days=1)
        await change_key(alice, expires_at=later, scopes=["chat"])
        assert await eventually(status, 403)
        await change_key(alice, scopes=["gateway"], allowed_models=["other"])
        assert await eventually(status, 404)
        await change_key(alice, allowed_models=["over-openai"])
        assert await eventually(status, 200)
        await change_key(alice, requests_per_minute=1)
        assert await eventually(status, 429)


async def eventually(ask: Any, wanted: int) -> bool:
    """Whether the answer becomes that, as soon as the change is known; tries for a while."""
    deadline = timezone.now() + datetime.timedelta(seconds=20)
    while (found := await ask()) != wanted:
        if timezone.now() > deadline:
            raise AssertionError(f"still {found}")
    return True


async def test_two_keys_that_differ_are_refused(address: str, alice_key: str, bob_key: str) -> None:
    async with httpx.AsyncClient(base_url=f"{address}/v1/", trust_env=False) as client:
        for other, status in ((alice_key, 200), (bob_key, 401)):
            headers = {"x-api-key": alice_key, "authorization": f"Bearer {other}"}
            answer = await client.post("messages", json=message(), headers=headers)
            assert answer.status_code == status


async def test_limited_requests_say_when_to_come_again(
    client: httpx.AsyncClient, alice: User
) -> None:
    await change_key(alice, requests_per_minute=3)
    answers = [await client.post("messages", json=message()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    for name in ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}"):
        limits = [answer.headers[name.format("limit")] for answer in answers]
        remaining = [answer.headers[name.format("remaining")] for answer in answers]
        assert (limits, remaining) == (["3"] * 5, ["2", "1", "0", "0", "0"])
    assert 1 <= int(answers[-1].headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 61


async def test_longer_answers_than_the_model_gives_are_refused(
    client: httpx.AsyncClient, settings: Any
) -> None:
    await in_db(lambda: PublicModel.objects.update(max_tokens_cap=50))
    assert (await client.post("messages", json=message(max_tokens=50))).status_code == 200
    answer = await client.post("messages", json=message(max_tokens=51))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "max_tokens"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["over-openai", "over-anthropic"])
async def test_a_model_with_a_longest_answer_is_told_it_for_clients_that_name_none(
    client: httpx.AsyncClient, upstream: FakeUpstream, model: str, streamed: bool
) -> None:
    await in_db(lambda: PublicModel.objects.update(max_tokens_cap=50))
    for null in ({}, {"max_tokens": None}):
        body = completion(model=model, stream=streamed, **null)
        assert (await client.post("chat/completions", json=body)).status_code == 200
        assert upstream.stats.last()[-1]["body"]["max_tokens"] == 50


# --- Paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "messages", 405),
        ("POST", "models", 405),
        ("POST", "nothing", 404),
        ("GET", "", 404),
        ("GET", "models/over-openai", 200),
        ("GET", "models/", 200),
    ],
)
async def test_paths(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status, answer.text
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("name", ["100%41", "ü/x?y#z", "a b"])
async def test_a_model_is_found_whatever_its_name(
    client: httpx.AsyncClient, alice: User, name: str
) -> None:
    row = {"vendor": "openai_compatible", "base_url": "http://127.0.0.1:9/v1", "owner": alice}
    await in_db(lambda: Llm.objects.create(name=name, **row))
    answer = await client.get(f"models/{quote(name, safe='')}")
    assert answer.json()["id"] == name
    assert (await client.get(f"models/{quote(name + '!', safe='')}")).status_code == 404


async def test_pages_of_other_origins_may_ask(client: httpx.AsyncClient) -> None:
    answer = await client.options(
        "messages",
        headers={
            "origin": "https://example.org",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, x-stainless-lang",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]


async def test_refusals_come_in_the_language_that_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.post("nothing", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert not answer.json()["error"]["message"].isascii()


# --- Records --------------------------------------------------------------------------------------


async def test_each_request_is_put_down(client: httpx.AsyncClient, recorded: Records) -> None:
    good = await client.post("messages", json=message())
    bad = await client.post("messages", json=message(temperature=7))
    rows = {row.request_id: row for row in await recorded()}
    done, refused = rows[good.headers["request-id"]], rows[bad.headers["request-id"]]
    assert (done.status, done.model, done.endpoint) == (200, "over-openai", "messages")
    assert done.input_tokens > 0
    assert done.latency_ms > 0
    assert (refused.status, refused.error_type) == (400, "validation_error")
    assert refused.input_tokens == 0


async def test_the_vendors_key_is_told_to_nobody(
    client: httpx.AsyncClient, upstream: FakeUpstream, recorded: Records
) -> None:
    leak = {"error": {"message": "Incorrect API key provided: sk-vendor-secret-0123456789"}}
    upstream.script("chat", *[Step(status=401, body=leak)] * 2)
    answer = await client.post("messages", json=message())
    assert answer.status_code == 502
    assert "sk-vendor" not in answer.text
    assert all("sk-vendor" not in row.error_message for row in await recorded())
