"""Requests out of the dialect, and into it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

import pytest
from anthropic.types import message_create_params
from pydantic import TypeAdapter

from gateway.dialects.messages import schema
from gateway.dialects.messages.decode import decode_request
from gateway.dialects.messages.encode import PARAMS, encode_request
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

MODEL = "claude-sonnet-5"
# What the vendor's own library takes for a request.
_SDK: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)
HELLO = (Message("user", (Text("Hello"),)),)


def decoded(**members: Any) -> Request:
    asked = {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "Hello"}]}
    return decode_request(schema.parse(json.dumps({**asked, **members}).encode()))


def encoded(request: Request, *, model: str = MODEL) -> dict[str, Any]:
    body = json.loads(encode_request(request, model=model, default_max_tokens=4096))
    _SDK.validate_python(body)
    return dict(body)


def asked(*blocks: Any, **members: Any) -> dict[str, Any]:
    return encoded(Request((Message("user", blocks or (Text("Hello"),)),), **members))


# --- Out of it ------------------------------------------------------------------------------------


def test_it_reads_a_conversation_with_everything_in_it() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look"},
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                },
                {
                    "type": "document",
                    "title": "D",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "UERG"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "I see."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "two"},
                        {"type": "image", "source": {"type": "url", "url": "https://e.org/b"}},
                    ],
                },
            ],
        },
    ]
    request = decoded(
        messages=messages, system=[{"type": "text", "text": "Be kind.", "cache_control": {}}]
    )
    assert request.system == (Text("Be kind.", is_cacheable=True), Text("Be brief."))
    assert request.messages == (
        Message(
            "user",
            (
                Text("Look"),
                Image(url="https://e.org/a.png"),
                Image("image/png", "QUJD"),
                Document("D", "application/pdf", "UERG"),
            ),
        ),
        Message(
            "assistant",
            (
                Thought("Hm.", "sig"),
                HiddenThought("xyz"),
                Text("I see."),
                ToolUse("t1", "f", '{"a": 1}'),
                ToolUse("t2", "g", "{}"),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("t1", (Text("one"),)),
                ToolResult("t2", (Text("two"), Image(url="https://e.org/b")), is_error=True),
            ),
        ),
    )
    assert request.others == {}


def test_it_reads_what_is_asked_beside_the_messages() -> None:
    request = decoded(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        stream=True,
        tools=[
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True},
        ],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 2048},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"},
    )  # fmt: skip
    assert request == Request(
        HELLO,
        max_tokens=5000,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=("END",),
        tools=(Tool("f", "d", {"type": "object"}, True),),
        tool_choice=ToolChoice("named", "f"),
        parallel_tools=False,
        thinking=Thinking(True, 2048),
        response_format=ResponseFormat("json_schema", "answer", {"type": "object"}, True),
        user="u",
        is_streamed=True,
    )


@pytest.mark.parametrize(
    ("members", "thinking"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, Thinking(False)),
        ({"thinking": {"type": "adaptive"}}, Thinking(True)),
        ({"thinking": {"type": "between_tools"}}, None),
        ({"output_config": {"effort": "high"}}, Thinking(True, None, "high")),
    ],
)
def test_it_reads_how_much_to_think(members: dict[str, Any], thinking: Thinking | None) -> None:
    assert decoded(**members).thinking == thinking


@pytest.mark.parametrize(
    ("members", "feature"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "server_tools"),
        ({"mcp_servers": [{"name": "x"}]}, "server_tools"),
        (
            {"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]},
            "server_tools",
        ),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
            "images",
        ),
        (
            {"messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
            "documents",
        ),
    ],
)  # fmt: skip
def test_it_notes_what_only_the_vendor_can_do(members: dict[str, Any], feature: Feature) -> None:
    assert list(decoded(**members).others) == [feature]


# --- Into it --------------------------------------------------------------------------------------


def test_it_asks_for_everything_the_vendor_can_do() -> None:
    schema_ = {"type": "object", "properties": {}}
    body = asked(
        system=(Text("Be kind."), Text("Be brief.")),
        temperature=1.0,
        top_p=0.5,
        top_k=3,
        stop=("END",),
        tools=(Tool("f", "d", schema_, True), Tool("g", "", {})),
        tool_choice=ToolChoice("named", "f"),
        parallel_tools=False,
        response_format=ResponseFormat("json_schema", "x", schema_, True),
        user="u",
        is_streamed=True,
    )
    assert body == {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "system": "Be kind.\n\nBe brief.",
        "stream": True,
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 3,
        "stop_sequences": ["END"],
        "tools": [
            {"name": "f", "input_schema": schema_, "description": "d", "strict": True},
            {"name": "g", "input_schema": {"type": "object"}},
        ],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "u"},
        "output_config": {"format": {"type": "json_schema", "schema": schema_}},
    }


def test_it_keeps_the_clients_own_length() -> None:
    assert asked(max_tokens=7)["max_tokens"] == 7


def test_it_keeps_the_marks_of_what_may_be_cached() -> None:
    body = asked(Text("long", True), system=(Text("a", True), Text("b")))
    marked = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    assert body["messages"][0]["content"] == [marked]
    assert body["system"] == [{**marked, "text": "a"}, {"type": "text", "text": "b"}]


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (Image("image/png", "QUJD"),
         {"type": "image",
          "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}),
        (Image(url="data:image/webp;base64,QUJD"),
         {"type": "image",
          "source": {"type": "base64", "media_type": "image/webp", "data": "QUJD"}}),
        (Image(url="https://e.org/a.png", detail="low"),
         {"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}),
        (Document("T", "application/pdf", "UERG"),
         {"type": "document", "title": "T",
          "source": {"type": "base64", "media_type": "application/pdf", "data": "UERG"}}),
        (Document(text="words"),
         {"type": "document",
          "source": {"type": "text", "media_type": "text/plain", "data": "words"}}),
        (ToolResult("call:0", (Image("image/png", "QUJD"),), True),
         {"type": "tool_result", "tool_use_id": "call_0", "is_error": True, "content": [
             {"type": "image",
              "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}]}),
        (ToolResult("t", (Text(""),)), {"type": "tool_result", "tool_use_id": "t"}),
    ],
)  # fmt: skip
def test_it_writes_what_the_user_says(block: Any, written: dict[str, Any]) -> None:
    assert asked(block)["messages"][0]["content"] == [written]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ('{"a": 1.50}', {"a": 1.5}),
        ("", {}),
        ("{}", {}),
        ('{"a": ', {"_raw": '{"a": '}),
        ("[1]", {"_raw": "[1]"}),
    ],
)
def test_it_writes_calls_whatever_their_arguments(arguments: str, written: Any) -> None:
    call = Message("assistant", (ToolUse("functions.f:0", "f", arguments),))
    result = Message("user", (Text("and?"), ToolResult("functions.f:0", (Text("x"),))))
    body = encoded(Request((*HELLO, call, result)))
    (block,) = body["messages"][1]["content"]
    assert block == {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": written}
    # Results stand before all else, under the same id.
    assert [each["type"] for each in body["messages"][2]["content"]] == ["tool_result", "text"]
    assert body["messages"][2]["content"][0]["tool_use_id"] == block["id"]


def test_it_writes_what_the_assistant_said() -> None:
    blocks = (Thought("x", "sig"), Thought("unsigned"), HiddenThought("h"), Refusal("No. "))
    body = encoded(Request((*HELLO, Message("assistant", blocks))))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "x", "signature": "sig"},
        {"type": "redacted_thinking", "data": "h"},
        {"type": "text", "text": "No."},  # what is gone on from ends with no space
    ]


def test_it_leaves_out_what_says_nothing_and_would_be_refused() -> None:
    body = encoded(Request((Message("assistant", (Text(" "),)), *HELLO), system=(Text(""),)))
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "system" not in body


def test_a_choice_among_no_tools_is_not_written() -> None:
    body = asked(tool_choice=ToolChoice("auto"), parallel_tools=False)
    assert "tool_choice" not in body


@pytest.mark.parametrize("kind", ["auto", "any", "none"])
def test_it_writes_every_choice(kind: Any) -> None:
    body = asked(tools=(Tool("f", "", {}),), tool_choice=ToolChoice(kind))
    assert body["tool_choice"] == {"type": kind}


@pytest.mark.parametrize(
    ("model", "thinking", "written"),
    [
        (MODEL, Thinking(False, None, "none"), ({"type": "disabled"}, None)),
        (MODEL, Thinking(True, None, "minimal"), ({"type": "adaptive"}, {"effort": "low"})),
        (MODEL, Thinking(True, None, "high"), ({"type": "adaptive"}, {"effort": "high"})),
        (MODEL, Thinking(True), ({"type": "adaptive"}, None)),
        ("claude-opus-4-8", Thinking(True), ({"type": "adaptive"}, None)),
        (
            "claude-sonnet-4-20250514", Thinking(True, None, "low"),
            ({"type": "enabled", "budget_tokens": 2048}, None),
        ),
        (
            "anthropic/claude-haiku-4.5", Thinking(True, None, "high"),
            ({"type": "enabled", "budget_tokens": 16384}, None),
        ),
        (
            "claude-3-7-sonnet-latest", Thinking(True),
            ({"type": "enabled", "budget_tokens": 8192}, None),
        ),
        ("glm-5", Thinking(True, 3000), ({"type": "enabled", "budget_tokens": 3000}, None)),
    ],
)  # fmt: skip
def test_it_asks_each_model_to_think_in_its_words(model: str, thinking: Any, written: Any) -> None:
    body = encoded(Request(HELLO, thinking=thinking), model=model)
    assert (body["thinking"], body.get("output_config")) == written
    assert body["max_tokens"] > body["thinking"].get("budget_tokens", 0)


def test_thinking_leaves_room_for_the_answer() -> None:
    thinking = Thinking(True, None, "high")
    body = encoded(Request(HELLO, max_tokens=4000, thinking=thinking), model="glm-5")
    assert body["thinking"]["budget_tokens"] == 4000 - 1024
    with pytest.raises(Inexpressible, match="reasoning_effort"):
        encoded(Request(HELLO, max_tokens=2000, thinking=thinking), model="glm-5")


@pytest.mark.parametrize(
    ("members", "feature"),
    [
        ({"temperature": 1.1}, "temperature"),
        ({"response_format": ResponseFormat("json_object")}, "response_format"),
        ({"others": {"seed": 0}}, "seed"),
        ({"others": {"frequency_penalty": 0.5}}, "frequency_penalty"),
        ({"others": {"presence_penalty": -1}}, "presence_penalty"),
        ({"others": {"logit_bias": {"5": 1}}}, "logit_bias"),
        ({"others": {"logprobs": True}}, "logprobs"),
        ({"others": {"modalities": ["text", "audio"]}}, "modalities"),
    ],
)
def test_it_refuses_what_the_vendor_cannot_do(members: dict[str, Any], feature: str) -> None:
    asked()
    with pytest.raises(Inexpressible) as caught:
        asked(**members)
    assert caught.value.feature == feature


def test_it_refuses_nothing_that_changes_nothing() -> None:
    others: dict[Feature, Any] = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "logprobs": False,
        "seed": None,
        "modalities": ["text"],
    }
    assert asked(others=others)["model"] == MODEL


def test_it_has_names_for_features_of_its_own() -> None:
    assert set(PARAMS) <= set(get_args(Feature))


def test_a_request_comes_back_as_it_went() -> None:
    request = Request(
        messages=(
            Message(
                "user",
                (Text("Hi", True), Image("image/png", "QUJD"), Document("T", url="https://e")),
            ),
            Message(
                "assistant",
                (Thought("x", "s"), HiddenThought("h"), ToolUse("t", "f", '{"a":1}')),
            ),
            Message(
                "user",
                (ToolResult("t", (Text("r"), Image(url="https://e")), True), Text("so?")),
            ),
        ),
        system=(Text("a", True), Text("b")),
        max_tokens=4096,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        stop=("END",),
        tools=(Tool("f", "d", {"type": "object"}, True),),
        tool_choice=ToolChoice("any"),
        parallel_tools=False,
        thinking=Thinking(True, None, "high"),
        response_format=ResponseFormat("json_schema", "answer", {"type": "object"}, True),
        user="u",
        is_streamed=True,
    )
    body = encode_request(request, model=MODEL, default_max_tokens=1)
    assert decode_request(schema.parse(body)) == request
    other = dataclasses.replace(request, max_tokens=None)
    assert encode_request(other, model=MODEL, default_max_tokens=4096) == body
