"""Services that answer for an assistant, over real HTTP in the protocols that they document."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from typing import Any

import pytest

from core.errors import ProviderError
from providers.clients import brains
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.registry import brain
from providers.types import (
    BrainKind,
    BrainPart,
    BrainRequest,
    BrainSpec,
    ChatEnd,
    ImagePart,
    LinkedPart,
    RetractedPart,
    TextPart,
    ThinkingPart,
    Usage,
)
from tests.upstream import SECRET

BOTH: tuple[BrainKind, ...] = ("dify", "fastgpt")
ASKED = BrainRequest("Hello", user="caller-1", conversation_id="talk-1", variables={"city": "Bonn"})
IMAGE = ImagePart(b"\x89PNG pixels", "image/png")


def spec(upstream: FakeUpstream, kind: BrainKind, end: str = "") -> BrainSpec:
    return BrainSpec(kind, f"{upstream.root_url}{end}", SECRET)


async def parts_of(spec: BrainSpec, request: BrainRequest = ASKED) -> list[BrainPart]:
    async with brain(spec).stream(request) as parts:
        return [part async for part in parts]


def text_of(parts: list[BrainPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def link_of(parts: list[BrainPart]) -> str:
    (link,) = [part for part in parts if isinstance(part, LinkedPart)]
    return link.remote_id


async def failure_of(spec: BrainSpec, request: BrainRequest = ASKED) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await parts_of(spec, request)
    assert SECRET not in str(caught.value)
    return caught.value


# --- Both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
async def test_it_goes_on_with_the_conversation_that_the_service_keeps(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    upstream.set_behaviour(Behaviour(reply="You said {text}."))
    first = await parts_of(spec(upstream, kind))
    assert text_of(first) == "You said Hello."
    assert isinstance(first[-1], ChatEnd)
    assert first[-1].reason == "stop"

    again = dataclasses.replace(ASKED, text="And more", remote_id=link_of(first))
    second = await parts_of(spec(upstream, kind), again)
    assert text_of(second) == "You said And more."
    assert not [part for part in second if isinstance(part, LinkedPart)]
    assert upstream.conversations == {link_of(first): ["Hello", "And more"]}


@pytest.mark.parametrize("kind", BOTH)
async def test_it_keeps_its_connection(upstream: FakeUpstream, kind: BrainKind) -> None:
    for _number in range(3):
        await parts_of(spec(upstream, kind))
    assert upstream.stats.connections == 1


@pytest.mark.parametrize("kind", BOTH)
async def test_it_streams(upstream: FakeUpstream, kind: BrainKind) -> None:
    upstream.script(kind, Step(text="one two three", hang_after=2))
    async with brain(spec(upstream, kind)).stream(ASKED) as parts:
        seen = [part.text async for part in _first_texts(parts, 2)]
    assert seen == ["one ", "two "]


@pytest.mark.parametrize("kind", BOTH)
async def test_it_says_who_asks_and_with_which_values(
    upstream: FakeUpstream, kind: BrainKind
) -> None:
    await parts_of(spec(upstream, kind))
    (sent,) = upstream.stats.last(kind)
    assert sent["headers"]["authorization"] == f"Bearer {SECRET}"
    body = sent["body"]
    if kind == "dify":
        assert (body["inputs"], body["user"]) == ({"city": "Bonn"}, "caller-1")
        assert (body["query"], body["response_mode"]) == ("Hello", "streaming")
        assert body["conversation_id"] == ""
    else:
        assert (body["variables"], body["chatId"]) == ({"city": "Bonn"}, "talk-1")
        assert (body["stream"], body["detail"]) == (True, False)
        assert body["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("dify", ""),
        ("dify", "/"),
        ("dify", "/v1"),
        ("dify", "/v1/"),
        ("dify", "/v1/chat-messages"),
        ("fastgpt", ""),
        ("fastgpt", "/api"),
        ("fastgpt", "/api/"),
        ("fastgpt", "/api/v1"),
        ("fastgpt", "/api/v1/chat/completions"),
    ],
)
async def test_it_finds_the_api_from_addresses_as_people_copy_them(
    upstream: FakeUpstream, kind: BrainKind, end: str
) -> None:
    assert text_of(await parts_of(spec(upstream, kind, end))).startswith("This is")


@pytest.mark.parametrize("kind", BOTH)
async def test_it_refuses_a_wrong_key_for_good(upstream: FakeUpstream, kind: BrainKind) -> None:
    upstream.set_behaviour(Behaviour(key=SECRET))
    await parts_of(spec(upstream, kind))
    upstream.set_behaviour(Behaviour(key="another"))
    error = await failure_of(spec(upstream, kind))
    assert error.is_permanent
    assert "refused the API key" in error.message
    assert error.message.startswith("Dify" if kind == "dify" else "FastGPT")


@pytest.mark.parametrize(
    ("step", "is_permanent"),
    [
        (Step(status=429, body={"message": "slow down"}), False),
        (Step(status=503, body={}), False),
        (Step(status=400, body={"code": "invalid_param", "message": "city is required"}), True),
        (Step(text="one two three", break_after=2), False),
        (Step(raw="<html>", content_type="text/html"), True),
        (Step(raw="data: {no json\n\n", content_type="text/event-stream"), False),
        (Step(raw="data: [1]\n\n", content_type="text/event-stream"), False),
        (Step(raw="", content_type="text/event-stream"), False),
        (Step(raw=": nothing but comments\n\n", content_type="text/event-stream"), False),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
async def test_it_tells_every_failure(
    upstream: FakeUpstream, kind: BrainKind, step: Step, is_permanent: bool
) -> None:
    upstream.script(kind, step)
    assert (await failure_of(spec(upstream, kind))).is_permanent is is_permanent
    assert text_of(await parts_of(spec(upstream, kind)))


async def test_it_explains_a_refused_request(upstream: FakeUpstream) -> None:
    body = {"code": "invalid_param", "message": f"city is required for {SECRET}", "status": 400}
    upstream.script("dify", Step(status=400, body=body))
    assert "city is required" in (await failure_of(spec(upstream, "dify"))).message


@pytest.mark.parametrize("kind", BOTH)
async def test_it_reaches_no_private_address(
    upstream: FakeUpstream, kind: BrainKind, settings: Any
) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    settings.OUTBOUND_ALLOW = []
    assert (await failure_of(spec(upstream, kind))).is_permanent
    assert upstream.stats.of(kind).requests == 0
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    assert text_of(await parts_of(spec(upstream, kind)))


@pytest.mark.parametrize("kind", BOTH)
async def test_it_reads_no_endless_event(
    upstream: FakeUpstream, kind: BrainKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brains, "MAX_EVENT_BYTES", 1_000)
    upstream.script(kind, Step(raw="data: " + "x" * 9_000, content_type="text/event-stream"))
    assert "larger than" in (await failure_of(spec(upstream, kind))).message


@pytest.mark.parametrize("kind", BOTH)
async def test_leaving_closes_the_stream(upstream: FakeUpstream, kind: BrainKind) -> None:
    upstream.script(kind, Step(text="one two three", hang_after=1))
    async with brain(spec(upstream, kind)).stream(ASKED) as parts:
        async for _part in _first_texts(parts, 1):
            pass
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of(kind).cancelled == 1
    )


async def _first_texts(parts: Any, count: int) -> Any:
    async for part in parts:
        if isinstance(part, TextPart):
            yield part
            count -= 1
            if not count:
                return


# --- Dify ----------------------------------------------------------------------------------------


async def test_dify_is_told_to_stop_what_nobody_waits_for(upstream: FakeUpstream) -> None:
    upstream.script("dify", Step(text="one two three", hang_after=1))
    async with brain(spec(upstream, "dify")).stream(ASKED) as parts:
        async for _part in _first_texts(parts, 1):
            pass
    assert await asyncio.to_thread(
        upstream.stats.wait_until, lambda stats: stats.of("dify_stop").finished == 1
    )
    (stopped,) = upstream.stats.last("dify_stop")
    assert stopped["body"] == {"user": "caller-1"}


async def test_dify_is_not_told_to_stop_what_has_ended(upstream: FakeUpstream) -> None:
    upstream.script("dify", Step(text="Done."), Step(error={"status": 500, "message": "no"}))
    await parts_of(spec(upstream, "dify"))
    await failure_of(spec(upstream, "dify"))
    # Another whole exchange: a request to stop would have come before it.
    await parts_of(spec(upstream, "dify"))
    assert upstream.stats.of("dify_stop").requests == 0


async def test_dify_begins_anew_where_it_has_lost_the_conversation(
    upstream: FakeUpstream,
) -> None:
    lost = dataclasses.replace(ASKED, remote_id=str(uuid.uuid4()))
    parts = await parts_of(spec(upstream, "dify"), lost)
    assert link_of(parts) != lost.remote_id
    assert upstream.conversations == {link_of(parts): ["Hello"]}


async def test_dify_is_not_asked_for_an_id_of_another_service(upstream: FakeUpstream) -> None:
    parts = await parts_of(spec(upstream, "dify"), dataclasses.replace(ASKED, remote_id="talk-1"))
    assert link_of(parts) in upstream.conversations
    assert upstream.stats.of("dify").requests == 1


async def test_dify_takes_back_what_moderation_replaces(upstream: FakeUpstream) -> None:
    upstream.script("dify", Step(text="Something rude.", replacement="I cannot say that."))
    parts = await parts_of(spec(upstream, "dify"))
    at = parts.index(RetractedPart())
    assert text_of(parts[:at]) == "Something rude."
    assert text_of(parts[at:]) == "I cannot say that."


async def test_dify_tells_what_its_agent_thinks_and_uses_once(upstream: FakeUpstream) -> None:
    call = {"name": "weather", "arguments": {"city": "Bonn"}}
    upstream.script("dify", Step(thinking="Let me look.", tool_calls=[call], text="Sunny."))
    parts = await parts_of(spec(upstream, "dify"))
    thoughts = "".join(part.text for part in parts if isinstance(part, ThinkingPart))
    assert thoughts == 'Let me look.\n[weather] {"city": "Bonn"}\n'
    assert text_of(parts) == "Sunny."


async def test_dify_counts_tokens(upstream: FakeUpstream) -> None:
    usage = {"prompt_tokens": 1033, "completion_tokens": 128}
    upstream.script("dify", Step(text="Hi.", usage=usage))
    assert (await parts_of(spec(upstream, "dify")))[-1] == ChatEnd("stop", Usage(1033, 128))


@pytest.mark.parametrize(
    ("error", "is_permanent", "message"),
    [
        ({"status": 400, "code": "invalid_param", "message": "no city"}, True, "no city"),
        ({"status": 400, "code": "provider_quota_exceeded", "message": ""}, True, "no credit"),
        ({"status": 429, "code": "rate_limit_error", "message": ""}, False, "limits"),
        ({"status": 500, "code": "internal_server_error", "message": "x"}, False, "status 500"),
        ({"message": "?"}, False, "status 500"),
    ],
)
async def test_dify_fails_in_the_middle(
    upstream: FakeUpstream, error: dict[str, Any], is_permanent: bool, message: str
) -> None:
    upstream.script("dify", Step(text="So far.", error=error))
    failure = await failure_of(spec(upstream, "dify"))
    assert failure.is_permanent is is_permanent
    assert message in failure.message


async def test_dify_gets_images_before_the_message(upstream: FakeUpstream) -> None:
    await parts_of(spec(upstream, "dify"), dataclasses.replace(ASKED, images=(IMAGE,)))
    (uploaded,) = upstream.stats.last("dify_upload")
    assert uploaded["body"] == {"user": "caller-1", "file_bytes": len(IMAGE.data)}
    (file,) = upstream.stats.last("dify")[0]["body"]["files"]
    assert (file["type"], file["transfer_method"]) == ("image", "local_file")
    assert uuid.UUID(file["upload_file_id"])


async def test_dify_shows_the_image_that_a_tool_made(upstream: FakeUpstream) -> None:
    events = [
        {"event": "message_file", "type": "image", "belongs_to": "assistant", "url": url}
        for url in ("https://dify.example/cat.png", "javascript:alert(1)")
    ]
    events += [{"event": "tts_message", "audio": "x" * 200_000}, {"event": "message_end"}]
    raw = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    upstream.script("dify", Step(raw=raw, content_type="text/event-stream"))
    assert text_of(await parts_of(spec(upstream, "dify"))).strip() == (
        "![](https://dify.example/cat.png)"
    )


# --- FastGPT -------------------------------------------------------------------------------------


async def test_fastgpt_sees_images(upstream: FakeUpstream) -> None:
    await parts_of(spec(upstream, "fastgpt"), dataclasses.replace(ASKED, images=(IMAGE,)))
    text, image = upstream.stats.last("fastgpt")[0]["body"]["messages"][0]["content"]
    assert text == {"type": "text", "text": "Hello"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


async def test_fastgpt_tells_what_it_thinks_and_estimates_tokens(upstream: FakeUpstream) -> None:
    upstream.script("fastgpt", Step(thinking="Hm.", text="Sunny.", finish_reason="length"))
    parts = await parts_of(spec(upstream, "fastgpt"))
    assert ThinkingPart("Hm.") in parts
    end = parts[-1]
    assert isinstance(end, ChatEnd)
    assert end.reason == "length"
    assert end.usage.input_tokens > 0 < end.usage.output_tokens


@pytest.mark.parametrize(
    ("error", "is_permanent", "message"),
    [
        ({"code": 514, "statusText": "unAuthApiKey", "message": "x"}, True, "API key"),
        ({"code": 510, "statusText": "insufficientQuota", "message": "x"}, True, "no credit"),
        ({"code": 404, "statusText": "", "message": "gone"}, True, "gone"),
        ({"message": f"the model broke at {SECRET}"}, False, "status 500). (the model broke at"),
        ({"code": 500, "message": ""}, False, "status 500)."),
    ],
)
async def test_fastgpt_fails_in_the_middle_or_with_status_200(
    upstream: FakeUpstream, error: dict[str, Any], is_permanent: bool, message: str
) -> None:
    raw = Step(raw=json.dumps(error), content_type="application/json")
    for step in (Step(text="So far.", error=error), raw):
        upstream.script("fastgpt", step)
        failure = await failure_of(spec(upstream, "fastgpt"))
        assert failure.is_permanent is is_permanent
        assert message in failure.message


async def test_fastgpt_may_say_that_nothing_is_wrong(upstream: FakeUpstream) -> None:
    chunk = {"error": None, "choices": [{"delta": {"content": "Sunny."}, "finish_reason": "stop"}]}
    raw = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    upstream.script("fastgpt", Step(raw=raw, content_type="text/event-stream"))
    assert text_of(await parts_of(spec(upstream, "fastgpt"))) == "Sunny."
