"""Requests and answers that are passed on within the dialect."""

from __future__ import annotations

import itertools
import json
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.chat_completions.relay import StreamRelay, relay_answer, relay_request
from gateway.dialects.chat_completions.schema import parse
from gateway.neutral import Usage
from tests.gateway.dialects.chat_completions import streams
from tests.gateway.dialects.chat_completions.streams import DONE, chunk, event, usage_chunk
from tests.gateway.dialects.chat_completions.test_encode_answers import read

PUBLIC = "öffentlich “1”"


def relayed(stream: bytes, size: int = 0, *, wants_usage: bool = True) -> tuple[bytes, StreamRelay]:
    relay = StreamRelay(public_model=PUBLIC, wants_usage=wants_usage)
    out = [relay.push(piece) for piece in streams.pieces(stream, size)]
    return b"".join([*out, relay.close()]), relay


def renamed(stream: bytes) -> bytes:
    return stream.replace(streams.UPSTREAM.encode(), PUBLIC.encode())


class TestStreams:
    @pytest.mark.parametrize("name", streams.ALL)
    @pytest.mark.parametrize("size", [0, 1, 7])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_the_models_name_is_changed_and_nothing_else(
        self, name: str, size: int, end: bytes
    ) -> None:
        stream = streams.ALL[name].replace(b"\n", end)
        out, relay = relayed(stream, size)
        assert out == renamed(stream)
        assert relay.is_complete
        assert relay.failed is None

    @settings(deadline=None)
    @given(st.lists(st.integers(0, len(streams.TOOLS)), max_size=40))
    def test_it_may_be_cut_anywhere(self, cuts: list[int]) -> None:
        relay = StreamRelay(public_model=PUBLIC, wants_usage=False)
        bounds = [0, *sorted(cuts), len(streams.TOOLS)]
        out = [relay.push(streams.TOOLS[start:end]) for start, end in itertools.pairwise(bounds)]
        expected = renamed(streams.TOOLS.replace(usage_chunk(), b""))
        assert b"".join([*out, relay.close()]) == expected
        assert relay.usage == Usage(12, 5)

    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_usage_is_seen_and_shown_only_to_those_who_want_it(self, size: int) -> None:
        shown, relay = relayed(streams.TEXT, size)
        assert shown == renamed(streams.TEXT)
        hidden, other = relayed(streams.TEXT, size, wants_usage=False)
        assert hidden == renamed(streams.TEXT).replace(renamed(usage_chunk()), b"")
        assert relay.usage == other.usage == Usage(12, 5)

    def test_usage_within_a_chunk_that_says_more_stays(self) -> None:
        stream = chunk({"content": "Hi"}, usage=streams.USAGE)
        stream += chunk({}, "stop", usage=None) + DONE
        out, relay = relayed(stream, wants_usage=False)
        assert out == renamed(stream)
        assert relay.usage == Usage(12, 5)

    def test_a_first_chunk_without_choices_is_no_usage(self) -> None:
        first = event({"choices": [], "model": "", "prompt_filter_results": []})
        out, _ = relayed(first + streams.TEXT, wants_usage=False)
        assert out.startswith(first.replace(b'"model":""', b'"model":"%b"' % PUBLIC.encode()))

    def test_it_is_complete_only_when_the_usage_has_come(self) -> None:
        relay = StreamRelay(public_model=PUBLIC, wants_usage=True)
        seen = []
        for each in (chunk({"content": "Hi"}), chunk({}, "stop"), usage_chunk(), DONE):
            relay.push(each)
            seen.append((relay.is_complete, relay.usage))
        assert seen == [
            (False, None),
            (False, None),
            (False, Usage(12, 5)),
            (True, Usage(12, 5)),
        ]

    def test_what_was_written_is_counted(self) -> None:
        assert relayed(streams.THINKING)[1].seen_chars == len("Hm. So.42")
        assert relayed(streams.TOOLS)[1].seen_chars == len('{"city":"Rome"}{}')

    def test_whole_events_go_on_at_once(self) -> None:
        relay = StreamRelay(public_model=PUBLIC, wants_usage=True)
        one = chunk({"content": "Hi"})
        assert relay.push(one + one[:20]) == renamed(one)
        assert relay.push(one[20:]) == renamed(one)

    @pytest.mark.parametrize(
        "said",
        [
            {"content": f'","model":"{streams.UPSTREAM}x","'},
            {"content": '{"model":"other"}'},
            {"content": "\\", "model": "inner"},
        ],
    )
    def test_what_looks_like_the_models_name_stays(self, said: dict[str, Any]) -> None:
        # Also where the name was seen before, and where it stands behind what was said.
        for stream in (
            chunk({"content": "Hi"}) + chunk(said),
            event({"choices": [{"delta": said, "index": 0}], "model": "m"}),
        ):
            out, _ = relayed(stream + chunk({}, "stop") + DONE)
            payloads = [line[6:] for line in out.split(b"\n\n") if line[6:7] == b"{"]
            told = [json.loads(payload) for payload in payloads]
            assert all(each["model"] == PUBLIC for each in told)
            assert said in [each["choices"][0]["delta"] for each in told]

    def test_an_id_that_changes_does_no_harm(self) -> None:
        stream = b"".join(
            event({"id": str(number), "model": streams.UPSTREAM, "choices": []})
            for number in range(9)
        )
        assert relayed(stream + streams.TEXT)[0] == renamed(stream + streams.TEXT)

    def test_an_event_that_is_not_understood_is_passed_on(self) -> None:
        odd = b'data: {"model":"m","choices":"none"}\n\ndata: what\n\n'
        out, relay = relayed(odd + streams.TEXT)
        assert out == odd.replace(b'"m"', b'"%b"' % PUBLIC.encode()) + renamed(streams.TEXT)
        assert relay.is_complete


class TestEnds:
    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_a_stream_that_was_cut_off_ends_in_an_error(self, size: int) -> None:
        out, relay = relayed(streams.FIRST + chunk({"content": "Hi"})[:-30], size)
        assert relay.failed is not None
        assert not relay.is_complete
        assert out.startswith(renamed(streams.FIRST) + b'data: {"type":"error"')
        with pytest.raises(openai.APIError, match="broke off"):
            read(out)

    def test_what_followed_an_end_that_came_is_no_failure(self) -> None:
        stream = chunk({"content": "Hi"}) + chunk({}, "stop")
        out, relay = relayed(stream)
        assert out == renamed(stream)
        assert relay.is_complete

    def test_an_end_without_a_blank_line_is_one(self) -> None:
        out, relay = relayed(streams.TEXT.rstrip())
        assert out == renamed(streams.TEXT.rstrip())
        assert relay.is_complete
        stream = chunk({"content": "Hi"}).rstrip()
        out, relay = relayed(stream)
        assert out.startswith(renamed(stream) + b"\n\ndata: ")
        assert relay.failed is not None

    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_an_error_in_the_middle_is_told_without_keys_and_ends_the_stream(
        self, size: int
    ) -> None:
        said = {"error": {"message": "no quota for sk-abcdef123456", "code": 429}}
        stream = chunk({"content": "Hi"}) + event(said) + chunk({"content": "more"}) + DONE
        out, relay = relayed(stream, size)
        assert relay.failed is not None
        assert relay.failed.type == "rate_limit_error"
        assert b"sk-abc" not in out
        assert b"more" not in out
        with pytest.raises(openai.APIError):
            read(out)

    def test_an_endless_event_ends_in_an_error(self) -> None:
        relay = StreamRelay(public_model=PUBLIC, wants_usage=True)
        out = b"".join(relay.push(b"data: " + b"x" * 2**20) for _ in range(9))
        assert out.startswith(b'data: {"type":"error"')
        assert relay.close() == b""


class TestWholeAnswers:
    def test_the_models_name_is_changed_and_the_usage_seen(self) -> None:
        body = b'{ "model" : "a", "choices":[{"message":{"content":"\\"model\\""}}],'
        body += b'"usage":{"prompt_tokens":3,"completion_tokens":4},"x":1.50}'
        out, usage = relay_answer(body, public_model="p")
        assert out == body.replace(b'"a"', b'"p"')
        assert usage == Usage(3, 4)

    @pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"choices":[]}'])
    def test_what_is_no_answer_stays_as_it_is(self, body: bytes) -> None:
        assert relay_answer(body, public_model="p") == (body, None)


class TestRequests:
    def sent(self, body: bytes) -> Any:
        pieces = relay_request(body, parse(body), model="upstream")
        assert all(isinstance(piece, bytes | memoryview) for piece in pieces)
        return b"".join(pieces)

    def test_the_models_name_is_changed_and_nothing_else(self) -> None:
        body = '{ "messages":[{"role":"user","content":"\\"model\\" 早"}],  "model" : "p", "é":1.0}'
        assert self.sent(body.encode()) == body.replace('"p"', '"upstream"').encode()

    @pytest.mark.parametrize(
        ("options", "sent"),
        [
            ("", {"include_usage": True}),
            (',"stream_options":null', {"include_usage": True}),
            (',"stream_options":{}', {"include_usage": True}),
            (',"stream_options":{"include_usage":true}', {"include_usage": True}),
            (
                ',"stream_options":{"include_usage":false,"include_obfuscation":false}',
                {"include_usage": True, "include_obfuscation": False},
            ),
        ],
    )
    def test_streams_are_asked_for_their_usage(self, options: str, sent: dict[str, bool]) -> None:
        asking = '{"model":"p","stream":true,"messages":[{"role":"user","content":"Hi"}]%s}'
        body = json.loads(self.sent((asking % options).encode()))
        assert body["stream_options"] == sent
        assert body["model"] == "upstream"
        assert body["messages"] == [{"role": "user", "content": "Hi"}]

    def test_a_large_body_is_not_copied(self) -> None:
        body = b'{"messages":[{"role":"user","content":"%b"}],"model":"p"}' % (b"x" * 10**6)
        pieces = relay_request(body, parse(body), model="upstream")
        large = max(pieces, key=len)
        assert isinstance(large, memoryview)
        assert large.obj is body
