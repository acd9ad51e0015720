"""No MCP server leads inwards, and none is shown what is meant for another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import AppError, OutboundRefused
from tests.security.peers import HOSTILE_URLS, Peer, Reply, peers, resolve_inwards
from tests.tooling.mcp.servers import listening, running_peer
from tooling.mcp.client import call, list_tools
from tooling.types import McpEndpoint, McpTarget, McpTransport

TOKEN = "mcp-0123456789abcdef"
TRANSPORTS: list[McpTransport] = ["streamable_http", "sse"]


def endpoint(url: str, transport: McpTransport = "streamable_http") -> McpEndpoint:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return McpEndpoint("m1", "Orders", transport, url=url, headers=headers)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_no_session_reaches_a_private_address(
    peer: Peer, transport: McpTransport, url: str
) -> None:
    hostile = endpoint(url.format(port=peer.port), transport)
    with pytest.raises(AppError):
        await list_tools(hostile)
    result = await call(McpTarget(hostile, "order_status"), {}, timeout_ms=2000)
    assert result.code >= 400
    assert result.output == ""
    assert peer.connections == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_reaches_what_an_operator_allowed(
    settings: Any, transport: McpTransport
) -> None:
    with running_peer() as real:
        url = real.sse_url if transport == "sse" else real.url
        with pytest.raises(OutboundRefused):
            await list_tools(endpoint(url, transport))
        assert real.seen.requests == []
        settings.OUTBOUND_ALLOW = [real.base_url.removeprefix("http://")]
        assert await list_tools(endpoint(url, transport))
        assert real.seen.header("authorization") == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_name_leads_inwards(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, settings: Any, transport: McpTransport
) -> None:
    asked = resolve_inwards(monkeypatch)
    inwards = endpoint(f"http://rebinding.example:{peer.port}/mcp", transport)
    with pytest.raises(OutboundRefused) as refused:
        await list_tools(inwards)
    assert "127.0.0.1" not in refused.value.message
    assert asked == ["rebinding.example"]
    assert peer.connections == 0
    settings.OUTBOUND_ALLOW = [peer.host]
    with pytest.raises(AppError):
        await list_tools(inwards)
    assert peer.connections > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [302, 307])
async def test_no_redirect_takes_a_session_elsewhere(
    two_peers: list[Peer], settings: Any, transport: McpTransport, status: int
) -> None:
    first, other = two_peers
    # Even where the other address is allowed: what was sent was meant for the first.
    settings.OUTBOUND_ALLOW = [first.host, other.host]
    first.reply = Reply(b"", status, {"Location": f"{other.url}/mcp"})
    with pytest.raises(AppError):
        await list_tools(endpoint(f"{first.url}/mcp", transport))
    assert first.connections > 0
    assert other.connections == 0


class Announcing:
    """An SSE server that names an address for the client's messages; one that is not its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.posts = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.method == "POST":
            self.posts += 1
            await Response(status_code=202)(scope, receive, send)
            return

        async def events() -> Any:
            yield f"event: endpoint\ndata: {self.address}\n\n"
            # Cancelled when the client leaves.
            await asyncio.Event().wait()

        await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)


async def test_no_server_sends_a_session_elsewhere(settings: Any) -> None:
    with peers(1) as (other,):
        for address in (
            f"{other.url}/messages",
            f"//{other.host}/messages",
            "http://169.254.169.254/latest",
            f"http:\\\\{other.host}/messages",
        ):
            with listening(Announcing(address)) as base_url:
                settings.OUTBOUND_ALLOW = [base_url.removeprefix("http://"), other.host]
                target = McpTarget(endpoint(f"{base_url}/sse", "sse"), "order_status")
                assert (await call(target, {}, timeout_ms=1000)).code >= 400
        assert TOKEN not in str(other.seen)
        assert other.connections == 0
    # Its own address is where a server may send a session.
    own = Announcing("/messages")
    with listening(own) as base_url:
        settings.OUTBOUND_ALLOW = [base_url.removeprefix("http://")]
        target = McpTarget(endpoint(f"{base_url}/sse", "sse"), "order_status")
        await call(target, {}, timeout_ms=1000)
        assert own.posts > 0


async def test_no_session_is_shared(settings: Any) -> None:
    with running_peer() as real:
        settings.OUTBOUND_ALLOW = [real.base_url.removeprefix("http://")]
        whose = [
            McpEndpoint("m1", "Orders", "streamable_http", url=real.url, headers={"X-User": name})
            for name in ("alice", "bob")
        ]
        results = await asyncio.gather(
            *(
                call(McpTarget(each, "order_status"), {"number": each.headers["X-User"]},
                     timeout_ms=5000)
                for each in whose * 5
            )
        )  # fmt: skip
        assert [result.output for result in results] == [
            f"Order {name} is on its way." for name in ["alice", "bob"] * 5
        ]
        users_of: dict[str, set[str]] = {}
        for _verb, _path, headers in real.seen.requests:
            if session := headers.get("mcp-session-id"):
                users_of.setdefault(session, set()).add(headers["x-user"])
        assert len(users_of) == 10
        assert all(len(users) == 1 for users in users_of.values())


async def test_no_header_of_a_session_has_two_lines(settings: Any) -> None:
    with running_peer() as real:
        settings.OUTBOUND_ALLOW = [real.base_url.removeprefix("http://")]
        split = McpEndpoint(
            "m1", "O", "streamable_http", url=real.url, headers={"X-A": "a\r\nX-Admin: yes"}
        )
        result = await call(McpTarget(split, "order_status"), {"number": "1"}, timeout_ms=5000)
        assert result.code >= 400
        assert "yes" not in {headers.get("x-admin") for _v, _p, headers in real.seen.requests}
        whole = McpEndpoint("m1", "O", "streamable_http", url=real.url, headers={"X-A": "a"})
        done = await call(McpTarget(whole, "order_status"), {"number": "1"}, timeout_ms=5000)
        assert done.code == 200


async def test_no_result_is_larger_than_a_session_may_bring(settings: Any) -> None:
    with running_peer() as real:
        settings.OUTBOUND_ALLOW = [real.base_url.removeprefix("http://")]
        target = McpTarget(endpoint(real.url), "big")
        refused = await call(target, {"size": 9 * 1024 * 1024}, timeout_ms=10_000)
        assert refused.code >= 400
        assert len(refused.output) < 1000
        assert (await call(target, {"size": 1000}, timeout_ms=5000)).output == "x" * 1000
