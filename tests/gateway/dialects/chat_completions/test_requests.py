"""Requests on their way through the neutral form."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from core.errors import InvalidRequest
from gateway.dialects.chat_completions.decode import decode_request
from gateway.dialects.chat_completions.encode import PARAMS, encode_request
from gateway.dialects.chat_completions.schema import parse
from gateway.neutral import (
    Document,
    Feature,
    HiddenThought,
    Image,
    Inexpressible,
    Message,
    Refusal,
    Request,
    ResponseFormat,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)

Json = dict[str, Any]
HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": "Wait", "tool_calls": [CALL]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
LOOK = {
    "type": "function",
    "function": {"name": "look", "description": "Looks", "parameters": SCHEMA, "strict": True},
}
TIME = {"type": "function", "function": {"name": "time"}}
ASK = Message("user", (Text("Hello"),))


def decoded(**fields: Any) -> Request:
    return decode_request(parse(json.dumps({"model": "m", "messages": [HELLO], **fields}).encode()))


def encoded(*messages: Message, **fields: Any) -> Json:
    options: Json = {
        name: fields.pop(name) for name in ("max_tokens_name", "thinking_fields") if name in fields
    }
    request = Request(messages=messages or (ASK,), **fields)
    body: Json = json.loads(
        encode_request(request, model="upstream", default_max_tokens=99, **options)
    )
    return body


def refused(*messages: Message, **fields: Any) -> Feature:
    with pytest.raises(Inexpressible) as caught:
        encoded(*messages, **fields)
    return caught.value.feature


class TestReading:
    def test_messages_of_the_system_are_joined_wherever_they_stand(self) -> None:
        parts = [{"type": "text", "text": "C"}, {"type": "text", "text": "D"}]
        request = decoded(
            messages=[
                {"role": "system", "content": "A"},
                HELLO,
                {"role": "developer", "content": "B"},
                {"role": "system", "content": parts},
            ]
        )
        assert request.system == (Text("A"), Text("B"), Text("C"), Text("D"))
        assert request.messages == (ASK,)

    def test_neighbours_of_one_role_are_one_message(self) -> None:
        bye = {"role": "assistant", "content": "Bye"}
        request = decoded(messages=[HELLO, HELLO, bye, bye, HELLO])
        assert [message.role for message in request.messages] == ["user", "assistant", "user"]
        assert request.messages[1].blocks == (Text("Bye"), Text("Bye"))

    def test_results_are_the_users(self) -> None:
        second = {**CALL, "id": "call_2"}
        results = [
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
            {"role": "tool", "tool_call_id": "call_2",
             "content": [{"type": "text", "text": "Sun"}]},
        ]  # fmt: skip
        messages = [HELLO, {**CALLING, "tool_calls": [CALL, second]}, *results, HELLO]
        _, calling, answer = decoded(messages=messages).messages
        assert calling.blocks == (
            Text("Wait"),
            ToolUse("call_1", "look", "{}"),
            ToolUse("call_2", "look", "{}"),
        )
        assert answer == Message(
            "user",
            (
                ToolResult("call_1", (Text("Rain"),)),
                ToolResult("call_2", (Text("Sun"),)),
                Text("Hello"),
            ),
        )

    def test_images_are_bytes_or_addresses(self) -> None:
        urls = ["data:image/PNG;base64,iVBO/w==", "https://a/b.png"]
        parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
        (message,) = decoded(messages=[{"role": "user", "content": parts}]).messages
        assert message.blocks == (
            Image("image/png", "iVBO/w==", detail="low"),
            Image(url="https://a/b.png", detail="low"),
        )

    def test_refusals_are_remembered(self) -> None:
        parts = [{"type": "refusal", "refusal": "No."}]
        said = [{"role": "assistant", "content": parts}, {"role": "assistant", "refusal": "Never."}]
        assert decoded(messages=[HELLO, *said]).messages[1].blocks == (
            Refusal("No."),
            Refusal("Never."),
        )

    def test_tools_and_how_to_choose(self) -> None:
        request = decoded(tools=[LOOK, TIME], tool_choice="required", parallel_tool_calls=False)
        assert request.tools == (
            Tool("look", "Looks", SCHEMA, True),
            Tool("time", "", {"type": "object", "properties": {}}),
        )
        assert request.tool_choice == ToolChoice("any")
        assert request.parallel_tools is False

    @pytest.mark.parametrize(
        ("choice", "read"),
        [
            ("auto", ToolChoice("auto")),
            ("none", ToolChoice("none")),
            ({"type": "function", "function": {"name": "time"}}, ToolChoice("named", "time")),
        ],
    )
    def test_each_choice_is_read(self, choice: Any, read: ToolChoice) -> None:
        assert decoded(tools=[LOOK, TIME], tool_choice=choice).tool_choice == read

    @pytest.mark.parametrize(("mode", "kind"), [("auto", "auto"), ("required", "any")])
    def test_only_allowed_tools_are_shown(self, mode: str, kind: str) -> None:
        allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "time"}}]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}
        request = decoded(tools=[LOOK, TIME], tool_choice=choice)
        assert [tool.name for tool in request.tools] == ["time"]
        assert request.tool_choice is not None
        assert request.tool_choice.kind == kind

    def test_everything_else_has_its_place(self) -> None:
        request = decoded(
            max_completion_tokens=7, temperature=1.5, top_p=0.5, stop="END", stream=True, user="u",
            reasoning_effort="high", response_format={"type": "json_object"},
        )  # fmt: skip
        assert request == Request(
            messages=(ASK,), max_tokens=7, temperature=1.5, top_p=0.5, stop=("END",), user="u",
            thinking=Thinking(True, effort="high"), response_format=ResponseFormat("json_object"),
            is_streamed=True,
        )  # fmt: skip
        assert decoded(reasoning_effort="none").thinking == Thinking(False, effort="none")
        wanted = {"name": "n", "schema": SCHEMA, "strict": True}
        request = decoded(response_format={"type": "json_schema", "json_schema": wanted})
        assert request.response_format == ResponseFormat("json_schema", "n", SCHEMA, True)

    def test_what_has_no_place_is_kept_for_the_other_dialect_to_judge(self) -> None:
        request = decoded(
            seed=0, frequency_penalty=0.5, presence_penalty=1, logit_bias={"5": 1}, logprobs=True,
            top_logprobs=2, modalities=["text", "audio"], audio={"voice": "x"}, verbosity="low",
            prediction={"type": "content"}, web_search_options={}, moderation={"model": "m"},
        )  # fmt: skip
        assert request.others == {
            "seed": 0, "frequency_penalty": 0.5, "presence_penalty": 1, "logit_bias": {"5": 1},
            "logprobs": {"logprobs": True, "top_logprobs": 2}, "verbosity": "low",
            "modalities": {"modalities": ["text", "audio"], "audio": {"voice": "x"}},
            "prediction": {"type": "content"}, "moderation": {"model": "m"},
            "server_tools": {"web_search_options": {}},
        }  # fmt: skip

    def test_what_asks_for_nothing_is_not_asked_for(self) -> None:
        request = decoded(
            frequency_penalty=0, presence_penalty=None, logit_bias={}, logprobs=False,
            modalities=["text"], response_format={"type": "text"},
        )  # fmt: skip
        assert request == Request(messages=(ASK,))

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"tools": [LOOK, {"type": "custom", "custom": {"name": "sh"}}]}, "tools[1].type"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"tool_choice": {"type": "custom", "custom": {"name": "sh"}}}, "tool_choice.type"),
            ({"functions": [{"name": "f"}]}, "functions"),
            ({"function_call": {"name": "f"}}, "function_call"),
            ({"messages": [HELLO, {"role": "function", "name": "f", "content": "1"}]},
             "messages[1].role"),
            ({"messages": [HELLO, {"role": "assistant",
                                   "function_call": {"name": "f", "arguments": ""}}]},
             "messages[1].function_call"),
            ({"messages": [HELLO, {"role": "assistant", "audio": {"id": "a"}}]},
             "messages[1].audio"),
            ({"messages": [{"role": "system", "content": "A"}]}, "messages"),
        ],
    )  # fmt: skip
    def test_what_only_vendors_of_the_dialect_know_is_refused_by_name(
        self, fields: Json, param: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            decoded(**fields)
        assert caught.value.param == param


class TestWriting:
    def test_a_plain_request(self) -> None:
        assert encoded(system=(Text("A", is_cacheable=True), Text("B"))) == {
            "model": "upstream",
            "messages": [{"role": "system", "content": "A\n\nB"}, HELLO],
        }

    def test_limits_and_the_stream(self) -> None:
        body = encoded(
            max_tokens=7, temperature=0.0, top_p=0.5, stop=("a", "b"), user="u", is_streamed=True
        )
        assert body == {
            "model": "upstream", "messages": [HELLO], "max_tokens": 7, "temperature": 0.0,
            "top_p": 0.5, "stop": ["a", "b"], "user": "u", "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        other = encoded(max_tokens=7, max_tokens_name="max_completion_tokens")
        assert (other["max_completion_tokens"], "max_tokens" in other) == (7, False)

    @pytest.mark.parametrize(
        ("thinking", "effort"),
        [
            (Thinking(True, 1024), "low"), (Thinking(True, 4095), "low"),
            (Thinking(True, 4096), "medium"), (Thinking(True, 16_383), "medium"),
            (Thinking(True, 16_384), "high"), (Thinking(True, 1024, "xhigh"), "xhigh"),
            (Thinking(True), None), (Thinking(False), None), (Thinking(False, effort="high"), None),
            (Thinking(False, effort="none"), "none"), (None, None),
        ],
    )  # fmt: skip
    def test_budgets_are_told_as_efforts(
        self, thinking: Thinking | None, effort: str | None
    ) -> None:
        assert encoded(thinking=thinking).get("reasoning_effort") == effort

    def test_a_vendor_is_told_to_think_in_its_own_words(self) -> None:
        body = encoded(thinking=Thinking(True, 1024), thinking_fields={"enable_thinking": True})
        assert body["enable_thinking"] is True
        assert "reasoning_effort" not in body

    def test_tools_and_how_to_choose(self) -> None:
        body = encoded(
            tools=(Tool("look", "Looks", SCHEMA, True), Tool("time", "", {"type": "object"})),
            tool_choice=ToolChoice("named", "look"),
            parallel_tools=False,
        )
        bare = {"name": "time", "parameters": {"type": "object"}}
        assert body["tools"] == [LOOK, {"type": "function", "function": bare}]
        assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
        assert body["parallel_tool_calls"] is False

    def test_a_choice_among_no_tools_is_none(self) -> None:
        assert encoded(tool_choice=ToolChoice("auto"), parallel_tools=True) == encoded()

    def test_calls_and_thoughts_of_the_history(self) -> None:
        calling = Message(
            "assistant",
            (Thought("Hm", "sig"), HiddenThought("x"), Text("Wait"), ToolUse("c", "look", "")),
        )
        result = Message("user", (ToolResult("c", (Text("Rain"),)), Text("Well?")))
        body = encoded(ASK, calling, result)
        function = {"name": "look", "arguments": "{}"}
        calls = [{"id": "c", "type": "function", "function": function}]
        assert body["messages"] == [
            HELLO,
            {"role": "assistant", "content": "Wait", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c", "content": "Rain"},
            {"role": "user", "content": "Well?"},
        ]

    def test_results_go_before_what_the_user_says(self) -> None:
        calls = (ToolUse("a", "look", "{}"), ToolUse("b", "look", "{}"))
        said = Message(
            "user", (Text("So"), ToolResult("a", (Text("1"),)), ToolResult("b", (), True))
        )
        body = encoded(ASK, Message("assistant", calls), said)
        assert body["messages"][1]["content"] is None
        assert body["messages"][2:] == [
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "Error: "},
            {"role": "user", "content": "So"},
        ]

    def test_images_of_results_follow_in_a_message_of_the_users(self) -> None:
        image = Image("image/png", "AAAA")
        call = Message("assistant", (ToolUse("a", "look", "{}"), ToolUse("b", "look", "{}")))
        results = (
            ToolResult("a", (Text("Seen"), image)),
            ToolResult("b", (Image(url="https://a/b.png"),)),
        )
        body = encoded(ASK, call, Message("user", results))
        assert [message["content"] for message in body["messages"][2:4]] == [
            "Seen",
            "The result is in the images of the next message.",
        ]
        assert body["messages"][4] == {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images in the result of the tool call a:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "Images in the result of the tool call b:"},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
            ],
        }

    def test_documents_of_text_are_text(self) -> None:
        body = encoded(Message("user", (Document(title="T", text="words"), Text("Read it"))))
        assert body["messages"][0]["content"] == "T\n\nwords\n\nRead it"

    def test_formats_of_answers(self) -> None:
        wanted = encoded(response_format=ResponseFormat("json_schema", "", SCHEMA))
        assert wanted["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA},
        }
        wanted = encoded(response_format=ResponseFormat("json_object"))
        assert wanted["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize(
        ("messages", "fields", "feature"),
        [
            ((), {"top_k": 5}, "top_k"),
            ((), {"stop": ("a", "b", "c", "d", "e")}, "stop"),
            ((), {"others": {"server_tools": "tools[0]"}}, "server_tools"),
            ((), {"others": {"documents": "messages[0]"}}, "documents"),
            ((Message("user", (Document(media_type="application/pdf", data="A"),)),), {},
             "documents"),
            ((ASK, Message("assistant", (Text("Once upon"),))), {}, "prefill"),
            ((ASK, Message("assistant", (Image(url="https://a"),)), ASK), {}, "images"),
        ],
    )  # fmt: skip
    def test_what_the_dialect_has_no_words_for_is_refused(
        self, messages: tuple[Message, ...], fields: Json, feature: Feature
    ) -> None:
        assert refused(*messages, **fields) == feature

    def test_every_feature_has_a_name(self) -> None:
        assert set(PARAMS) == set(get_args(Feature))

    def test_what_it_reads_it_can_write(self) -> None:
        asked = {
            "messages": [
                {"role": "system", "content": "A"},
                HELLO,
                CALLING,
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
            ],
            "tools": [LOOK], "tool_choice": "auto", "parallel_tool_calls": True, "seed": 3,
            "logprobs": True, "top_logprobs": 2, "reasoning_effort": "minimal", "stop": ["a"],
            "temperature": 2.0, "max_tokens": 4, "user": "u", "verbosity": "low",
            "logit_bias": {"5": 1.0}, "frequency_penalty": 0.5,
        }  # fmt: skip
        body = encode_request(decoded(**asked), model="m", default_max_tokens=1)
        assert json.loads(body) == {"model": "m", **asked}
