"""What a model, a tool's author or a service can put into a request and its answer."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from tests.security.peers import Peer, Reply, peers
from tests.security.test_outbound_tools import call
from tooling.types import HttpMethod, HttpTarget, Secret

KEY = "sk-live/0123+456789=ü"
PLAIN_KEY = "sk-live-0123456789"


@pytest.fixture(autouse=True)
def _allowed(peer: Peer, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]


def secret(peer: Peer, value: str = PLAIN_KEY, *, host: str = "") -> Secret:
    return Secret("api_key", host or peer.host, value)


def target(peer: Peer, path: str = "/", method: HttpMethod = "GET", **fields: Any) -> HttpTarget:
    return HttpTarget(method, peer.url + path, **fields)


# --- Arguments stay what they are ---------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nX-Admin: yes", "a\nX-Admin: yes", "a\rX-Admin: yes", "a\r\n\r\nGET /admin HTTP/1.1",
        "a\x00b", "a\x0bX-Admin: yes", "a\u2028X-Admin: yes", "a\u0085X-Admin: yes",
        "a%0d%0aX-Admin: yes", "嘊嘍X-Admin: yes", "a\x7f",
    ],
)  # fmt: skip
async def test_no_argument_adds_a_header(peer: Peer, value: str) -> None:
    tool = target(peer, headers={"X-Order": "no. {order}"})
    await call(tool, order=value)
    assert len(peer.seen) <= 1
    for seen in peer.seen:
        assert "x-admin" not in seen.headers
        assert seen.target == "/"
        assert len(seen.headers["x-order"]) == 1
        assert seen.headers["x-order"][0].startswith("no. ")
    await call(tool, order="A-1")
    assert peer.seen[-1].headers["x-order"] == ["no. A-1"]


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "X\r\nA", "X: a", "", "X A"],
)
async def test_no_tool_frames_its_request_itself(peer: Peer, name: str) -> None:
    refused = await call(target(peer, headers={name: "other.example"}))
    assert refused.code == 400
    assert peer.connections == 0
    assert (await call(target(peer, headers={"X-A": "other.example"}))).code == 200


@pytest.mark.parametrize(
    "value", ["x&admin=1", "x#", "x=1;admin=1", "x%26admin%3D1", "x\r\n", "a+b c", "?", "ü"]
)
async def test_no_argument_adds_to_a_query(peer: Peer, value: str) -> None:
    for tool in (target(peer, "/find?q={q}&limit=5"), target(peer, "/find?limit=5")):
        await call(tool, q=value)
        pairs = parse_qsl(urlsplit(peer.seen[-1].target).query, keep_blank_values=True)
        assert sorted(pairs) == [("limit", "5"), ("q", value)]


@pytest.mark.parametrize(
    "value",
    ['", "admin": true, "x": "', '"}', "\\", '\\", "admin": "', "\n", "{", "\u2028", "{name}", 7],
)
async def test_no_argument_adds_to_a_body(peer: Peer, value: Any) -> None:
    body = '{"name": "Dear {name}!", "raw": {name}, "fixed": 1}'
    await call(target(peer, method="POST", body=body), name=value)
    sent = json.loads(peer.seen[-1].body)
    assert sent == {"name": f"Dear {value}!", "raw": value, "fixed": 1}


async def test_no_argument_is_filled_in_again(peer: Peer) -> None:
    tool = target(
        peer,
        "/say/{words}?also={words}",
        "POST",
        headers={"Authorization": "Bearer {api_key}", "X-Words": "{words}"},
        body='{"words": "{words}", "list": {list}}',
        secrets=(secret(peer),),
    )
    await call(tool, words="{api_key}", list=["{api_key}", {"{api_key}": "{api_key}"}])
    seen = peer.seen[-1]
    assert seen.headers["authorization"] == [f"Bearer {PLAIN_KEY}"]
    rest = str([seen.target, seen.body, seen.headers["x-words"]])
    assert PLAIN_KEY not in rest
    assert json.loads(seen.body) == {
        "words": "{api_key}",
        "list": ["{api_key}", {"{api_key}": "{api_key}"}],
    }


async def test_no_secret_is_filled_in_again(peer: Peer) -> None:
    tool = target(
        peer,
        headers={"Authorization": "Bearer {api_key}"},
        secrets=(secret(peer, "{other}-0123"), Secret("other", peer.host, "of-another-0123")),
    )
    await call(tool)
    assert peer.seen[-1].headers["authorization"] == ["Bearer {other}-0123"]


async def test_no_argument_takes_the_place_of_a_secret(peer: Peer) -> None:
    tool = target(peer, headers={"Authorization": "Bearer {api_key}"}, secrets=(secret(peer),))
    await call(tool, api_key="of the model")
    assert peer.seen[-1].headers["authorization"] == [f"Bearer {PLAIN_KEY}"]
    assert "of" not in peer.seen[-1].target


# --- Secrets stay where they belong --------------------------------------------------------------


async def test_no_secret_goes_to_a_changed_host(peer: Peer) -> None:
    with peers(1) as (thief,):
        tool = target(thief, "/?k={api_key}", headers={"X-Key": "{api_key}"})
        tool_with = HttpTarget("GET", tool.url, tool.headers, secrets=(secret(peer),))
        result = await call(tool_with)
        assert result.code == 400
        assert PLAIN_KEY not in result.message + result.output
        assert thief.connections == 0
    allowed = target(peer, "/?k={api_key}", headers={"X-Key": "{api_key}"}, secrets=(secret(peer),))
    await call(allowed)
    assert peer.seen[-1].target == f"/?k={PLAIN_KEY}"
    assert peer.seen[-1].headers["x-key"] == [PLAIN_KEY]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_a_secret_along(peer: Peer, settings: Any, status: int) -> None:
    with peers(1) as (thief,):
        settings.OUTBOUND_ALLOW = [peer.host, thief.host]
        peer.reply = Reply(b"", status, {"Location": f"{thief.url}/?from=peer"})
        tool = target(
            peer,
            "/?key={api_key}",
            "POST",
            headers={"Authorization": "Bearer {api_key}", "X-Shop": "{api_key}"},
            body='{"key": "{api_key}"}',
            secrets=(secret(peer),),
        )
        await call(tool)
        assert PLAIN_KEY in str(peer.seen[0])
        assert PLAIN_KEY not in str(thief.seen)


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        quote(KEY, safe=""),
        quote(KEY),
        json.dumps(KEY)[1:-1],
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
    ],
)
@pytest.mark.parametrize("status", [200, 401])
async def test_no_answer_shows_a_secret(peer: Peer, echo: str, status: int) -> None:
    peer.reply = Reply(f"You sent {echo} to us".encode(), status, {"Content-Type": "text/plain"})
    tool = target(peer, "/?key={api_key}", secrets=(secret(peer, KEY),))
    result = await call(tool)
    shown = result.output + result.message
    assert "You sent" in shown
    assert echo not in shown
    assert KEY not in shown
    other = await call(target(peer, "/?key={api_key}", secrets=(secret(peer, "of-nobody-01"),)))
    assert echo in other.output + other.message


async def test_no_answer_shows_a_secret_header(peer: Peer) -> None:
    peer.reply = Reply(f"Bad key {PLAIN_KEY}".encode(), 401, {"Content-Type": "text/plain"})
    result = await call(target(peer, headers={"Authorization": f"Bearer {PLAIN_KEY}"}))
    assert peer.seen[-1].headers["authorization"] == [f"Bearer {PLAIN_KEY}"]
    assert "Bad key" in result.output
    assert PLAIN_KEY not in result.output + result.message


# --- Answers stay small --------------------------------------------------------------------------


async def test_an_answer_over_a_mebibyte_is_not_read(peer: Peer) -> None:
    peer.reply = Reply(b"x" * (1024 * 1024 + 1), 200, {"Content-Type": "text/plain"})
    refused = await call(target(peer))
    assert refused.code >= 400
    assert refused.output == ""
    peer.reply = Reply(b"x" * (1024 * 1024), 200, {"Content-Type": "text/plain"})
    shown = await call(target(peer))
    assert shown.code == 200
    assert len(shown.output.encode()) <= 8000
    assert "[cut" in shown.output


async def test_no_answer_unfolds(peer: Peer) -> None:
    packed = gzip.compress(b"x" * 10_000_000)
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    peer.reply = Reply(packed, 200, headers)
    assert (await call(target(peer))).code >= 400
    peer.reply = Reply(b"x", 200, {"Content-Type": "text/plain"})
    assert (await call(target(peer))).output == "x"


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"a":' * 100_000, b"1" * 1_000_000, b"NaN"])
async def test_an_answer_that_is_a_trap_for_parsers_is_refused(peer: Peer, body: bytes) -> None:
    tool = target(peer, result_pointer="/a")
    peer.reply = Reply(body)
    assert (await call(tool)).code == 502
    peer.reply = Reply(b'{"a": "b"}')
    assert (await call(tool)).output == "b"


@pytest.mark.parametrize("charset", ["rot13", "zlib", "idna", "punycode", "unknown", "utf-7"])
async def test_no_charset_is_a_program(peer: Peer, charset: str) -> None:
    peer.reply = Reply(b"plain", 200, {"Content-Type": f"text/plain; charset={charset}"})
    assert (await call(target(peer))).output == "plain"
