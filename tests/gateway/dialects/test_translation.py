"""From one dialect to the other and back: the tables between them, row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.table import CHAT_COMPLETIONS, MESSAGES, ChatDialect
from gateway.neutral import (
    CallArguments,
    CallStarted,
    Event,
    Finished,
    Inexpressible,
    Request,
    Started,
    TextDelta,
    ToolUse,
    Usage,
    collect,
)
from tests.gateway.dialects.chat_completions import streams as chat

Json = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
HELLO = {"role": "user", "content": "Hello"}


def to_chat(**fields: Any) -> Json:
    """What a chat completions upstream is sent for a request of the messages dialect."""
    asked = {"model": "m", "max_tokens": 9, "messages": [HELLO], **fields}
    return _translated(asked, MESSAGES, CHAT_COMPLETIONS)


def to_messages(**fields: Any) -> Json:
    """What a messages upstream is sent for a request of the chat completions dialect."""
    return _translated({"model": "m", "messages": [HELLO], **fields}, CHAT_COMPLETIONS, MESSAGES)


def _translated(asked: Json, theirs: ChatDialect, ours: ChatDialect) -> Json:
    request = theirs.decode_request(theirs.parse(json.dumps(asked).encode()))
    body: Json = json.loads(ours.encode_request(request, model="up", default_max_tokens=77))
    return body


def streamed(stream: bytes, theirs: ChatDialect, ours: ChatDialect, size: int = 7) -> bytes:
    """An upstream's stream as a client of the other dialect is sent it."""
    decoder = theirs.decoder()
    encoder = ours.encoder(
        request_id="id-1", model="public", include_usage=True, input_tokens=3, created=9
    )
    events = [event for piece in chat.pieces(stream, size) for event in decoder.push(piece)]
    return b"".join(encoder.encode(event) for event in [*events, *decoder.close()])


def payloads(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def message_stream(*events: tuple[str, Json]) -> bytes:
    parts = [
        b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **rest}).encode())
        for kind, rest in events
    ]
    return b"".join(parts)


def message_start(**usage: int) -> tuple[str, Json]:
    counted = usage or {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "msg_1", "role": "assistant", "model": "up", "content": [], "usage": counted}
    return "message_start", {"message": message}


def block(index: int, start: Json, *deltas: Json) -> list[tuple[str, Json]]:
    told = [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
    first = ("content_block_start", {"index": index, "content_block": start})
    return [first, *told, ("content_block_stop", {"index": index})]


def message_end(reason: str, **usage: int) -> list[tuple[str, Json]]:
    end = {"delta": {"stop_reason": reason}, "usage": usage or {"output_tokens": 5}}
    return [("message_delta", end), ("message_stop", {})]


# --- There and back ------------------------------------------------------------------------------

_words = st.text('ab早\n"\\ ', min_size=1, max_size=9).map(lambda text: f"x{text}x")
_texts = _words.map(lambda text: {"type": "text", "text": text})
_images = st.sampled_from(
    [
        {"type": "base64", "media_type": "image/png", "data": "iVBO/w=="},
        {"type": "url", "url": "https://a/b.png"},
    ]
).map(lambda source: {"type": "image", "source": source})
_inputs = st.dictionaries(_words, _words | st.integers() | st.none(), max_size=2)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    messages: list[Json] = []
    results: list[Json] = []
    for turn in range(draw(st.integers(1, 3))):
        said: list[Json] = draw(st.lists(_texts, min_size=1, max_size=1)) + draw(
            st.lists(_images, max_size=2)
        )
        messages.append({"role": "user", "content": results + said})
        names = draw(st.lists(st.sampled_from(["look", "time"]), max_size=3))
        uses = [
            {"type": "tool_use", "id": f"t{turn}_{n}", "name": name, "input": draw(_inputs)}
            for n, name in enumerate(names)
        ]
        answer = draw(st.lists(_texts, min_size=not uses, max_size=1))
        messages.append({"role": "assistant", "content": answer + uses})
        results = [
            {"type": "tool_result", "tool_use_id": use["id"],
             "content": draw(st.lists(_texts, max_size=1))}
            for use in uses
        ]  # fmt: skip
    last = results + draw(st.lists(_texts, min_size=1, max_size=1))
    return [*messages, {"role": "user", "content": last}]


_choices = st.sampled_from(
    [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "look"}, {"type": "none"},
     {"type": "any", "disable_parallel_tool_use": True}]
)  # fmt: skip
_tools = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("look", "time")]
_requests = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": conversations(),
        "max_tokens": st.integers(1, 99),
        "tools": st.just(_tools),
    },
    optional={
        "system": _words,
        "tool_choice": _choices,
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop_sequences": st.lists(_words, min_size=1, max_size=4),
        "stream": st.booleans(),
        "metadata": st.just({"user_id": "u"}),
        "output_config": st.just({"format": {"type": "json_schema", "schema": SCHEMA}}),
    },
)


def _read(dialect: ChatDialect, body: bytes) -> Request:
    request = dialect.decode_request(dialect.parse(body))
    assert isinstance(request, Request)
    return request


@settings(deadline=None)
@given(_requests)
def test_what_both_dialects_can_say_comes_back_as_it_went(asked: Json) -> None:
    request = _read(MESSAGES, json.dumps(asked).encode())
    body = CHAT_COMPLETIONS.encode_request(request, model="m", default_max_tokens=1)
    over_there = _read(CHAT_COMPLETIONS, body)
    back = _read(MESSAGES, MESSAGES.encode_request(over_there, model="m", default_max_tokens=1))
    assert over_there == request
    assert back == request


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """What a model tells that calls tools side by side, with the arguments of each in two parts."""
    told: list[Event] = [Started(), *(TextDelta(text) for text in draw(st.lists(_words)))]
    inputs = [json.dumps(each) for each in draw(st.lists(_inputs, max_size=3))]
    told += [CallStarted(n, f"call_{n}", f"tool_{n}") for n in range(len(inputs))]
    told += [CallArguments(n, text[:3]) for n, text in enumerate(inputs)]
    told += [CallArguments(n, text[3:]) for n, text in enumerate(inputs)]
    # Who says that nothing was read has not counted, and is not believed.
    usage = Usage(draw(st.integers(1, 50)), draw(st.integers(0, 50)))
    return [*told, Finished("tool_calls" if inputs else "end", usage)]


@settings(deadline=None, max_examples=50)
@given(answers(), st.sampled_from([0, 1, 7]))
def test_an_answer_survives_the_other_dialect(told: list[Event], size: int) -> None:
    """Written in one dialect, told in the other and back: what is read is what was said."""
    for first, second in ((MESSAGES, CHAT_COMPLETIONS), (CHAT_COMPLETIONS, MESSAGES)):
        encoder = first.encoder(
            request_id="id-1", model="public", include_usage=True, input_tokens=3, created=9
        )
        written = b"".join(encoder.encode(event) for event in told)
        there = streamed(written, first, second, size)
        back = streamed(there, second, first, size)
        assert _said(back, first) == _said(written, first)
        assert _said(there, second)[0] == _said(written, first)[0]


def _said(stream: bytes, dialect: ChatDialect) -> tuple[list[Any], Any, Any]:
    """Words and calls, each with the values of its arguments; reason; usage."""
    decoder = dialect.decoder()
    answer = collect([*decoder.push(stream), *decoder.close()])
    blocks = [
        (block.id, block.name, json.loads(block.arguments or "{}"))
        if isinstance(block, ToolUse)
        else block
        for block in answer.blocks
    ]
    return blocks, answer.reason, answer.usage


# --- Requests, row by row ------------------------------------------------------------------------


def test_system() -> None:
    system = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
              {"type": "text", "text": "B"}]  # fmt: skip
    messages = [HELLO, {"role": "system", "content": "C"}]
    body = to_chat(system=system, messages=messages)
    assert body["messages"] == [{"role": "system", "content": "A\n\nB\n\nC"}, HELLO]
    assert to_chat(system="A")["messages"][0] == {"role": "system", "content": "A"}
    parts = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, HELLO]
    assert to_messages(messages=parts)["system"] == "A\n\nB"


def test_tool_definitions() -> None:
    theirs = {"name": "look", "description": "Looks", "input_schema": SCHEMA}
    function = {"name": "look", "description": "Looks", "parameters": SCHEMA}
    ours = {"type": "function", "function": function}
    assert to_chat(tools=[theirs])["tools"] == [ours]
    assert to_messages(tools=[ours])["tools"] == [theirs]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_choices(theirs: Json, ours: Any) -> None:
    function = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
    tool = {"name": "look", "input_schema": SCHEMA}
    assert to_chat(tools=[tool], tool_choice=theirs)["tool_choice"] == ours
    assert to_messages(tools=[function], tool_choice=ours)["tool_choice"] == theirs


def test_parallel_calls_forbidden() -> None:
    function = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
    tool = {"name": "look", "input_schema": SCHEMA}
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert to_chat(tools=[tool], tool_choice=choice)["parallel_tool_calls"] is False
    assert to_messages(tools=[function], parallel_tool_calls=False)["tool_choice"] == choice


def test_calls_and_results() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"city": "Rome"}}
    result = {"type": "tool_result", "tool_use_id": "t1",
              "content": [{"type": "text", "text": "Rain"}]}  # fmt: skip
    theirs = [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    function = {"name": "look", "arguments": '{"city": "Rome"}'}
    ours = [
        HELLO,
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "t1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "t1", "content": "Rain"},
    ]  # fmt: skip
    assert to_chat(messages=theirs)["messages"] == ours
    assert to_messages(messages=ours)["messages"] == theirs


def test_failed_results_and_their_images_are_not_lost() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True,
              "content": [{"type": "text", "text": "Oh"}, image]}  # fmt: skip
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    messages = [HELLO, {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]}]  # fmt: skip
    _, _, told, shown = to_chat(messages=messages)["messages"]
    assert told == {"role": "tool", "tool_call_id": "t1", "content": "Error: Oh"}
    assert shown["content"][1] == {"type": "image_url", "image_url": {"url": "https://a/b.png"}}


def test_images() -> None:
    data = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    theirs = [{"type": "image", "source": data}]
    ours = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    assert to_chat(messages=[{"role": "user", "content": theirs}])["messages"] == [
        {"role": "user", "content": ours}
    ]
    assert to_messages(messages=[{"role": "user", "content": ours}])["messages"] == [
        {"role": "user", "content": theirs}
    ]


def test_limits_and_stops() -> None:
    assert to_chat(stop_sequences=["a"], max_tokens=5)["stop"] == ["a"]
    assert to_messages(stop="a", max_tokens=5)["stop_sequences"] == ["a"]
    assert to_chat(max_tokens=5)["max_tokens"] == 5
    assert to_messages()["max_tokens"] == 77
    assert to_messages(max_completion_tokens=5)["max_tokens"] == 5


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"top_k": 5}, "top_k"),
        ({"stop_sequences": list("abcde")}, "stop"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "server_tools"),
        ({"messages": [HELLO, {"role": "assistant", "content": "{"}]}, "prefill"),
        ({"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}]}]},
         "documents"),
    ],
)  # fmt: skip
def test_what_chat_completions_cannot_say_is_refused(fields: Json, feature: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        to_chat(**fields)
    assert caught.value.feature == feature
    assert MESSAGES.params[caught.value.feature]
    assert caught.value.place == ("messages[0].content[0]" if feature == "documents" else "")


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"web_search_options": {}}, "server_tools"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"verbosity": "low"}, "verbosity"),
    ],
)
def test_what_messages_cannot_say_is_refused(fields: Json, feature: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        to_messages(**fields)
    assert caught.value.feature == feature
    assert CHAT_COMPLETIONS.params[caught.value.feature]


# --- Answers, row by row -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop"),
     ("refusal", "content_filter"), ("model_context_window_exceeded", "length"),
     ("pause_turn", "stop")],
)  # fmt: skip
def test_reasons_for_clients_of_chat_completions(theirs: str, ours: str) -> None:
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})
    stream = message_stream(message_start(), *text, *message_end(theirs))
    told = payloads(streamed(stream, MESSAGES, CHAT_COMPLETIONS))
    assert told[-2]["choices"][0]["finish_reason"] == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")],
)
def test_reasons_for_clients_of_messages(ours: str, theirs: str) -> None:
    stream = chat.chunk({"content": "Hi"}) + chat.chunk({}, ours) + chat.DONE
    told = payloads(streamed(stream, CHAT_COMPLETIONS, MESSAGES))
    assert told[-2]["delta"]["stop_reason"] == theirs


@pytest.mark.parametrize("size", [0, 1, 7])
def test_calls_told_side_by_side_reach_clients_of_messages_whole(size: int) -> None:
    told = payloads(streamed(chat.TOOLS, CHAT_COMPLETIONS, MESSAGES, size))
    kinds = [each["type"] for each in told]
    # No empty block before the calls, each block closed before the next.
    assert kinds[1] == "content_block_start"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    arguments = ["", ""]
    for each in told:
        if each["type"] == "content_block_delta":
            arguments[each["index"]] += each["delta"]["partial_json"]
    assert arguments == ['{"city":"Rome"}', "{}"]
    assert told[-2]["delta"]["stop_reason"] == "tool_use"
    assert told[-2]["usage"]["output_tokens"] == 5


@pytest.mark.parametrize("size", [0, 1, 7])
def test_calls_reach_clients_of_chat_completions_under_their_own_numbers(size: int) -> None:
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Wait"})
    calls = [
        block(
            index,
            {"type": "tool_use", "id": f"t{index}", "name": "look", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"n":'},
            {"type": "input_json_delta", "partial_json": f"{index}}}"},
        )
        for index in (1, 2)
    ]
    stream = message_stream(message_start(), *text, *calls[0], *calls[1], *message_end("tool_use"))
    told = payloads(streamed(stream, MESSAGES, CHAT_COMPLETIONS, size))
    deltas = [each["choices"][0]["delta"] for each in told if each["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content") or "" for delta in deltas) == "Wait"
    arguments = {0: "", 1: ""}
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            arguments[call["index"]] += call["function"]["arguments"]
    assert arguments == {0: '{"n":1}', 1: '{"n":2}'}
    assert told[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_thoughts_have_blocks_of_their_own() -> None:
    told = payloads(streamed(chat.THINKING, CHAT_COMPLETIONS, MESSAGES))
    kinds: dict[int, str] = {}
    for each in told:
        if each["type"] == "content_block_start":
            kinds[each["index"]] = each["content_block"]["type"]
        if each["type"] == "content_block_delta" and each["delta"]["type"] != "signature_delta":
            assert each["delta"]["type"] == f"{kinds[each['index']]}_delta"
    assert list(kinds.values()) == ["thinking", "text"]
    thought = block(
        0, {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm"}, {"type": "signature_delta", "signature": "s"},
    )  # fmt: skip
    text = block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "42"})
    stream = message_stream(message_start(), *thought, *text, *message_end("end_turn"))
    deltas = [
        each["choices"][0]["delta"]
        for each in payloads(streamed(stream, MESSAGES, CHAT_COMPLETIONS))
        if each["choices"]
    ]
    assert [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta] == [
        "Hm"
    ]
    assert deltas[-2]["content"] == "42"


def test_usage_counts_cached_tokens_where_the_dialect_does() -> None:
    start = message_start(input_tokens=3, output_tokens=1, cache_read_input_tokens=10,
                          cache_creation_input_tokens=5)  # fmt: skip
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})
    stream = message_stream(start, *text, *message_end("end_turn", output_tokens=6))
    usage = payloads(streamed(stream, MESSAGES, CHAT_COMPLETIONS))[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        18,
        6,
        24,
    )
    assert usage["prompt_tokens_details"]["cached_tokens"] == 10
    counted = chat.usage_chunk(
        prompt_tokens=18, completion_tokens=6, prompt_tokens_details={"cached_tokens": 10}
    )
    stream = chat.chunk({"content": "Hi"}) + chat.chunk({}, "stop") + counted + chat.DONE
    usage = payloads(streamed(stream, CHAT_COMPLETIONS, MESSAGES))[-2]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (8, 10)
    assert usage["output_tokens"] == 6


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_stream_that_breaks_ends_in_an_error_of_the_clients_dialect(size: int) -> None:
    broken = chat.FIRST + chat.chunk({"content": "Hi"})
    assert b"event: error\n" in streamed(broken, CHAT_COMPLETIONS, MESSAGES, size)
    failing = broken + chat.event({"error": {"message": "busy", "code": 503}})
    last = payloads(streamed(failing, CHAT_COMPLETIONS, MESSAGES, size))[-1]
    assert last["error"]["type"] == "overloaded_error"
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})
    out = streamed(message_stream(message_start(), *text), MESSAGES, CHAT_COMPLETIONS, size)
    assert payloads(out)[-1]["error"]["type"] == "upstream_error"
    assert b"[DONE]" not in out


def test_arguments_that_are_no_json_are_kept() -> None:
    call = chat.call(0, "t1", "look", '{"city": Ro')
    message = {"content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    events = CHAT_COMPLETIONS.decode_answer(json.dumps({"choices": [choice]}).encode())
    body = json.loads(
        MESSAGES.encode_answer(collect(events), request_id="msg-1", model="p", created=1)
    )
    assert body["content"][0]["input"] == {"_raw": '{"city": Ro'}
