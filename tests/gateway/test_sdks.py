"""What the official libraries of both vendors do with the gateway, over models of both dialects."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.models import LlmType
from tests.gateway.conftest import PATIENCE_S, Records, make_llm, publish

pytestmark = pytest.mark.django_db(transaction=True)

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
BOTH = pytest.mark.parametrize("model", ["over-openai", "over-anthropic"])


@pytest.fixture(autouse=True)
def models(openai_model: str, anthropic_model: str, embedding: str, builtin: None) -> None:
    """All models are there in each test."""


@pytest.fixture
async def claude(address: str, alice_key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=address, api_key=alice_key, timeout=PATIENCE_S
    ) as sdk:
        yield sdk


@pytest.fixture
async def gpt(address: str, alice_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{address}/v1", api_key=alice_key, timeout=PATIENCE_S
    ) as sdk:
        yield sdk


def says(upstream: FakeUpstream, **step: Any) -> None:
    """Whatever dialect the next request comes in, it is answered so."""
    upstream.script("chat", Step(**step))
    upstream.script("messages", Step(**step))


# --- Messages -------------------------------------------------------------------------------------


@BOTH
async def test_messages_are_answered(
    claude: anthropic.AsyncAnthropic, upstream: FakeUpstream, model: str
) -> None:
    says(upstream, text="Spring is here.")
    message = await claude.messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
    )
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "Spring is here."
    assert (message.model, message.stop_reason) == (model, "end_turn")
    assert message.usage.output_tokens > 0
    assert message._request_id is not None


@BOTH
async def test_messages_are_streamed(
    claude: anthropic.AsyncAnthropic, upstream: FakeUpstream, model: str
) -> None:
    says(upstream, text="One two three four.")
    async with claude.messages.stream(
        model=model, max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        pieces = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(pieces) == "One two three four."
    assert len(pieces) > 1
    assert (message.model, message.stop_reason) == (model, "end_turn")
    assert message.usage.input_tokens > 0


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_messages_with_parallel_tools(
    claude: anthropic.AsyncAnthropic, upstream: FakeUpstream, model: str, streamed: bool
) -> None:
    calls = [
        {"name": "weather", "arguments": '{"city": "Paris"}'},
        {"name": "weather", "arguments": '{"city": "Rome"}'},
    ]
    says(upstream, text="I look.", tool_calls=calls)
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [{"name": "weather", "description": "d", "input_schema": WEATHER}],
    }
    if streamed:
        async with claude.messages.stream(**asked) as stream:
            message = await stream.get_final_message()
    else:
        message = await claude.messages.create(**asked)
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.input for use in uses] == [{"city": "Paris"}, {"city": "Rome"}]
    assert message.stop_reason == "tool_use"
    assert message.content[0].type == "text"

    says(upstream, text="Sunny.")
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": use.id, "content": "sun"} for use in uses
    ]
    asked["messages"] += [
        {"role": "assistant", "content": [block.model_dump() for block in message.content]},
        {"role": "user", "content": results},
    ]
    answer = await claude.messages.create(**asked)
    assert answer.content[0].type == "text"
    sent = upstream.stats.last()[-1]["body"]
    assert "Rome" in json.dumps(sent)


@BOTH
async def test_messages_with_an_image(
    claude: anthropic.AsyncAnthropic, upstream: FakeUpstream, model: str
) -> None:
    await claude.messages.create(
        model=model,
        max_tokens=100,
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                    },
                    {"type": "text", "text": "What is it?"},
                ],
            }
        ],
    )
    assert PIXEL in json.dumps(upstream.stats.last()[-1]["body"])


@BOTH
async def test_tokens_are_counted(claude: anthropic.AsyncAnthropic, model: str) -> None:
    counted = await claude.messages.count_tokens(
        model="over-openai", messages=[{"role": "user", "content": "How many are these?"}]
    )
    assert counted.input_tokens > 3


# --- Chat completions -----------------------------------------------------------------------------


@BOTH
async def test_completions_are_made(
    gpt: openai.AsyncOpenAI, upstream: FakeUpstream, model: str
) -> None:
    says(upstream, text="Spring is here.")
    made = await gpt.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}]
    )
    assert made.choices[0].message.content == "Spring is here."
    assert (made.model, made.choices[0].finish_reason) == (model, "stop")
    assert made.usage is not None
    assert made.usage.total_tokens > 0
    assert made._request_id is not None


@BOTH
@pytest.mark.parametrize("wants_usage", [False, True])
async def test_completions_are_streamed(
    gpt: openai.AsyncOpenAI,
    upstream: FakeUpstream,
    model: str,
    wants_usage: bool,
    recorded: Records,
) -> None:
    says(upstream, text="One two three four.")
    options: Any = {"include_usage": True} if wants_usage else openai.omit
    stream = await gpt.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        stream_options=options,
    )
    chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "One two three four."
    assert {chunk.model for chunk in chunks} == {model}
    assert len({chunk.id for chunk in chunks}) == 1
    assert any(chunk.usage for chunk in chunks) == wants_usage
    assert any(not chunk.choices for chunk in chunks) == wants_usage
    (row,) = await recorded()
    assert row.output_tokens > 0
    assert not row.is_estimated


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_completions_with_parallel_tools(
    gpt: openai.AsyncOpenAI, upstream: FakeUpstream, model: str, streamed: bool
) -> None:
    calls = [
        {"name": "weather", "arguments": '{"city": "Paris"}'},
        {"name": "weather", "arguments": '{"city": "Rome"}'},
    ]
    says(upstream, tool_calls=calls)
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
    }
    if streamed:
        async with gpt.chat.completions.stream(**asked) as stream:
            async for _event in stream:
                pass
            made = await stream.get_final_completion()
    else:
        made = await gpt.chat.completions.create(**asked)
    message = made.choices[0].message
    assert message.tool_calls is not None
    arguments = [json.loads(call.function.arguments) for call in message.tool_calls]
    assert arguments == [{"city": "Paris"}, {"city": "Rome"}]
    assert made.choices[0].finish_reason == "tool_calls"
    assert not message.content

    says(upstream, text="Sunny.")
    asked["messages"] += [
        message.model_dump(exclude_none=True),
        *(
            {"role": "tool", "tool_call_id": call.id, "content": "sun"}
            for call in message.tool_calls
        ),
    ]
    answer = await gpt.chat.completions.create(**asked)
    assert answer.choices[0].message.content == "Sunny."


@BOTH
async def test_completions_with_an_image(
    gpt: openai.AsyncOpenAI, upstream: FakeUpstream, model: str
) -> None:
    await gpt.chat.completions.create(
        model=model,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ],
            }
        ],
    )
    assert PIXEL in json.dumps(upstream.stats.last()[-1]["body"])


# --- Embeddings and models ------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vectors-public", "Offline hashing embedder"])
async def test_embeddings_come_packed_and_as_numbers(gpt: openai.AsyncOpenAI, model: str) -> None:
    packed = await gpt.embeddings.create(model=model, input=["spring", "autumn"])
    plain = await gpt.embeddings.create(
        model=model, input=["spring", "autumn"], encoding_format="float"
    )
    assert [item.index for item in packed.data] == [0, 1]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert packed.usage.prompt_tokens > 0
    assert packed.model == model


async def test_a_vendor_that_takes_no_form_of_vectors_is_told_none(
    gpt: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    def make() -> None:
        fields = {"type": LlmType.EMBEDDING, "dimensions": 8}
        for vendor in ("jina", "openai_compatible"):
            row = make_llm(upstream, name=f"of-{vendor}", vendor=vendor, **fields)
            publish(f"vectors-{vendor}", row, kind="embedding")

    await in_db(make)
    plain = await gpt.embeddings.create(model="vectors-openai_compatible", input=["spring"])
    assert upstream.stats.last()[-1]["body"]["encoding_format"] == "base64"
    taken = await gpt.embeddings.create(model="vectors-jina", input=["spring"])
    assert upstream.stats.last()[-1]["body"] == {"input": ["spring"], "model": "fake-model"}
    assert taken.data[0].embedding == pytest.approx(plain.data[0].embedding)


async def test_packed_vectors_are_little_endian_floats(client: Any) -> None:
    answer = await client.post(
        "embeddings",
        json={"model": "vectors-public", "input": "spring", "encoding_format": "base64"},
    )
    raw = base64.b64decode(answer.json()["data"][0]["embedding"])
    assert len(struct.unpack(f"<{len(raw) // 4}f", raw)) == 8


async def test_models_are_listed_for_both(
    gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic
) -> None:
    for_gpt = [model.id async for model in gpt.models.list()]
    for_claude = [model.id async for model in claude.models.list()]
    assert for_gpt == for_claude
    assert {"over-openai", "over-anthropic", "vectors-public"} <= set(for_gpt)
    assert (await gpt.models.retrieve("over-openai")).id == "over-openai"
    assert (await claude.models.retrieve("over-openai")).display_name
    with pytest.raises(openai.NotFoundError):
        await gpt.models.retrieve("nothing")


# --- Errors ---------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("status", "of_anthropic", "of_openai"),
    [
        (400, anthropic.BadRequestError, openai.BadRequestError),
        (401, anthropic.InternalServerError, openai.InternalServerError),
        (403, anthropic.InternalServerError, openai.InternalServerError),
        (429, anthropic.RateLimitError, openai.RateLimitError),
        (500, anthropic.InternalServerError, openai.InternalServerError),
        (503, anthropic.InternalServerError, openai.InternalServerError),
    ],
)
async def test_refusals_of_an_upstream(
    claude: anthropic.AsyncAnthropic,
    gpt: openai.AsyncOpenAI,
    upstream: FakeUpstream,
    model: str,
    status: int,
    of_anthropic: type[Exception],
    of_openai: type[Exception],
) -> None:
    refusal = Step(
        status=status,
        body={
            "type": "error",
            "error": {"type": "x", "message": "no: sk-vendor-secret-0123456789"},
        },
    )
    for kind in ("chat", "messages"):
        upstream.script(kind, *[refusal] * 4)
    with pytest.raises(of_anthropic) as of_claude:
        await claude.with_options(max_retries=0).messages.create(
            model=model, max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
        )
    with pytest.raises(of_openai) as of_gpt:
        await gpt.with_options(max_retries=0).chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}]
        )
    for told in (str(of_claude.value), str(of_gpt.value)):
        assert "sk-vendor" not in told
    shown = 502 if status in (401, 403, 500) else status
    assert of_claude.value.status_code == shown  # type: ignore[attr-defined]  # of each class
    assert of_gpt.value.status_code == shown  # type: ignore[attr-defined]


@BOTH
async def test_the_libraries_try_again(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI, upstream: FakeUpstream, model: str
) -> None:
    for kind in ("chat", "messages"):
        # A whole request of the client's fails, with the second try of ours.
        upstream.script(
            kind,
            *[Step(status=503), Step(status=503), Step(text="At last.")],
        )
    if model == "over-anthropic":
        message = await claude.messages.create(
            model=model, max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
        )
        assert message.content[0].type == "text"
    else:
        made = await gpt.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}]
        )
        assert made.choices[0].message.content == "At last."


@BOTH
async def test_a_stream_that_breaks_is_an_error(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI, upstream: FakeUpstream, model: str
) -> None:
    says(upstream, text="One two three four five six.", break_after=3)
    with pytest.raises(anthropic.APIStatusError):
        async with claude.messages.stream(
            model=model, max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            _all = [text async for text in stream.text_stream]
    upstream.reset()
    says(upstream, text="One two three four five six.", break_after=3)
    chunks = await gpt.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    with pytest.raises(openai.APIError):
        _chunks = [chunk async for chunk in chunks]


async def test_a_wrong_key_and_a_model_that_is_not_there(
    address: str, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    wrong = "sk-gw-" + "x" * 43
    with pytest.raises(anthropic.AuthenticationError):
        await claude.with_options(api_key=wrong).models.list()
    with pytest.raises(openai.AuthenticationError):
        await gpt.with_options(api_key=wrong).models.list()
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(
            model="nothing", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
        )
    with pytest.raises(openai.NotFoundError):
        await gpt.chat.completions.create(
            model="nothing", messages=[{"role": "user", "content": "Hi"}]
        )
