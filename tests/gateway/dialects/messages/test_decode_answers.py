"""An upstream's answers, as events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dialects.messages.decode import StreamDecoder, decode_answer, decode_error
from gateway.neutral import (
    CallArguments,
    CallStarted,
    Event,
    Failed,
    Finished,
    HiddenThought,
    Refusal,
    Started,
    Text,
    TextDelta,
    Thought,
    ToolUse,
    Usage,
    collect,
)
from tests.gateway.dialects.messages import streams


def decoded(stream: str | bytes, size: int = 0) -> list[Event]:
    decoder = StreamDecoder()
    events = [event for piece in streams.pieces(stream, size) for event in decoder.push(piece)]
    return [*events, *decoder.close()]


@pytest.mark.parametrize("name", streams.ALL)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_it_reads_the_same_in_any_pieces(name: str, end: str) -> None:
    stream = streams.ALL[name].replace("\n", end)
    whole = decoded(stream)
    assert decoded(stream, 1) == decoded(stream, 7) == whole
    assert isinstance(whole[-1], Finished | Failed)


def test_it_reads_text() -> None:
    assert decoded(streams.TEXT) == [
        Started(Usage(25, 1)),
        TextDelta("今天"),
        TextDelta(" is\nfine 🌞"),
        Finished("end", Usage(25, 15)),
    ]


def test_it_reads_a_call_with_all_its_arguments() -> None:
    answer = collect(decoded(streams.TOOL_USE))
    call = ToolUse("toolu_01A", "get_weather", '{"city": "Berlin"}')
    assert answer.blocks == (Text("Let me look."), call)
    assert (answer.reason, answer.usage) == ("tool_calls", Usage(472, 89))


def test_it_numbers_parallel_calls_and_gives_each_arguments() -> None:
    assert [e for e in decoded(streams.PARALLEL) if isinstance(e, CallStarted | CallArguments)] == [
        CallStarted(0, "toolu_01A", "get_weather"),
        CallArguments(0, '{"city": "Berlin"}'),
        CallStarted(1, "toolu_01B", "get_time"),
        CallArguments(1, "{}"),
        CallStarted(2, "toolu_01C", "get_weather"),
        CallArguments(2, '{"city": "Xi\\u0027an"}'),
    ]


def test_it_reads_thoughts_signatures_and_cached_tokens() -> None:
    answer = collect(decoded(streams.THINKING))
    assert answer.blocks == (
        Thought("Let me think.", "EqQBCgIYAhIM"),
        HiddenThought("EmwKAhgBEgy3"),
        Text("42"),
    )
    assert answer.usage == Usage(125, 30, cache_read_tokens=100, cache_write_tokens=20)


def test_it_reads_why_a_model_declined() -> None:
    answer = collect(decoded(streams.REFUSAL))
    assert (answer.blocks, answer.reason) == ((Refusal("I will not."),), "refusal")


def test_it_reads_what_imitators_leave_out() -> None:
    assert decoded(streams.SLOPPY) == [
        Started(None),
        TextDelta("Hi"),
        CallStarted(0, "t1", "f"),
        CallArguments(0, '{"a":1}'),
        Finished("tool_calls", None),
    ]


def test_it_passes_over_tools_of_the_vendor() -> None:
    assert collect(decoded(streams.SERVER_TOOL)).blocks == (Text("Found."),)


def test_a_call_given_whole_and_in_pieces_is_told_once() -> None:
    stream = (
        streams.start()
        + streams.block(0, "tool_use", id="t", name="f", input={"a": 1})
        + streams.delta(0, "input_json_delta", partial_json='{"a":1}')
        + streams.stop(0)
        + streams.end("tool_use")
    )
    assert collect(decoded(stream)).blocks == (ToolUse("t", "f", '{"a":1}'),)


def test_text_at_the_start_of_a_block_is_not_lost() -> None:
    stream = (
        streams.start()
        + streams.block(0, "text", text="Once")
        + streams.delta(0, "text_delta", text=" upon")
        + streams.stop(0)
        + streams.end("end_turn")
    )
    assert collect(decoded(stream)).blocks == (Text("Once upon"),)


def test_a_thought_in_a_block_of_text_stays_a_thought() -> None:
    stream = (
        streams.start()
        + streams.block(0, "text", text="")
        + streams.delta(0, "thinking_delta", thinking="Hm.")
        + streams.delta(0, "text_delta", text="Yes.")
        + streams.stop(0)
        + streams.end("end_turn")
    )
    assert collect(decoded(stream)).blocks == (Thought("Hm."), Text("Yes."))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "refusal"),
        ("pause_turn", "paused"),
        ("model_context_window_exceeded", "context_window"),
        ("tool_use", "end"),  # without a call
        ("brand_new", "end"),
    ],
)
def test_it_knows_why_an_answer_ended(word: str, reason: str) -> None:
    last = decoded(streams.start() + streams.end(word, sequence="END"))[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.stop_sequence) == (reason, "END")


def test_input_tokens_may_come_at_the_end() -> None:
    stream = streams.start(input_tokens=0, output_tokens=0) + streams.end(
        "end_turn", input_tokens=7, cache_read_input_tokens=3, output_tokens=2
    )
    assert collect(decoded(stream)).usage == Usage(10, 2, cache_read_tokens=3)


@pytest.mark.parametrize("name", streams.WHOLE)
def test_a_stream_that_is_cut_fails(name: str) -> None:
    stream = streams.WHOLE[name].split("event: message_stop")[0].split('data: {"type":"message_s')
    cut = stream[0] or streams.start()
    last = decoded(cut)[-1]
    assert isinstance(last, Failed)
    assert (last.type, last.status) == ("upstream_error", 502)


def test_an_end_without_its_last_line_is_an_end() -> None:
    assert isinstance(decoded(streams.TEXT.rstrip("\n"))[-1], Finished)


def test_an_error_in_the_middle_is_a_failure_and_the_last_word() -> None:
    events = decoded(streams.FAILING + streams.end("end_turn"))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.type, failed.status) == ("overloaded_error", 503)
    assert events[1:-1] == [TextDelta("Well")]


@pytest.mark.parametrize(
    "data", ["{", "5", '{"type":"content_block_delta","delta":"x"}', '{"delta":{"text":5}}']
)
def test_garbage_is_a_failure(data: str) -> None:
    good = streams.start() + 'data: {"type":"new","delta":"x"}\n\n' + streams.end("end_turn")
    assert isinstance(decoded(good)[-1], Finished)
    bad = streams.start() + f"data: {data}\n\n" + streams.end("end_turn")
    assert isinstance(decoded(bad)[-1], Failed)


def test_an_endless_event_is_a_failure() -> None:
    decoder = StreamDecoder()
    decoder.push(streams.start().encode())
    events = [e for _ in range(10) for e in decoder.push(b"data: " + b"x" * 2**20)]
    assert [type(event) for event in events] == [Failed]
    assert decoder.close() == []


# --- Whole answers --------------------------------------------------------------------------------

ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "upstream-model-1",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, "ä"]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 5,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 1,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
    },
}


def test_it_reads_a_whole_answer() -> None:
    answer = collect(decode_answer(json.dumps(ANSWER, ensure_ascii=False).encode()))
    assert answer.blocks == (
        Thought("Hm.", "sig"),
        HiddenThought("xyz"),
        Text("Yes."),
        ToolUse("t1", "f", '{"a": [1, "ä"]}'),
        ToolUse("t2", "g", "{}"),
    )
    assert answer.usage == Usage(16, 7, 10, 1, 4)
    assert answer.reason == "tool_calls"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"content":5}', b"\xff"])
def test_a_whole_answer_that_is_none_fails(body: bytes) -> None:
    (failed,) = decode_answer(body)
    assert isinstance(failed, Failed)
    assert failed.status == 502


def test_an_error_for_an_answer_fails_as_it_says() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    (failed,) = decode_answer(body)
    assert isinstance(failed, Failed)
    assert failed.status == 429


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "shown", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (401, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (404, 502, "upstream_error"),
        (413, 413, "request_too_large"),
        (422, 400, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (500, 502, "upstream_error"),
        (503, 503, "overloaded_error"),
        (529, 503, "overloaded_error"),
    ],
)
def test_it_tells_errors_as_the_client_is_to_see_them(status: int, shown: int, kind: str) -> None:
    body = b'{"type":"error","error":{"type":"whatever","message":"prompt is too long"}}'
    failed = decode_error(status, body)
    assert (failed.status, failed.type) == (shown, kind)
    assert failed.message


def test_it_tells_what_is_wrong_with_the_content() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt too long"}}'
    assert decode_error(400, body).message == "prompt too long"


@pytest.mark.parametrize("status", [400, 401, 500])
def test_it_shows_no_key(status: int) -> None:
    body = b'{"error":{"message":"bad key sk-ant-api03-abcdefghij, Bearer abcdefgh123"}}'
    failed = decode_error(status, body)
    assert "abcdefgh" not in failed.message


def test_our_bill_is_no_fault_of_the_client() -> None:
    body = b'{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}'
    failed = decode_error(400, body)
    assert (failed.status, "credit" in failed.message) == (502, False)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":"no"}', b"\xff"])
def test_it_understands_errors_that_say_nothing(body: bytes) -> None:
    failed = decode_error(500, body)
    assert failed.status == 502
    assert failed.message
