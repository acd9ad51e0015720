"""Events as streams and whole answers that every client of the dialect reads.

What the vendor's own library makes of a stream is the judge; what it would not notice is looked
at in the stream's own words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import sse
from gateway.dialects.messages.decode import StreamDecoder, decode_answer
from gateway.dialects.messages.encode import (
    StreamEncoder,
    encode_answer,
    error_body,
    error_event,
)
from gateway.dialects.messages.relay import StreamRelay
from gateway.neutral import (
    Answer,
    Block,
    CallArguments,
    CallStarted,
    Event,
    Failed,
    Finished,
    HiddenThought,
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
from tests.bounded import in_time
from tests.gateway.dialects.messages import streams

USAGE = Usage(100, 20, cache_read_tokens=60, cache_write_tokens=10)
END = Finished("end", USAGE)
CALLED = Finished("tool_calls", USAGE)


def encoder() -> StreamEncoder:
    return StreamEncoder(
        request_id="msg-1", model="mine", include_usage=True, input_tokens=9, created=0
    )


def encoded(events: Iterable[Event]) -> bytes:
    writing = encoder()
    return b"".join([writing.encode(event) for event in events])


def told(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, which has nothing else in it."""
    splitter = sse.EventSplitter()
    raw_events = splitter.push(stream)
    assert splitter.rest() == b""
    events = [json.loads(sse.data_of(raw)) for raw in raw_events]
    for raw, event in zip(raw_events, events, strict=True):
        assert raw.startswith(b"event: %b\ndata: " % event["type"].encode())
    return events


def read_by_sdk(stream: bytes) -> Message:
    """What the vendor's own library collects from the stream."""
    headers = {"content-type": "text/event-stream"}

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, content=stream)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(
            api_key="x", base_url="http://gateway.test", http_client=http, max_retries=0
        ) as client,
        client.messages.stream(
            model="mine", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        ) as reading,
    ):
        return reading.get_final_message()


def check_grammar(events: list[dict[str, Any]]) -> None:
    """The order of a stream, as the vendor has it. It may end with an error at any point."""
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    if not kinds or kinds == ["error"]:
        return
    assert kinds[0] == "message_start"
    assert kinds.count("message_start") == 1
    has_failed = kinds[-1] == "error"
    body = [e for e in events if e["type"].startswith("content_block")]
    open_block: dict[str, Any] | None = None
    index = -1
    for event in body:
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                open_block = event["content_block"]
                index += 1
            case "content_block_delta":
                assert open_block
                assert event["delta"]["type"] in _DELTAS[open_block["type"]]
            case "content_block_stop":
                assert open_block
                open_block = None
        assert event["index"] == index
    if has_failed:
        assert not {"message_delta", "message_stop"} & set(kinds)
        return
    assert open_block is None
    assert index >= 0
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("message_delta") == 1
    ending = next(event for event in events if event["type"] == "message_delta")
    assert ending["delta"]["stop_reason"]
    assert {"input_tokens", "output_tokens"} <= set(ending["usage"])


_DELTAS = {
    "text": {"text_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "redacted_thinking": set[str](),
    "tool_use": {"input_json_delta"},
}


# --- Streams --------------------------------------------------------------------------------------


def test_it_writes_text_as_the_vendor_does() -> None:
    stream = encoded([Started(Usage(25)), TextDelta("Hé"), TextDelta("llo"), END])
    assert told(stream) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg-1",
                "type": "message",
                "role": "assistant",
                "model": "mine",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 25,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 1,
                },
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hé"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "llo"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 30,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 60,
                "output_tokens": 20,
            },
        },
        {"type": "message_stop"},
    ]


def test_its_client_sees_all_of_it() -> None:
    message = read_by_sdk(
        encoded(
            [
                Started(None),
                ThinkingDelta("Hm"),
                ThinkingDelta("."),
                ThoughtSigned("sig"),
                ThoughtHidden("xyz"),
                TextDelta("Let me look."),
                CallStarted(0, "c1", "f"),
                CallArguments(0, '{"a":'),
                CallArguments(0, " 1}"),
                CallStarted(1, "c2", "g"),
                CALLED,
            ]
        )
    )
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
    ]
    assert (message.id, message.model, message.stop_reason) == ("msg-1", "mine", "tool_use")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (30, 20)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (60, 10)


def test_every_event_is_sent_at_once_while_nothing_is_in_its_way() -> None:
    writing = encoder()
    for event in (Started(None), TextDelta("a"), CallStarted(0, "c", "f"), CallArguments(0, "{")):
        assert writing.encode(event)


def test_calls_told_side_by_side_lose_nothing() -> None:
    events: list[Event] = [
        CallStarted(0, "c0", "f"),
        CallStarted(1, "c1", "g"),
        CallArguments(1, '{"b":'),
        CallArguments(0, '{"a":'),
        TextDelta("between"),
        CallArguments(1, "2}"),
        CallStarted(2, "c2", "h"),
        CallArguments(0, "1}"),
        CallArguments(2, '{"c":3}'),
        CALLED,
    ]
    stream = encoded(events)
    check_grammar(told(stream))
    blocks = [block.to_dict() for block in read_by_sdk(stream).content]
    assert blocks == [
        {"type": "tool_use", "id": "c0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {"b": 2}},
        {"type": "text", "text": "between"},
        {"type": "tool_use", "id": "c2", "name": "h", "input": {"c": 3}},
    ]


def test_calls_without_end_take_time_by_their_number() -> None:
    """A hostile upstream begins ever more calls, while the first is still being told."""
    told = in_time(
        "from gateway.dialects.messages.encode import StreamEncoder\n"
        "from gateway.neutral import CallArguments, CallStarted, Finished\n"
        "encoder, size = StreamEncoder(request_id='msg-1', model='m'), 0\n"
        "for call in range(60_000):\n"
        "    size += len(encoder.encode(CallStarted(call, f'c{call}', 'look')))\n"
        "    size += len(encoder.encode(CallArguments(call, '{')))\n"
        "size += len(encoder.encode(Finished('tool_calls', None)))\n"
        "print(size > 60_000 * 100)\n"
    )
    assert told == "True\n"


def test_pieces_without_end_are_collected_in_time_by_their_number() -> None:
    told = in_time(
        "from gateway.neutral import CallArguments, CallStarted, Finished, collect\n"
        "def events():\n"
        "    yield CallStarted(0, 'c', 'look')\n"
        "    for _ in range(400_000):\n"
        "        yield CallArguments(0, 'x' * 100)\n"
        "    yield Finished('tool_calls', None)\n"
        "print(len(collect(events()).blocks[0].arguments))\n"
    )
    assert told == "40000000\n"


def test_a_call_that_is_complete_holds_nothing_up() -> None:
    writing = encoder()
    writing.encode(CallStarted(0, "c0", "f"))
    assert writing.encode(CallStarted(1, "c1", "g")) == b""
    assert b"c1" in writing.encode(CallArguments(0, '{"a": "}"}'))
    assert writing.encode(CallArguments(1, '{"a": {"b": [1]}}'))
    assert b"after" in writing.encode(TextDelta("after"))


def test_arguments_that_are_no_json_are_told_as_they_are_written() -> None:
    stream = encoded([CallStarted(0, "c", "f"), CallArguments(0, '{"a": nope'), CALLED])
    pieces = [e["delta"]["partial_json"] for e in told(stream) if "delta" in e and "index" in e]
    assert pieces == ['{"a": nope']


@pytest.mark.parametrize("events", [[END], [Started(None), END], [TextDelta(""), END]])
def test_an_empty_answer_has_one_block(events: list[Event]) -> None:
    stream = encoded(events)
    check_grammar(told(stream))
    assert [block.to_dict() for block in read_by_sdk(stream).content] == [
        {"type": "text", "text": ""}
    ]


def test_there_is_no_empty_block_beside_others() -> None:
    calls = encoded([TextDelta(""), CallStarted(0, "c", "f"), TextDelta(""), CALLED])
    kinds = [e["content_block"]["type"] for e in told(calls) if e["type"] == "content_block_start"]
    assert kinds == ["tool_use"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([END], "end_turn"),
        ([CALLED], "end_turn"),
        ([CallStarted(0, "c", "f"), END], "tool_use"),
        ([CallStarted(0, "c", "f"), Finished("length", None)], "max_tokens"),
        ([Finished("stop_sequence", None, "X")], "stop_sequence"),
        ([RefusalDelta("No."), END], "refusal"),
        ([Finished("refusal", None)], "refusal"),
        ([Finished("paused", None)], "pause_turn"),
        ([Finished("context_window", None)], "model_context_window_exceeded"),
    ],
)
def test_it_says_why_an_answer_ended(events: list[Event], reason: str) -> None:
    ending = told(encoded(events))[-2]
    assert ending["delta"]["stop_reason"] == reason
    last = events[-1]
    assert isinstance(last, Finished)
    assert ending["delta"]["stop_sequence"] == last.stop_sequence
    answer = collect(events)
    body = json.loads(encode_answer(answer, request_id="m", model="mine", created=0))
    assert body["stop_reason"] == reason


def test_usage_is_guessed_where_nobody_tells_it() -> None:
    message = read_by_sdk(encoded([Started(None), TextDelta("x" * 10), Finished("end", None)]))
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 3)


def test_usage_told_at_the_start_is_kept() -> None:
    started = Started(Usage(70, 0, cache_read_tokens=60))
    usage = read_by_sdk(encoded([started, TextDelta("four"), Finished("end", None)])).usage
    told_ = (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens)
    assert told_ == (10, 60, 1)


def test_an_error_in_the_middle_is_seen() -> None:
    stream = encoded(
        [Started(None), TextDelta("Well"), Failed("overloaded_error", "Too much"), END]
    )
    check_grammar(told(stream))
    with pytest.raises(anthropic.APIStatusError, match="Too much"):
        read_by_sdk(stream)


def test_pings_are_passed_over_and_end_with_the_stream() -> None:
    writing = encoder()
    stream = writing.ping() + writing.encode(TextDelta("a")) + writing.ping() + writing.encode(END)
    assert read_by_sdk(stream).content[0].to_dict() == {"type": "text", "text": "a"}
    assert stream.count(b"event: ping\n") == 2
    assert writing.ping() == b""


def test_a_call_without_an_id_gets_one() -> None:
    stream = encoded([CallStarted(0, "", "f"), CallStarted(1, "", "f"), CALLED])
    ids = [e["content_block"]["id"] for e in told(stream) if e["type"] == "content_block_start"]
    assert len(set(ids)) == 2
    assert all(ids)


# --- Whole answers and errors ---------------------------------------------------------------------


def test_it_writes_a_whole_answer() -> None:
    blocks = (
        Thought("Hm.", "sig"),
        HiddenThought("xyz"),
        Text(""),
        Text("Hé"),
        Refusal("No."),
        ToolUse("c1", "f", '{"a": 1}'),
        ToolUse("c2", "g", ""),
        ToolUse("c3", "h", '{"a": nope'),
    )
    answer = Answer(blocks, "tool_calls", USAGE)
    body = encode_answer(answer, request_id="msg-1", model="mine", created=5)
    Message.model_validate_json(body, strict=True)
    assert json.loads(body) == {
        "id": "msg-1",
        "type": "message",
        "role": "assistant",
        "model": "mine",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "Hé"},
            {"type": "text", "text": "No."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            {"type": "tool_use", "id": "c3", "name": "h", "input": {"_raw": '{"a": nope'}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 30,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 60,
            "output_tokens": 20,
        },
    }


def test_a_whole_answer_has_a_block_and_usage_whatever_comes() -> None:
    answer = Answer((), "end", None)
    body = encode_answer(answer, request_id="msg-1", model="mine", created=5)
    message = Message.model_validate_json(body, strict=True)
    assert message.content[0].to_dict() == {"type": "text", "text": ""}
    assert message.usage.output_tokens == 0


def test_errors_are_read_by_clients_of_both_dialects() -> None:
    body = error_body("api_error", "No.", param="model", code="x", request_id="req_1")
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": "api_error", "message": "No.", "param": "model", "code": "x"},
        "request_id": "req_1",
    }
    event = error_event("api_error", "No.", param="model", code="x", request_id="req_1")
    assert event == b"event: error\ndata: %b\n\n" % body


# --- Any events -----------------------------------------------------------------------------------

_texts = st.text(max_size=5) | st.sampled_from(["{", "}", '{"a":1}', '"', "\\", "data: x\n\n"])
_numbers = st.integers(min_value=0, max_value=3)
_counts = st.integers(min_value=0, max_value=1000)
_usages = st.builds(
    lambda fresh, output, read, written: Usage(fresh + read + written, output, read, written),
    _counts, _counts, _counts, _counts,
)  # fmt: skip
_reasons: st.SearchStrategy[Reason] = st.sampled_from(
    ["end", "length", "stop_sequence", "tool_calls", "refusal", "paused", "context_window"]
)
_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, st.none() | _usages),
    st.builds(TextDelta, _texts),
    st.builds(ThinkingDelta, _texts),
    st.builds(ThoughtSigned, _texts),
    st.builds(ThoughtHidden, _texts),
    st.builds(RefusalDelta, _texts),
    st.builds(CallStarted, _numbers, _texts, _texts),
    st.builds(CallArguments, _numbers, _texts),
)
_ends: st.SearchStrategy[Event] = st.one_of(
    st.builds(Finished, _reasons, st.none() | _usages, st.none() | _texts),
    st.builds(Failed, st.just("api_error"), _texts),
)


@settings(deadline=None)
@given(st.lists(_events, max_size=25), _ends, st.lists(_events | _ends, max_size=3))
def test_any_events_make_a_stream_of_the_dialect(
    events: list[Event], end: Event, late: list[Event]
) -> None:
    stream = encoded([*events, end, *late])
    check_grammar(told(stream))
    assert encoded([*events, end]) == stream


_json_objects = st.dictionaries(_texts, st.integers() | _texts | st.lists(st.integers()))
_calls = st.builds(
    ToolUse, st.uuids().map(str), _texts, _json_objects.map(lambda o: json.dumps(o, indent=1))
)
_filled = st.text(min_size=1, max_size=8)
_blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, _filled),
    st.builds(Thought, _filled, _filled),
    st.builds(HiddenThought, _filled),
    _calls,
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Answers as `collect` makes them: neighbouring texts are one."""
    blocks: list[Block] = []
    for block in draw(st.lists(_blocks, max_size=6)):
        if not (blocks and isinstance(block, Text) and isinstance(blocks[-1], Text)):
            blocks.append(block)
    has_calls = any(isinstance(block, ToolUse) for block in blocks)
    reason = draw(_reasons.filter(lambda each: each != ("end" if has_calls else "tool_calls")))
    return Answer(tuple(blocks), reason, draw(_usages), draw(st.none() | _texts))


def as_events(answer: Answer, cut: int) -> list[Event]:
    events: list[Event] = [Started(answer.usage)]
    calls = 0
    for block in answer.blocks:
        match block:
            case Text(text):
                events += [TextDelta(text[:cut]), TextDelta(text[cut:])]
            case Thought(text, signature):
                events += [ThinkingDelta(text), ThoughtSigned(signature)]
            case HiddenThought(data):
                events.append(ThoughtHidden(data))
            case ToolUse(id_, name, arguments):
                events.append(CallStarted(calls, id_, name))
                events.append(CallArguments(calls, arguments[:cut]))
                events.append(CallArguments(calls, arguments[cut:]))
                calls += 1
    return [*events, Finished(answer.reason, answer.usage, answer.stop_sequence)]


@settings(deadline=None)
@given(answers(), st.integers(min_value=0, max_value=5))
def test_a_stream_that_was_written_is_read_as_it_was(answer: Answer, cut: int) -> None:
    stream = encoded(as_events(answer, cut))
    for size in (0, 1, 7):
        decoder = StreamDecoder()
        events = [e for piece in streams.pieces(stream, size) for e in decoder.push(piece)]
        assert collect([*events, *decoder.close()]) == answer


@settings(deadline=None)
@given(answers())
def test_an_answer_that_was_written_is_read_as_it_was(answer: Answer) -> None:
    body = encode_answer(answer, request_id="msg-1", model="mine", created=0)
    assert collect(decode_answer(body)) == answer


@settings(deadline=None)
@given(answers(), st.integers(min_value=0, max_value=5))
def test_a_stream_that_was_written_is_passed_on_as_it_is(answer: Answer, cut: int) -> None:
    stream = encoded(as_events(answer, cut))
    relay = StreamRelay(public_model="mine")
    out = b"".join([relay.push(piece) for piece in streams.pieces(stream, 7)]) + relay.close()
    assert out == stream
    assert relay.usage == answer.usage
    assert relay.is_complete


@settings(deadline=None, max_examples=25)
@given(answers())
def test_the_vendors_library_reads_every_stream(answer: Answer) -> None:
    message = read_by_sdk(encoded(as_events(answer, 2)))
    expected = json.loads(encode_answer(answer, request_id="msg-1", model="mine", created=0))
    assert [block.to_dict() for block in message.content] == expected["content"]
    assert message.stop_reason == expected["stop_reason"]
    assert message.usage.input_tokens == expected["usage"]["input_tokens"]


@pytest.mark.parametrize("name", streams.WHOLE)
def test_the_vendors_library_reads_what_was_read_and_written(name: str) -> None:
    decoder = StreamDecoder()
    events = [*decoder.push(streams.WHOLE[name].encode()), *decoder.close()]
    stream = encoded(events)
    check_grammar(told(stream))
    answer = collect(events)
    expected = json.loads(encode_answer(answer, request_id="msg-1", model="mine", created=0))
    assert [block.to_dict() for block in read_by_sdk(stream).content] == expected["content"]
