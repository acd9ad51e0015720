"""A server to speak with, and endpoints that lead to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.tooling.mcp.servers import Peer, running_peer
from tooling.types import McpEndpoint, McpTarget, McpTransport


@pytest.fixture
def peer(loopback_allowed: None) -> Iterator[Peer]:
    """A server over both transports, in a thread of its own."""
    with running_peer() as found:
        yield found


@pytest.fixture(params=["streamable_http", "sse"])
def transport(request: pytest.FixtureRequest) -> McpTransport:
    chosen: McpTransport = request.param
    return chosen


@pytest.fixture
def endpoint(peer: Peer, transport: McpTransport) -> McpEndpoint:
    return endpoint_of(peer, transport)


def endpoint_of(
    peer: Peer, transport: McpTransport = "streamable_http", **fields: Any
) -> McpEndpoint:
    url = peer.sse_url if transport == "sse" else peer.url
    return McpEndpoint(server_id="m1", name="Orders", transport=transport, url=url, **fields)


def target_of(endpoint: McpEndpoint, tool_name: str, **fixed: Any) -> McpTarget:
    return McpTarget(endpoint, tool_name, fixed)
