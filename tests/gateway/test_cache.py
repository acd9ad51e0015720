"""Answers that are given again: to whom, for how long, and until what changes."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import redis.exceptions

from accounts.models import User
from core.db import in_db
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


async def test_it_answers_while_redis_is_away(
    client: httpx.AsyncClient, keeping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(client)

    def away() -> None:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(cache, "redis_async", away)
    assert (await ask(client)).headers["x-cache"] == "miss"
    assert (await ask(client)).headers["x-cache"] == "miss"
