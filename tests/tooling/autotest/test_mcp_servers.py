from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import User
from tests.tooling.autotest.conftest import cases_of, run_now
from tests.tooling.mcp.servers import Peer, running_peer
from tooling import tasks
from tooling.models import McpServer, RunStatus, Subject

pytestmark = pytest.mark.django_db(transaction=True)

CASES = ["Server Existence", "URL Allowed", "Connection", "Tools", "Changes"]


@pytest.fixture
def peer(loopback_allowed: None) -> Iterator[Peer]:
    with running_peer() as found:
        yield found


@pytest.fixture
def server(peer: Peer, alice: User) -> McpServer:
    return McpServer.objects.create(owner=alice, name="Orders", prefix="orders", url=peer.url)


def renamed(server: McpServer) -> None:
    """As if the server had had another list when it was approved."""
    digests = [*server.approved_digests[1:], "0" * 64]
    McpServer.objects.update(approved_digests=digests)


def test_it_lists_the_tools(server: McpServer) -> None:
    run = run_now(Subject.MCP, server.pk, server.owner)
    found = cases_of(run)
    assert list(found) == CASES
    assert run.status == RunStatus.PASSED, found
    assert "order_status" in found["Tools"][1]
    server.refresh_from_db()
    assert server.check_ok is True
    assert server.listed_at is not None


def test_it_reports_tools_that_changed(server: McpServer) -> None:
    run_now(Subject.MCP, server.pk, server.owner)
    server.refresh_from_db()
    renamed(server)
    found = cases_of(run_now(Subject.MCP, server.pk, server.owner))
    assert found["Tools"][0] is True
    assert found["Changes"][0] is False
    assert server.tools[0]["name"] in found["Changes"][1]


def test_it_reports_a_server_that_refuses(server: McpServer, peer: Peer) -> None:
    peer.refuses = 401
    run = run_now(Subject.MCP, server.pk, server.owner)
    found = cases_of(run)
    assert [passed for passed, _message in found.values()] == [True, True, False, False, False]
    server.refresh_from_db()
    assert (server.check_ok, server.check_message) == (False, found["Connection"][1])


def test_it_reports_an_address_that_nobody_allowed(server: McpServer, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    found = cases_of(run_now(Subject.MCP, server.pk, server.owner))
    assert found["URL Allowed"][0] is False
    assert found["Connection"][0] is False


def test_what_others_find_does_not_change_the_row(server: McpServer, bob: User) -> None:
    McpServer.objects.update(owner=None)
    run = run_now(Subject.MCP, server.pk, bob)
    assert cases_of(run)["Connection"][0] is True
    assert cases_of(run)["Changes"][0] is True
    server.refresh_from_db()
    assert (server.checked_at, server.tools) == (None, [])
    run_now(Subject.MCP, server.pk)
    server.refresh_from_db()
    assert server.tools


def test_old_lists_are_asked_for(server: McpServer) -> None:
    tasks.refresh_mcp_list(server.pk)
    server.refresh_from_db()
    first = server.checked_at
    assert first is not None
    tasks.refresh_mcp_list(server.pk)
    server.refresh_from_db()
    assert server.checked_at == first


def test_a_tool_that_cannot_be_read_awaits_nobodys_approval(
    server: McpServer, peer: Peer, bob: User
) -> None:
    tool = peer.server._tool_manager.get_tool("big")
    assert tool is not None
    tool.parameters = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
    run_now(Subject.MCP, server.pk, server.owner)
    McpServer.objects.update(owner=None)
    found = cases_of(run_now(Subject.MCP, server.pk, bob))
    assert found["Tools"][1].startswith("6 tools")
    assert found["Changes"][0] is True
