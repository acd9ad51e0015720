"""What requests cost, however they end, and under which id it is put down."""

from __future__ import annotations

from decimal import Decimal

import httpx
import pytest

from core.db import in_db
from gateway.models import UsageDay
from providers.fakes import FakeUpstream, Step
from providers.fakes.behaviour import Kind
from tests.gateway.conftest import Records, make_llm, publish
from tests.gateway.test_streams import until_recorded

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback_allowed"),
]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(params=["openai_compatible", "anthropic"])
def dear(request: pytest.FixtureRequest, upstream: FakeUpstream, transactional_db: None) -> str:
    """A model with prices, passed through and translated by turns."""
    row = make_llm(upstream, vendor=request.param)
    return publish(f"dear-{request.param}", row, price_input=100, price_output=1000).name


def _kind(public: str) -> Kind:
    """By which name the fake vendor knows the requests of the model."""
    return "messages" if public.endswith("anthropic") else "chat"


async def test_it_puts_down_what_the_vendor_counted(
    client: httpx.AsyncClient, dear: str, recorded: Records
) -> None:
    body = {"model": dear, "messages": HELLO}
    answer = await client.post("chat/completions", json=body)
    usage = answer.json()["usage"]
    (row,) = await recorded()
    assert (row.input_tokens, row.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    price = Decimal(usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 1000) / 1_000_000
    assert (row.cost, row.is_estimated) == (price, False)
    (day,) = await in_db(lambda: list(UsageDay.objects.all()))
    assert (day.cost, day.key_name) == (price, "tests")


async def test_a_stream_that_its_client_leaves_is_counted_by_an_estimate(
    client: httpx.AsyncClient, dear: str, upstream: FakeUpstream, recorded: Records
) -> None:
    upstream.script(_kind(dear), Step(text="many words " * 40, hang_after=20))
    body = {"model": dear, "messages": HELLO, "stream": True}
    async with client.stream("POST", "chat/completions", json=body) as answer:
        heard = ""
        async for line in answer.aiter_lines():
            heard += line
            if heard.count("words") >= 5:
                break
    row = await until_recorded(recorded)
    assert row.request_id == answer.headers["request-id"]
    assert (row.is_aborted, row.is_estimated, row.status) == (True, True, 200)
    assert row.output_tokens > 0
    assert row.cost >= Decimal(row.output_tokens) / 1000


async def test_a_failure_costs_nothing_and_is_found_by_its_id(
    client: httpx.AsyncClient, dear: str, upstream: FakeUpstream, recorded: Records
) -> None:
    upstream.script(_kind(dear), *[Step(status=500, body={"error": {"message": "It broke."}})] * 2)
    answer = await client.post("chat/completions", json={"model": dear, "messages": HELLO})
    assert answer.status_code >= 500
    (row,) = await recorded()
    assert row.request_id == answer.headers["request-id"]
    assert (row.status, row.cost, row.attempts) == (answer.status_code, 0, 2)
    assert row.error_message == answer.json()["error"]["message"]
