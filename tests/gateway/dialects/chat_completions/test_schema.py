"""What a client may ask, and how it learns what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import InvalidRequest
from gateway.dialects.chat_completions.schema import Asked, Image, User, parse

Json = dict[str, Any]
HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def asked(**fields: Any) -> Asked:
    return parse(json.dumps({"model": "m", "messages": [HELLO], **fields}).encode())


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    return caught.value


def image(url: object) -> Json:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [HELLO, {"role": "robot", "content": ""}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages[0].content[0].text"),
        ({"messages": [image("ftp://a/b.png")]}, "messages[0].content[0].image_url.url"),
        ({"messages": [image("data:text/html;base64,AAAA")]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [image(7)]}, "messages[0].content[0].image_url.url"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 2}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
         "tools[0].function.parameters"),
        ({"tool_choice": "sometimes", "tools": [LOOK]}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [LOOK],
          "tool_choice": {"type": "function", "function": {"name": "shout"}}},
         "tool_choice.function.name"),
        ({"tools": [LOOK],
          "tool_choice": {"type": "allowed_tools", "allowed_tools": {
              "mode": "auto", "tools": [{"type": "function", "function": {"name": "shout"}}]}}},
         "tool_choice.allowed_tools.tools[0].function.name"),
    ],
)  # fmt: skip
def test_it_names_the_parameter_that_is_wrong(fields: Json, param: str) -> None:
    error = refused(**fields)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": None, "stream_options": None, "temperature": None, "stop": None, "n": 1},
        {"stop": "end", "temperature": 2, "top_p": 0, "max_tokens": 1, "seed": 0},
        {"stop": ["a", "b", "c", "d"], "presence_penalty": -2, "frequency_penalty": 2},
        {"messages": [{"role": "developer", "content": "Be brief"}, HELLO], "unheard_of": {}},
        {"messages": [image("https://a/b.png"), image("data:image/png;base64,AAAA")]},
        {"messages": [HELLO, CALLING, RESULT]},
        {"messages": [HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO]},
        {"tools": [LOOK], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tools": [{"type": "custom", "custom": {"name": "shell"}}, {"type": "web_search"}]},
        {"functions": [{"name": "f"}], "function_call": "auto"},
    ],
)
def test_it_takes_what_the_official_client_can_send(fields: Json) -> None:
    assert asked(**fields).model == "m"


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":NaN}', b"[1]", b"\xff", b"[" * 100_000])
def test_it_refuses_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body)


class TestCallsAndResults:
    def test_a_result_needs_its_call_right_before_it(self) -> None:
        assert refused(messages=[HELLO, RESULT]).param == "messages[1].tool_call_id"
        messages = [HELLO, CALLING, RESULT, HELLO, RESULT]
        assert refused(messages=messages).param == "messages[4].tool_call_id"

    def test_a_result_of_another_call_is_none(self) -> None:
        other = {**RESULT, "tool_call_id": "call_2"}
        assert refused(messages=[HELLO, CALLING, other]).param == "messages[2].tool_call_id"

    def test_a_second_result_is_one_too_many(self) -> None:
        error = refused(messages=[HELLO, CALLING, RESULT, RESULT])
        assert error.param == "messages[3].tool_call_id"

    @pytest.mark.parametrize("after", [[], [HELLO], [{"role": "assistant", "content": "Hm"}]])
    def test_a_call_needs_its_result_right_after_it(self, after: list[Json]) -> None:
        error = refused(messages=[HELLO, CALLING, *after])
        assert error.param == "messages[1].tool_calls[0]"

    def test_parallel_calls_take_their_results_in_any_order(self) -> None:
        second = {**CALL, "id": "call_2"}
        calling = {**CALLING, "tool_calls": [CALL, second]}
        results = [{**RESULT, "tool_call_id": "call_2"}, RESULT]
        assert len(asked(messages=[HELLO, calling, *results]).messages) == 4
        assert refused(messages=[HELLO, calling, RESULT]).param == "messages[1].tool_calls[1]"

    def test_two_calls_of_one_message_need_two_ids(self) -> None:
        calling = {**CALLING, "tool_calls": [CALL, CALL]}
        assert refused(messages=[HELLO, calling, RESULT]).param == "messages[1].tool_calls[1].id"

    def test_ids_may_come_again_in_later_turns(self) -> None:
        assert asked(messages=[HELLO, CALLING, RESULT, CALLING, RESULT])


def test_both_names_of_the_limit_mean_the_same() -> None:
    assert asked(max_tokens=7).max_tokens == 7
    assert asked(max_completion_tokens=8).max_tokens == 8
    assert asked(max_completion_tokens=8, max_tokens=7).max_tokens == 8
    assert asked(max_completion_tokens=8).max_tokens_param == "max_completion_tokens"


def test_usage_is_wanted_only_where_it_was_asked_for() -> None:
    assert asked(stream=True, stream_options={"include_usage": True}).wants_usage
    assert not asked(stream=True, stream_options={"include_usage": False}).wants_usage
    assert not asked(stream=True).wants_usage


def test_slashes_may_be_escaped_as_some_clients_do() -> None:
    body = rb"""{"model":"m","messages":[{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"data:image\/png;base64,\/9j\/"}}]}]}"""
    assert parse(body).messages


def test_a_large_picture_is_not_copied() -> None:
    asking = json.dumps({"model": "m", "messages": [image("data:image/png;base64,AAAA")]})
    body = bytearray(asking.encode())
    message = parse(body).messages[0]
    assert isinstance(message, User)
    part = message.content[0]
    assert isinstance(part, Image)
    url = part.image_url.url
    body[body.index(b"AAAA")] = ord("B")
    assert bytes(url) == b'"data:image/png;base64,BAAA"'
