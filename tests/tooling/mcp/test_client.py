"""Sessions with real servers, over both transports."""

from __future__ import annotations

from tests.tooling.mcp.conftest import target_of
from tests.tooling.mcp.servers import Peer
from tooling.mcp.client import call, list_tools
from tooling.types import McpEndpoint


async def test_it_lists_the_tools(endpoint: McpEndpoint) -> None:
    tools = {tool.name: tool for tool in await list_tools(endpoint)}
    assert list(tools) == [
        "order_status", "count", "picture", "everything", "broken", "slow", "big",
    ]  # fmt: skip
    assert tools["order_status"].description == "Tells where an order is."
    assert tools["order_status"].input_schema["required"] == ["number"]
    assert len({tool.digest for tool in tools.values()}) == len(tools)


async def test_it_calls_a_tool(endpoint: McpEndpoint, peer: Peer) -> None:
    result = await call(target_of(endpoint, "order_status"), {"number": "7"}, timeout_ms=5000)
    assert (result.code, result.output) == (200, "Order 7 is on its way.")
    assert peer.seen.calls == [("order_status", {"number": "7", "verbose": False})]
