"""Answers that are given again: to whom, for how long, and until what changes."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import redis.exceptions

from accounts.models import User
from core.db import in_db
from core.redis import redis_sync
from gateway import cache
from gateway.models import PublicModel, Route
from providers.fakes import FakeUpstream, Step
from tests.conftest import make_key
from tests.gateway.conftest import PATIENCE_S, Records, make_llm, publish

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback_allowed"),
]
ASKED = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50, "temperature": 0}


@pytest.fixture
def keeping(upstream: FakeUpstream, transactional_db: None) -> str:
    """A public model that keeps its answers."""
    return publish(
        "keeping", make_llm(upstream), cache_s=300, price_input=1000, price_output=1000
    ).name


async def ask(client: httpx.AsyncClient, path: str = "chat/completions", **more: Any) -> Any:
    answer = await client.post(path, json={**ASKED, "model": "keeping", **more})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
async def test_it_gives_an_answer_again(
    client: httpx.AsyncClient, keeping: str, upstream: FakeUpstream, recorded: Records, path: str
) -> None:
    first = await ask(client, path)
    asked = upstream.stats.of("chat").requests
    again = await ask(client, path)
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("miss", "hit")
    assert again.content == first.content
    assert upstream.stats.of("chat").requests == asked
    before, after = await recorded()
    assert before.cost > 0
    assert (after.is_cached, after.cost, after.input_tokens, after.output_tokens) == (True, 0, 0, 0)
    assert (after.status, after.attempts) == (200, 0)


async def test_it_gives_vectors_again(
    client: httpx.AsyncClient, embedding: str, upstream: FakeUpstream
) -> None:
    await in_db(lambda: PublicModel.objects.filter(name=embedding).update(cache_s=60))
    body = {"model": embedding, "input": ["one", "two"]}
    answers = [await client.post("embeddings", json=body) for _ in range(2)]
    assert [answer.headers.get("x-cache") for answer in answers] == ["miss", "hit"]
    assert answers[0].content == answers[1].content
    other = await client.post("embeddings", json={**body, "encoding_format": "base64"})
    assert other.headers["x-cache"] == "miss"


async def test_it_looks_at_what_is_asked_and_not_at_how_it_is_written(
    client: httpx.AsyncClient, keeping: str
) -> None:
    await ask(client)
    spelt = (
        '{ "temperature":0, "max_tokens":50, "user": "somebody", "model":"keeping",'
        ' "messages":[{"content":"H\\u0065llo","role":"user"}] }'
    )
    assert (await client.post("chat/completions", content=spelt)).headers["x-cache"] == "hit"
    assert (await ask(client, max_tokens=51)).headers["x-cache"] == "miss"


@pytest.mark.parametrize(
    "more", [{"temperature": None}, {"temperature": 0.1}, {"stream": True}], ids=str
)
async def test_it_keeps_nothing_that_may_differ_or_is_streamed(
    client: httpx.AsyncClient, keeping: str, upstream: FakeUpstream, more: dict[str, Any]
) -> None:
    for _ in range(2):
        assert "x-cache" not in (await ask(client, **more)).headers
    assert upstream.stats.of("chat").requests == 2
    assert (await ask(client)).headers["x-cache"] == "miss"


async def test_it_says_nothing_where_the_model_keeps_nothing(
    client: httpx.AsyncClient, openai_model: str
) -> None:
    assert "x-cache" not in (await ask(client, model=openai_model)).headers


async def test_it_gives_no_key_what_another_was_answered(
    client: httpx.AsyncClient, keeping: str, alice: User
) -> None:
    await ask(client)
    other = await in_db(make_key, alice)
    answer = await client.post(
        "chat/completions",
        json={**ASKED, "model": keeping},
        headers={"Authorization": f"Bearer {other}"},
    )
    assert answer.headers["x-cache"] == "miss"
    assert (await ask(client)).headers["x-cache"] == "hit"


async def test_it_forgets_when_the_model_leads_elsewhere(
    client: httpx.AsyncClient, keeping: str, upstream: FakeUpstream
) -> None:
    await ask(client)
    assert (await ask(client)).headers["x-cache"] == "hit"

    def lead_elsewhere() -> None:
        other = make_llm(upstream, name="other", model_name="other-model")
        Route.objects.update(llm=other)

    await in_db(lead_elsewhere)

    deadline = time.monotonic() + PATIENCE_S
    while (await ask(client)).headers["x-cache"] != "miss":
        assert time.monotonic() < deadline


async def test_it_keeps_no_failure(
    client: httpx.AsyncClient, keeping: str, upstream: FakeUpstream
) -> None:
    upstream.script("chat", Step(status=400, body={"error": {"message": "No."}}))
    failed = await client.post("chat/completions", json={**ASKED, "model": keeping})
    assert failed.status_code == 400
    assert (await ask(client)).headers["x-cache"] == "miss"


def place(name: str, *, keep_s: int = 60) -> cache.Place:
    return cache.Place(f"gateway:answer:{name}", keep_s)


def kept() -> set[str]:
    """The names of what is kept; what is known of it holds."""
    client: Any = redis_sync()
    names = set(client.keys("gateway:answer:*"))
    sizes = {name: int(size) for name, size in client.hgetall(cache._SIZES).items()}
    total = sizes.pop("")
    assert names == set(sizes) == set(client.zrange(cache._ENDS, 0, -1))
    assert total == sum(sizes.values()) <= cache.MOST_BYTES
    return {name.removeprefix("gateway:answer:") for name in names}


async def test_what_ends_soonest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * (1000 + cache._BYTES_BESIDE))
    answer = b"x" * 1000
    for name, keep_s in (("long", 600), ("short", 60), ("middle", 300)):
        await cache.keep(place(name, keep_s=keep_s), answer)
    assert await in_db(kept) == {"long", "short", "middle"}
    # Kept anew, it takes its room once.
    await cache.keep(place("middle", keep_s=300), answer)
    assert await in_db(kept) == {"long", "short", "middle"}
    await cache.keep(place("next", keep_s=60), answer)
    assert await in_db(kept) == {"long", "middle", "next"}
    # A larger one needs the room of two.
    await cache.keep(place("larger", keep_s=60), answer * 2)
    assert await in_db(kept) == {"long", "larger"}


async def test_what_has_ended_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 2 * (1000 + cache._BYTES_BESIDE))
    await cache.keep(place("ends", keep_s=1), b"x" * 1000)
    await cache.keep(place("stays", keep_s=600), b"x" * 1000)
    deadline = time.monotonic() + PATIENCE_S
    while await in_db(lambda: redis_sync().exists("gateway:answer:ends")):
        assert time.monotonic() < deadline
    await cache.keep(place("next", keep_s=60), b"x" * 1000)
    assert await in_db(kept) == {"stays", "next"}


async def test_it_goes_on_where_redis_forgot_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 1000 + cache._BYTES_BESIDE)
    await cache.keep(place("one"), b"x" * 1000)
    await in_db(lambda: redis_sync().delete(cache._ENDS, "gateway:answer:one"))
    await in_db(lambda: redis_sync().hdel(cache._SIZES, "gateway:answer:one"))
    await cache.keep(place("two"), b"x" * 1000)
    assert await in_db(kept) == {"two"}


async def test_it_answers_while_redis_is_away(
    client: httpx.AsyncClient, keeping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(client)

    def away() -> None:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(cache, "redis_async", away)
    assert (await ask(client)).headers["x-cache"] == "miss"
    assert (await ask(client)).headers["x-cache"] == "miss"
