"""What a client may write, and where it is told that something is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import InvalidRequest
from gateway.dialects.messages import schema
from gateway.dialects.messages.decode import decode_request
from gateway.dialects.reading import MAX_PARTS

USER = {"role": "user", "content": "Hello"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}


def body(*messages: Any, **members: Any) -> bytes:
    asked = {"model": "m", "max_tokens": 2000, "messages": [*messages] or [USER], **members}
    return json.dumps({name: value for name, value in asked.items() if value != "-"}).encode()


def says(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def image(source: Any) -> dict[str, Any]:
    return says([{"type": "image", "source": source}])


GOOD = [
    body(),
    body(says([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}])),
    body(says("be kind", "system"), USER),
    body(USER, USER, says("a", "assistant"), says("b", "assistant")),
    body(says([])),
    body(temperature=0, top_p=1, top_k=0, stop_sequences=["x"], stream=None, system=None),
    body(temperature=1.0, system=[{"type": "text", "text": "x"}], metadata={"user_id": "u"}),
    body(tools=[TOOL], tool_choice={"type": "tool", "name": "f"}),
    body(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]),
    body(tools=[{**TOOL, "type": "custom", "strict": True}], tool_choice={"type": "any"}),
    body(thinking={"type": "enabled", "budget_tokens": 1999}),
    body(thinking={"type": "adaptive", "display": "omitted"}),
    body(thinking={"type": "between_tools"}),
    body(output_config={"effort": "high", "format": {"type": "json_schema", "schema": {}}}),
    body(something_new={"a": [1]}, service_tier="auto"),
    body(image({"type": "base64", "media_type": "image/png", "data": "AAAA"})),
    body(image({"type": "url", "url": "https://example.org/a.png"})),
    body(image({"type": "file", "file_id": "f"})),
    body(says([{"type": "document", "source": {"type": "text", "data": "x"}, "title": None}])),
    body(USER, says([CALL], "assistant"), says([RESULT, {"type": "text", "text": "and?"}])),
    body(USER, says([CALL], "assistant"), USER, says([RESULT])),
    body(
        USER, says([CALL], "assistant"), says("note", "system"), says([{**RESULT, "content": []}])
    ),
    body(
        USER,
        says([{"type": "thinking", "thinking": "x", "signature": "y"}, CALL], "assistant"),
        says([{**RESULT, "content": [{"type": "text", "text": "x"}], "is_error": True}]),
    ),
    body(USER, says([{"type": "server_tool_use", "id": "s", "name": "web_search"}], "assistant")),
]


@pytest.mark.parametrize("good", GOOD)
def test_it_takes_what_the_vendors_own_clients_write(good: bytes) -> None:
    asked = schema.parse(good)
    assert asked.model == "m"
    decode_request(asked)


BAD: list[tuple[bytes, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b'{"model":"\xff","max_tokens":1,"messages":[]}', None),
    (body().replace(b"2000", b"NaN"), None),
    (body(x=1)[:-1] + b',"y":' + b"[" * 10_000, None),
    (body(model="-"), "model"),
    (body(model=""), "model"),
    (body(model=5), "model"),
    (body(messages="-"), "messages"),
    (body(messages=[]), "messages"),
    (body(messages="hello"), "messages"),
    (body(max_tokens="-"), "max_tokens"),
    (body(max_tokens=None), "max_tokens"),
    (body(max_tokens=0), "max_tokens"),
    (body(max_tokens=1.5), "max_tokens"),
    (body(max_tokens=True), "max_tokens"),
    (body(max_tokens="many"), "max_tokens"),
    (body(temperature=1.1), "temperature"),
    (body(temperature=-0.1), "temperature"),
    (body(temperature="hot"), "temperature"),
    (body(top_p=1.5), "top_p"),
    (body(top_k=-1), "top_k"),
    (body(stop_sequences=[""]), "stop_sequences[0]"),
    (body(stop_sequences="x"), "stop_sequences"),
    (body(stream="yes"), "stream"),
    (body(system=[{"type": "image"}]), "system[0].type"),
    (body(metadata={"user_id": 5}), "metadata.user_id"),
    (body(says("x", "tool")), "messages[0].role"),
    (body({"content": "x"}), "messages[0].role"),
    (body({"role": "user"}), "messages[0].content"),
    (body(USER, says(5)), "messages[1].content"),
    (body(says([{"type": "video"}])), "messages[0].content[0].type"),
    (body(says([{"text": "x"}])), "messages[0].content[0].type"),
    (body(says([{"type": "text"}])), "messages[0].content[0].text"),
    (body(says(["x"])), "messages[0].content[0]"),
    (body(says([RESULT], "system")), "messages[0].content[0].type"),
    (body(image({"type": "base64", "media_type": "image/bmp", "data": ""})),
     "messages[0].content[0].source.media_type"),
    (body(image({"type": "base64", "media_type": "image/png", "data": 5})),
     "messages[0].content[0].source.data"),
    (body(image({"type": "base64", "media_type": "image/png"})),
     "messages[0].content[0].source.data"),
    (body(image({"type": "ftp"})), "messages[0].content[0].source.type"),
    (body(tools=[{"name": "f"}]), "tools[0].input_schema"),
    (body(tools=[{"input_schema": {}}]), "tools[0].name"),
    (body(tools=[TOOL, TOOL]), "tools[1].name"),
    (body(tools=[TOOL], tool_choice={"type": "tool", "name": "g"}), "tool_choice.name"),
    (body(tool_choice={"type": "any"}), "tool_choice"),
    (body(tool_choice={"type": "some"}), "tool_choice.type"),
    (body(thinking={"type": "enabled"}), "thinking.budget_tokens"),
    (body(thinking={"type": "enabled", "budget_tokens": 1000}), "thinking.budget_tokens"),
    (body(thinking={"type": "enabled", "budget_tokens": 2000}), "thinking.budget_tokens"),
    (body(output_config={"format": {"type": "xml"}}), "output_config.format.type"),
    (body(says([CALL])), "messages[0].content[0].type"),
    (body(says([RESULT])), "messages[0].content[0].tool_use_id"),
    (body(USER, says([CALL], "assistant"), says([{**RESULT, "tool_use_id": "t2"}])),
     "messages[2].content[0].tool_use_id"),
    (body(USER, says([CALL], "assistant"), says([RESULT]), says("x", "assistant"), says([RESULT])),
     "messages[4].content[0].tool_use_id"),
    (body(USER, says([CALL], "assistant"), USER), "messages[1].content[0]"),
    (body(USER, says([CALL], "assistant")), "messages[1].content[0]"),
    (body(USER, says([CALL], "assistant"), USER, says("x", "assistant")), "messages[1].content[0]"),
    (body(USER, says([CALL, CALL], "assistant"), says([RESULT])), "messages[1].content[1].id"),
    (body(USER, says([RESULT], "assistant")), "messages[1].content[0].type"),
    (body(USER, says([{**CALL, "input": "x"}], "assistant"), says([RESULT])),
     "messages[1].content[0].input"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "param"), BAD)
def test_it_names_what_is_wrong(bad: bytes, param: str | None) -> None:
    schema.parse(body())
    with pytest.raises(InvalidRequest) as caught:
        schema.parse(bad)
    assert caught.value.param == param
    message = caught.value.message
    assert message.startswith(f"{param}: " if param else "The body ")
    assert "`" not in message
    assert "$" not in message


def test_it_says_what_was_expected() -> None:
    with pytest.raises(InvalidRequest) as caught:
        schema.parse(body(says(5)))
    expected = "messages[0].content: This must be a string or a list, not an integer."
    assert caught.value.message == expected


def test_words_of_the_client_are_not_taken_for_a_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        schema.parse(body(says("x", " - at `$.model`" * 100_000)))
    assert caught.value.param == "messages[0].role"
    assert len(caught.value.message) < 1_100


def test_a_request_has_a_bounded_number_of_parts() -> None:
    parts = [{"type": "text", "text": "x"}] * (MAX_PARTS - 1)
    schema.parse(body(says(parts)))
    with pytest.raises(InvalidRequest, match="100,000") as caught:
        schema.parse(body(says(parts), USER))
    assert caught.value.param == "messages"


def test_a_model_has_a_name_of_bounded_length() -> None:
    schema.parse(body(model="m" * 200))
    with pytest.raises(InvalidRequest, match="at most 200 characters") as caught:
        schema.parse(body(model="m" * 201))
    assert caught.value.param == "model"


def test_counting_needs_no_length_of_the_answer() -> None:
    assert schema.parse_count(body(max_tokens="-")).max_tokens is None
    with pytest.raises(InvalidRequest):
        schema.parse(body(max_tokens="-"))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_picture_is_not_copied(kind: Any) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 1000}
    asked = schema.parse(kind(body(image(source))))
    block = asked.messages[0].content[0]
    assert isinstance(block, schema.Image)
    assert isinstance(block.source, schema.ImageBytes)
    assert len(bytes(block.source.data)) == 1002


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b'{"type":"tool_use","id":"t1","name":"f","input":{"a":"\xff"}}',
         "messages[0].content[0].input"),
        (b'{"type":"image","source":{"type":"base64","media_type":"image/png","data":"\xff"}}',
         "messages[0].content[0].source.data"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text_are_found_when_they_are_read(content: bytes, param: str) -> None:
    answered = b',{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}'
    is_call = b"tool_use" in content
    text = b'{"model":"m","max_tokens":1,"messages":[{"role":"%b","content":[%b]}%b]}' % (
        b"assistant" if is_call else b"user",
        content,
        answered if is_call else b"",
    )
    decode_request(schema.parse(text.replace(b"\xff", b"x")))
    with pytest.raises(InvalidRequest) as caught:
        decode_request(schema.parse(text))
    assert caught.value.param == param
