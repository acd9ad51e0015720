"""What vendors answer, in all the ways they do, and what it means."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat_completions.decode import StreamDecoder, decode_answer, decode_error
from gateway.neutral import (
    Answer,
    Event,
    Failed,
    Finished,
    Refusal,
    Started,
    Text,
    Thought,
    ToolUse,
    Usage,
    collect,
)
from tests.gateway.dialects.chat_completions import streams
from tests.gateway.dialects.chat_completions.streams import DONE, call, calls, chunk, event


def decoded(stream: bytes, size: int = 0) -> list[Event]:
    decoder = StreamDecoder()
    events = [event for piece in streams.pieces(stream, size) for event in decoder.push(piece)]
    return [*events, *decoder.close()]


def answer(stream: bytes) -> Answer:
    return collect(decoded(stream))


def failure(stream: bytes) -> Failed:
    last = decoded(stream)[-1]
    assert isinstance(last, Failed)
    return last


@pytest.mark.parametrize("name", streams.ALL)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 7])
def test_it_reads_the_same_in_any_pieces(name: str, end: bytes, size: int) -> None:
    stream = streams.ALL[name]
    assert decoded(stream.replace(b"\n", end), size) == decoded(stream)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(streams.TOOLS)), max_size=40))
def test_it_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    decoder = StreamDecoder()
    bounds = [0, *sorted(cuts), len(streams.TOOLS)]
    events = [
        event
        for start, end in itertools.pairwise(bounds)
        for event in decoder.push(streams.TOOLS[start:end])
    ]
    assert [*events, *decoder.close()] == decoded(streams.TOOLS)


def test_it_reads_text_and_usage() -> None:
    told = answer(streams.TEXT)
    assert told == Answer((Text("Good morning, “Ann” \\ 早"),), "end", Usage(12, 5))


def test_it_begins_once_and_ends_once() -> None:
    events = decoded(streams.TEXT + streams.TEXT)
    assert [type(each) for each in events].count(Started) == 1
    assert isinstance(events[-1], Finished)
    assert [type(each) for each in events].count(Finished) == 1


def test_it_reads_thoughts_under_both_names() -> None:
    assert answer(streams.THINKING).blocks == (Thought("Hm. So."), Text("42"))


def test_a_thought_told_under_both_names_is_one() -> None:
    stream = chunk({"reasoning": "Hm", "reasoning_content": "Hm"}) + chunk({}, "stop")
    assert answer(stream).blocks == (Thought("Hm"),)


def test_it_reads_content_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]
    stream = chunk({"content": parts}) + chunk({"content": [{"type": "text", "text": "42"}]})
    assert answer(stream + chunk({}, "stop")).blocks == (Thought("Hm"), Text("42"))


LOOK = ToolUse("call_a", "look", '{"city":"Rome"}')
TIME = ToolUse("call_b", "time", "{}")


@pytest.mark.parametrize(
    "told",
    [
        # As OpenAI does, and interleaved.
        calls(call(0, "call_a", "look", ""))
        + calls(call(1, "call_b", "time", ""))
        + calls(call(0, None, None, '{"city":"Rome"}'))
        + calls(call(1, None, None, "{}")),
        # Id and name repeated in each chunk.
        calls(call(0, "call_a", "look", '{"city":'))
        + calls(call(0, "call_a", "look", '"Rome"}'))
        + calls(call(1, "call_b", "time", "{}")),
        # Another id in each chunk of one call.
        calls(call(0, "call_a", "look", '{"city":'))
        + calls(call(0, "call_x", None, '"Rome"}'))
        + calls(call(1, "call_b", "time", "{}")),
        # Whole calls, all of them the first.
        calls(call(0, "call_a", "look", '{"city":"Rome"}'))
        + calls(call(0, "call_b", "time", "{}")),
        # No index, all in one chunk.
        calls(call(None, "call_a", "look", '{"city":"Rome"}'), call(None, "call_b", "time", "{}")),
        # No index, ids in the first chunk of each only.
        calls(call(None, "call_a", "look", '{"city":'))
        + calls(call(None, None, None, '"Rome"}'))
        + calls(call(None, "call_b", "time", "{}")),
        # Arguments as an object, empty names and ids in later chunks.
        calls(call(0, "call_a", "look", {"city": "Rome"}))
        + calls(call(0, "", "", ""))
        + calls(call(1, "call_b", "time", {})),
        # The name after the arguments have begun.
        calls(call(0, "call_a", None, '{"city":'))
        + calls(call(0, None, "look", '"Rome"}'))
        + calls(call(1, "call_b", "time", "{}")),
    ],
)
def test_it_tells_parallel_calls_apart(told: bytes) -> None:
    assert answer(told + chunk({}, "tool_calls") + DONE).blocks == (LOOK, TIME)


def test_calls_without_ids_get_one_each() -> None:
    told = calls(call(0, None, "look", "{}")) + calls(call(1, None, "look", "{}"))
    first, second = answer(told + chunk({}, "tool_calls")).blocks
    assert isinstance(first, ToolUse)
    assert isinstance(second, ToolUse)
    assert "" != first.id != second.id != ""


def test_the_older_function_call_is_a_call() -> None:
    told = chunk({"function_call": {"name": "look", "arguments": "{"}})
    told += chunk({"function_call": {"arguments": "}"}}) + chunk({}, "function_call")
    (block,) = answer(told).blocks
    assert isinstance(block, ToolUse)
    assert (block.name, block.arguments) == ("look", "{}")


@pytest.mark.parametrize(
    ("said", "reason"),
    [("stop", "end"), ("length", "length"), ("content_filter", "refusal"), ("eos", "end"),
     ("model_context_window_exceeded", "context_window"), ("tool_calls", "end")],
)  # fmt: skip
def test_it_knows_why_an_answer_ended(said: str, reason: str) -> None:
    assert answer(chunk({"content": "Hi"}) + chunk({}, said)).reason == reason


def test_stop_after_calls_means_calls() -> None:
    assert answer(calls(call(0, "call_a", "look", "{}")) + chunk({}, "stop")).reason == "tool_calls"


def test_a_refusal_ends_in_one() -> None:
    told = answer(chunk({"refusal": "I would "}) + chunk({"refusal": "rather not"}, "stop"))
    assert (told.blocks, told.reason) == ((Refusal("I would rather not"),), "refusal")


def test_the_sequence_that_stopped_the_model_is_told() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}
    told = answer(chunk({"content": "Hi"}) + event({"choices": [choice]}))
    assert (told.reason, told.stop_sequence) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3,
          "prompt_tokens_details": {"cached_tokens": 4},
          "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(9, 3, 4, 0, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_cache_hit_tokens": 4},
         Usage(9, 3, 4)),
        ({"prompt_tokens": "9", "completion_tokens": 3, "prompt_tokens_details": None},
         Usage(9, 3)),
    ],
)  # fmt: skip
def test_it_reads_usage_in_each_vendors_words(usage: dict[str, Any], read: Usage) -> None:
    stream = chunk({"content": "Hi"}) + chunk({}, "stop") + streams.usage_chunk(**usage) + DONE
    assert answer(stream).usage == read


def test_the_last_count_holds_where_each_chunk_has_one() -> None:
    counts = [{"prompt_tokens": 9, "completion_tokens": number} for number in (1, 2, 3)]
    stream = b"".join(chunk({"content": "a"}, usage=each) for each in counts)
    assert answer(stream + chunk({}, "stop", usage=None)).usage == Usage(9, 3)


def test_usage_may_stand_in_the_choice() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": streams.USAGE}
    assert answer(chunk({"content": "a"}) + event({"choices": [choice]})).usage == Usage(12, 5)


class TestFailures:
    def test_a_stream_without_an_end_was_cut_off(self) -> None:
        assert failure(streams.FIRST + chunk({"content": "Hi"})).status == 502
        assert answer(chunk({"content": "Hi"}) + chunk({}, "stop")).reason == "end"

    def test_done_alone_is_no_end(self) -> None:
        assert failure(chunk({"content": "Hi"}) + DONE).type == "upstream_error"

    def test_nothing_at_all_was_cut_off(self) -> None:
        assert decoded(b"") == [failure(b": ping\n\n")]

    def test_a_stream_cut_in_the_middle_of_an_event_was_cut_off(self) -> None:
        assert failure(chunk({"content": "Hi"})[:-9]) == failure(b"")

    def test_the_last_event_needs_no_blank_line(self) -> None:
        assert answer((chunk({"content": "Hi"}) + chunk({}, "stop")).rstrip()).reason == "end"
        assert answer((chunk({"content": "Hi"}) + chunk({}, "stop") + DONE).rstrip())

    @pytest.mark.parametrize(
        ("said", "type_", "status"),
        [
            ({"error": {"message": "Slow down", "code": 429}}, "rate_limit_error", 429),
            ({"error": {"message": "x", "type": "rate_limit_exceeded"}}, "rate_limit_error", 429),
            ({"error": {"message": "x", "type": "overloaded_error"}}, "overloaded_error", 503),
            ({"error": "It broke"}, "upstream_error", 502),
            ({"error": {"message": "x", "code": "invalid_api_key"}}, "upstream_error", 502),
            ({"object": "error", "message": "too long", "code": 400}, "invalid_request_error", 400),
            ({"code": "InvalidRequest_x", "message": "m"}, "upstream_error", 502),
        ],
    )
    def test_an_error_in_the_middle_ends_the_answer(
        self, said: object, type_: str, status: int
    ) -> None:
        last = failure(chunk({"content": "Hi"}) + event(said) + chunk({}, "stop") + DONE)
        assert (last.type, last.status) == (type_, status)

    def test_an_end_by_an_error_is_none(self) -> None:
        assert failure(chunk({"content": "Hi"}) + chunk({}, "error") + DONE)

    def test_what_is_no_chunk_ends_the_answer(self) -> None:
        assert failure(b"data: <html>\n\n" + chunk({}, "stop")).type == "upstream_error"

    def test_an_endless_event_ends_the_answer(self) -> None:
        decoder = StreamDecoder()
        events = [each for _ in range(9) for each in decoder.push(b"data: " + b"x" * 2**20)]
        assert isinstance(events[-1], Failed)
        assert decoder.close() == []

    def test_numbers_that_json_has_not_do_no_harm(self) -> None:
        choice = '{"index":0,"delta":{"content":"Hi"},"logprobs":{"content":[NaN,-Infinity]}}'
        told = b'data: {"choices":[%b]}\n\n' % choice.encode() + chunk({}, "stop")
        assert answer(told).blocks == (Text("Hi"),)

    def test_halves_of_characters_do_no_harm(self) -> None:
        told = rb'data: {"choices":[{"delta":{"content":"a\ud83d"}}]}' + b"\n\n"
        assert answer(told + chunk({}, "stop")).blocks == (Text("a?"),)


class TestWholeAnswers:
    def whole(self, message: dict[str, Any], finish: str | None = "stop", **more: Any) -> bytes:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return json.dumps({"id": "x", "choices": [choice], **more}).encode()

    def test_it_reads_everything(self) -> None:
        message = {
            "content": "Wait.",
            "reasoning_content": "Hm",
            "tool_calls": [call(None, "a", "look", "{}"), call(None, "a", "time", None)],
        }
        told = collect(decode_answer(self.whole(message, "tool_calls", usage=streams.USAGE)))
        assert told.blocks == (
            Thought("Hm"),
            Text("Wait."),
            ToolUse("a", "look", "{}"),
            ToolUse("a", "time", ""),
        )
        assert (told.reason, told.usage) == ("tool_calls", Usage(12, 5))

    def test_one_without_a_reason_ended_nevertheless(self) -> None:
        assert collect(decode_answer(self.whole({"content": "Hi"}, None))).reason == "end"

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}]}']
    )
    def test_what_is_no_answer_failed(self, body: bytes) -> None:
        (only,) = decode_answer(body)
        assert isinstance(only, Failed)

    def test_an_error_of_status_200_is_one(self) -> None:
        (only,) = decode_answer(b'{"error":{"message":"busy","code":503}}')
        assert isinstance(only, Failed)
        assert only.type == "overloaded_error"


@pytest.mark.parametrize(
    ("status", "body", "type_", "shown"),
    [
        (400, b'{"error":{"message":"too long"}}', "invalid_request_error", 400),
        (422, b'{"detail":[{"msg":"bad field"}]}', "invalid_request_error", 400),
        (400, b'[{"error":{"message":"API key not valid"}}]', "upstream_error", 502),
        (401, b'{"error":{"message":"Incorrect key sk-abcdef123"}}', "upstream_error", 502),
        (403, b"", "upstream_error", 502),
        (404, b'{"error":"no such model"}', "upstream_error", 502),
        (413, b"", "request_too_large", 413),
        (429, b"<html>", "rate_limit_error", 429),
        (500, b"{}", "upstream_error", 502),
        (503, b"", "overloaded_error", 503),
    ],
)
def test_an_error_answer_is_shown_as_its_client_can_use_it(
    status: int, body: bytes, type_: str, shown: int
) -> None:
    failed = decode_error(status, body)
    assert (failed.type, failed.status) == (type_, shown)
    assert failed.message
    assert "sk-" not in failed.message


def test_the_vendors_words_about_the_request_are_shown_without_keys() -> None:
    failed = decode_error(400, b'{"error":{"message":"too long for sk-proj-abcdefgh1234"}}')
    assert "too long" in failed.message
    assert "abcdefgh" not in failed.message


@pytest.mark.parametrize(
    "error",
    [
        {"code": "\u00b2"},
        {"code": "4" * 5_000},
        {"status": "40\u0663"},
        {"type": "\u0664\u0660\u0660"},
    ],
)
def test_a_code_that_is_no_status_is_none(error: dict[str, str]) -> None:
    (failed,) = decode_answer(json.dumps({"error": {**error, "message": "x"}}).encode())
    assert isinstance(failed, Failed)
    assert (failed.status, failed.message) == (502, "x")


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"error":', b"}")])
def test_an_error_may_be_nested_as_deeply_as_json_may(opening: bytes, closing: bytes) -> None:
    for depth in (3, 900):
        body = opening * depth + b'"x"' + closing * depth
        assert decode_error(500, body).status == 502
        (failed,) = decode_answer(b'{"error":%b}' % body)
        assert isinstance(failed, Failed)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 10**18, "completion_tokens": 1}, Usage(2**31 - 1, 1)),
        ({"prompt_tokens": -5, "completion_tokens": -1}, Usage(0, 0)),
        (
            {"prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 9},
            Usage(3, 1, cache_read_tokens=3),
        ),
    ],
)
def test_what_can_be_no_number_of_tokens_is_not_counted(told: Any, counted: Usage) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    *_events, finished = decode_answer(json.dumps({"choices": [choice], "usage": told}).encode())
    assert isinstance(finished, Finished)
    assert finished.usage == counted
