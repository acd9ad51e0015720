"""Answers and requests that are passed on within the dialect."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.messages.relay import StreamRelay, relay_answer, relay_request
from gateway.dialects.messages.schema import parse
from gateway.dialects.sse import TooLong
from gateway.neutral import Usage
from tests.gateway.dialects.messages import streams


def relayed(stream: str | bytes, size: int = 0) -> tuple[bytes, StreamRelay]:
    relay = StreamRelay(public_model="öffentlich")
    out = [relay.push(piece) for piece in streams.pieces(stream, size)]
    return b"".join([*out, relay.close()]), relay


@pytest.mark.parametrize("name", streams.ALL)
@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_it_changes_the_models_name_and_nothing_else(name: str, size: int, end: str) -> None:
    stream = streams.ALL[name].replace("\n", end)
    out, relay = relayed(stream, size)
    expected = stream.replace("upstream-model-1", "öffentlich").encode()
    # After an error nothing is passed on any more, not even the other half of its last line's end.
    assert out == expected or (name == "failing" and out + b"\n" == expected)
    assert relay.is_complete == (name != "failing")


@pytest.mark.parametrize("size", [0, 1, 7])
def test_it_sees_what_an_answer_took(size: int) -> None:
    _, relay = relayed(streams.THINKING, size)
    assert relay.usage == Usage(125, 30, cache_read_tokens=100, cache_write_tokens=20)
    assert relay.seen_chars == len("Let me think.42")
    assert relay.failed is None


def test_it_knows_when_it_was_told_nothing_of_usage() -> None:
    _, relay = relayed(streams.SLOPPY)
    assert relay.usage is None
    assert relay.is_complete


def test_it_passes_every_whole_event_on_at_once() -> None:
    relay = StreamRelay(public_model="m")
    for event in streams.TEXT.split("\n\n")[:-1]:
        assert relay.push(event.encode()) == b""
        assert relay.push(b"\n\n").endswith(b"\n\n")


@pytest.mark.parametrize("size", [0, 1, 7])
def test_it_tells_the_client_that_a_stream_broke_off(size: int) -> None:
    whole = streams.TEXT.split("event: message_delta")[0]
    out, relay = relayed(whole + 'event: content_block_delta\ndata: {"type":"conte', size)
    passed, error = out.decode().split("event: error\ndata: ")
    assert passed == whole.replace("upstream-model-1", "öffentlich")
    assert json.loads(error)["error"]["type"] == "upstream_error"
    assert relay.failed is not None
    assert not relay.is_complete
    assert relay.usage == Usage(25, 3)  # what it wrote is estimated


def test_it_ends_a_stream_once() -> None:
    _, relay = relayed(streams.start())
    assert relay.close() == b""
    assert relay.push(b"data: 1\n\n") == b""


def test_it_tells_an_error_of_the_upstream_in_its_words() -> None:
    out, relay = relayed(streams.FAILING)
    assert out.decode().endswith(streams.FAILING[-60:])
    assert relay.failed
    assert relay.failed.type == "overloaded_error"
    assert relay.close() == b""


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("authentication_error", "invalid x-api-key"),
        ("api_error", "used sk-ant-api03-secretsecret"),
        ("invalid_request_error", "Your credit balance is too low"),
    ],
)
def test_it_keeps_our_account_with_the_upstream_to_itself(kind: str, message: str) -> None:
    error = streams.event("error", error={"type": kind, "message": message})
    out, relay = relayed(streams.start() + error)
    assert message.encode() not in out
    assert b"secretsecret" not in out
    assert b'event: error\ndata: {"type":"error"' in out
    assert relay.failed
    assert relay.failed.status == 502


def test_it_keeps_no_endless_event() -> None:
    relay = StreamRelay(public_model="m")
    relay.push(streams.start().encode())
    with pytest.raises(TooLong):
        relay.push(b"data: " + b"x" * 9 * 2**20)
    assert b"event: error" in relay.close()
    assert relay.failed


def test_a_start_in_several_lines_is_renamed_as_well() -> None:
    stream = 'data: {"type":"message_start",\ndata: "message":{"model":"upstream-model-1"}}\n\n'
    out, _ = relayed(stream + streams.end("end_turn"))
    assert b"upstream-model-1" not in out
    assert "öffentlich".encode() in out


# --- Whole answers and requests -------------------------------------------------------------------


def test_a_whole_answer_changes_its_models_name_only() -> None:
    body = (
        b'{ "model": "up", "content":[{"type":"text","text":"model"}],\n'
        b'"usage":{"input_tokens":2,"output_tokens":3}}'
    )
    out, usage = relay_answer(body, public_model="mine")
    assert out == body.replace(b'"up"', b'"mine"')
    assert usage == Usage(2, 3)


def test_an_answer_without_its_models_name_is_passed_on_as_it_is() -> None:
    body = b'{"content":[{"type":"text","model":"x"}],"usage":{"input_tokens":2}}'
    assert relay_answer(body, public_model="mine") == (body, Usage(2))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"type":"error","error":{}}'])
def test_what_is_no_answer_has_no_usage(body: bytes) -> None:
    assert relay_answer(body, public_model="mine") == (body, None)


def test_a_request_changes_its_models_name_only() -> None:
    body = (
        b'{"max_tokens": 5,"messages":[{"role":"user","content":"\\"model\\":\\u4f60"}],'
        b'"model" : "mine", "new": {"model": 1}}'
    )
    out = b"".join(relay_request(body, parse(body), model="up"))
    assert out == body.replace(b'"mine"', b'"up"')
