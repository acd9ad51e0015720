"""What clients are told: the grammar of chunks, which the official client reads."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from gateway.dialects.chat_completions.decode import StreamDecoder, decode_answer
from gateway.dialects.chat_completions.encode import (
    StreamEncoder,
    encode_answer,
    error_body,
    error_event,
)
from gateway.dialects.sse import EventSplitter, data_of
from gateway.neutral import (
    CallArguments,
    CallStarted,
    Event,
    Failed,
    Finished,
    Reason,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ThinkingDelta,
    Thought,
    ThoughtHidden,
    ThoughtSigned,
    ToolUse,
    Usage,
    collect,
)
from tests.gateway.dialects import strategies

Json = dict[str, Any]
TOOLS: list[Event] = [
    Started(),
    ThinkingDelta("Hm"),
    ThoughtSigned("s"),
    TextDelta("Let me "),
    TextDelta("look."),
    CallStarted(0, "call_a", "look"),
    CallStarted(1, "call_b", "time"),
    CallArguments(0, '{"city":'),
    CallStarted(2, "call_c", "now"),
    CallArguments(1, '{"zone":"CET"}'),
    CallArguments(0, '"Rome"}'),
    Finished("tool_calls", Usage(12, 5, cache_read_tokens=4, reasoning_tokens=2)),
]


def encoded(events: list[Event], *, include_usage: bool = False) -> bytes:
    encoder = StreamEncoder(
        request_id="cmpl-1", model="public", include_usage=include_usage, input_tokens=7, created=9
    )
    return b"".join(encoder.encode(event) for event in events)


def chunks(stream: bytes) -> list[Any]:
    """The payloads; each event is one line of data and a blank line. The last may be [DONE]."""
    splitter = EventSplitter()
    events = splitter.push(stream)
    assert splitter.rest() == b""
    assert all(event.startswith(b"data: ") and event.count(b"\n") == 2 for event in events)
    datas = [data_of(event) for event in events]
    return [data if data == b"[DONE]" else json.loads(data) for data in datas]


def client(body: bytes, content_type: str = "text/event-stream") -> openai.OpenAI:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": content_type})

    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", http_client=http_client, max_retries=0
    )


def read(body: bytes) -> list[ChatCompletionChunk]:
    """The chunks as the official client reads them."""
    with client(body) as official:
        stream = official.chat.completions.create(
            model="public", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        return list(stream)


def accumulated(body: bytes) -> Any:
    """The answer as the official client puts it together."""
    with (
        client(body) as official,
        official.chat.completions.stream(
            model="public", messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_completion()


def check_grammar(events: list[Event], *, include_usage: bool) -> None:
    told = chunks(encoded(events, include_usage=include_usage))
    ended = next((each for each in events if isinstance(each, Finished | Failed)), None)
    if isinstance(ended, Failed):
        assert set(told.pop()) == {"type", "error"}
    if isinstance(ended, Finished):
        assert told.pop() == b"[DONE]"
        if include_usage:
            usage = told.pop()
            assert usage["choices"] == []
            assert usage["usage"]["total_tokens"] >= usage["usage"]["prompt_tokens"]
        last = told[-1]["choices"][0]
        assert last["delta"] == {}
        assert last["finish_reason"] in ("stop", "length", "tool_calls", "content_filter")
    heads = {tuple(each[name] for name in ("id", "object", "created", "model")) for each in told}
    assert heads <= {("cmpl-1", "chat.completion.chunk", 9, "public")}
    assert all(("usage" in each) == include_usage and not each.get("usage") for each in told)
    deltas = [each["choices"][0]["delta"] for each in told]
    assert all("role" not in delta for delta in deltas[1:])
    assert not deltas or deltas[0]["role"] == "assistant"
    reasons = [each["choices"][0]["finish_reason"] for each in told]
    assert not any(reasons[:-1])
    _check_calls([call for delta in deltas for call in delta.get("tool_calls", ())])


def _check_calls(calls: list[Json]) -> None:
    begun = 0
    for call in calls:
        if "id" in call:
            assert call["index"] == begun
            assert call["id"]
            assert call["function"] == {"name": call["function"]["name"], "arguments": ""}
            begun += 1
        else:
            assert call["index"] < begun
            assert call["function"]["arguments"]


@settings(deadline=None)
@given(strategies.events(), st.booleans())
def test_the_grammar_holds_whatever_the_events(events: list[Event], include_usage: bool) -> None:
    check_grammar(events, include_usage=include_usage)


@settings(deadline=None)
@given(strategies.events())
def test_the_official_client_reads_whatever_is_told(events: list[Event]) -> None:
    stream = encoded([event for event in events if not isinstance(event, Failed)])
    assert len(read(stream)) == len([each for each in chunks(stream) if each != b"[DONE]"])


@settings(deadline=None)
@given(strategies.answers())
def test_what_is_told_is_what_is_read_again(events: list[Event]) -> None:
    stream = encoded(events, include_usage=True)
    decoder = StreamDecoder()
    again = collect([*decoder.push(stream), *decoder.close()])
    told = collect(events)
    blocks = tuple(
        ToolUse(block.id, block.name, block.arguments or "{}")
        if isinstance(block, ToolUse)
        else block
        for block in told.blocks
    )
    assert again.blocks == blocks
    assert (again.reason, again.usage) == (told.reason, told.usage)
    body = encode_answer(told, request_id="cmpl-1", model="public", created=9)
    assert collect(decode_answer(body)).blocks == blocks


def test_the_official_client_puts_calls_together_that_were_told_side_by_side() -> None:
    completion = accumulated(encoded(TOOLS, include_usage=True))
    choice = completion.choices[0]
    assert choice.message.content == "Let me look."
    assert choice.message.reasoning_content == "Hm"
    assert [
        (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls
    ] == [
        ("call_a", "look", '{"city":"Rome"}'),
        ("call_b", "time", '{"zone":"CET"}'),
        ("call_c", "now", "{}"),
    ]
    assert choice.finish_reason == "tool_calls"
    assert completion.usage.total_tokens == 17
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert (completion.id, completion.created, completion.model) == ("cmpl-1", 9, "public")


@settings(deadline=None)
@given(strategies.answers())
def test_the_official_client_puts_any_answer_together(events: list[Event]) -> None:
    told = collect(events)
    assume(told.reason != "length")  # of which it makes an error
    message = accumulated(encoded(events, include_usage=True)).choices[0].message
    calls = [block for block in told.blocks if isinstance(block, ToolUse)]
    assert [call.function.arguments for call in message.tool_calls or ()] == [
        call.arguments or "{}" for call in calls
    ]


def test_usage_is_told_only_to_those_who_want_it() -> None:
    assert all("usage" not in each for each in chunks(encoded(TOOLS))[:-1])
    *earlier, usage, _done = chunks(encoded(TOOLS, include_usage=True))
    assert all(each["usage"] is None for each in earlier)
    assert usage["usage"]["prompt_tokens"] == 12


def test_without_a_count_what_was_read_is_guessed() -> None:
    stream = encoded([TextDelta("Hi"), Finished("end", None)], include_usage=True)
    assert chunks(stream)[-2]["usage"]["prompt_tokens"] == 7


@pytest.mark.parametrize(
    ("reason", "said"),
    [("end", "stop"), ("stop_sequence", "stop"), ("paused", "stop"), ("length", "length"),
     ("context_window", "length"), ("refusal", "content_filter"), ("tool_calls", "stop")],
)  # fmt: skip
def test_each_reason_has_its_word(reason: Reason, said: str) -> None:
    told = chunks(encoded([TextDelta("Hi"), Finished(reason, None)]))
    assert told[-2]["choices"][0]["finish_reason"] == said


def test_calls_end_in_tool_calls_whatever_the_model_said() -> None:
    told = chunks(encoded([CallStarted(0, "a", "look"), Finished("end", None)]))
    assert told[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_hidden_thoughts_are_told_to_nobody() -> None:
    stream = encoded([ThoughtHidden("cipher"), ThoughtSigned("sign"), Finished("end", None)])
    assert b"cipher" not in stream
    assert b"sign" not in stream


def test_a_refusal_is_told_as_one() -> None:
    events: list[Event] = [RefusalDelta("I would "), RefusalDelta("not"), Finished("refusal", None)]
    deltas = [chunk.choices[0].delta for chunk in read(encoded(events))]
    assert "".join(delta.refusal or "" for delta in deltas) == "I would not"


def test_a_failure_is_the_last_word_and_raised_by_the_official_client() -> None:
    stream = encoded([TextDelta("Hi"), Failed("overloaded_error", "Too much"), TextDelta("no")])
    assert b"[DONE]" not in stream
    assert b"no" not in stream.split(b"Too much")[1]
    with pytest.raises(openai.APIError, match="Too much"):
        read(stream)


def test_pings_are_passed_over() -> None:
    encoder = StreamEncoder(
        request_id="cmpl-1", model="m", include_usage=False, input_tokens=0, created=1
    )
    stream = encoder.ping() + encoder.encode(TextDelta("Hi")) + encoder.ping()
    stream += encoder.encode(Finished("end", None))
    assert accumulated(stream).choices[0].message.content == "Hi"
    assert encoder.ping() == b""


def test_halves_of_characters_become_question_marks() -> None:
    assert accumulated(encoded([TextDelta("a\ud83d"), Finished("end", None)])).choices[0].message


class TestWholeAnswers:
    def body(self, *blocks: Any, reason: Reason = "end", usage: Usage | None = None) -> Json:
        told = collect([Finished(reason, usage)])
        whole = type(told)(tuple(blocks), reason, usage)
        body = encode_answer(whole, request_id="cmpl-1", model="public", created=9)
        with client(body, "application/json") as official:
            official.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hi"}]
            )
        read: Json = json.loads(body)
        return read

    def test_text(self) -> None:
        body = self.body(Thought("Hm"), Text("Hi"), usage=Usage(3, 2))
        assert body == {
            "id": "cmpl-1",
            "object": "chat.completion",
            "created": 9,
            "model": "public",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "Hi",
                        "refusal": None,
                        "reasoning_content": "Hm",
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def test_content_is_null_beside_calls_alone(self) -> None:
        choice = self.body(ToolUse("a", "look", ""), reason="tool_calls")["choices"][0]
        assert choice["message"]["content"] is None
        assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
        assert choice["finish_reason"] == "tool_calls"

    def test_an_empty_answer_has_empty_content(self) -> None:
        assert self.body()["choices"][0]["message"]["content"] == ""

    def test_arguments_that_are_no_json_stay_as_they_are(self) -> None:
        choice = self.body(ToolUse("a", "look", '{"a'), reason="length")["choices"][0]
        assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a'

    def test_a_refusal(self) -> None:
        choice = self.body(Refusal("No."), reason="refusal")["choices"][0]
        assert choice["message"]["refusal"] == "No."
        assert choice["finish_reason"] == "content_filter"


def test_errors_have_the_fields_that_clients_of_both_dialects_read() -> None:
    body = error_body("not_found_error", "Gone", param="model", code="x", request_id="req_1")
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "Gone", "param": "model", "code": "x"},
        "request_id": "req_1",
    }
    assert error_event("api_error", "Oh").endswith(b"}\n\n")
