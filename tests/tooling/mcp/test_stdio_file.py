"""Servers that are processes: from the operator's file and from nowhere else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from rest_framework.test import APIClient

from assistants.models import Assistant
from assistants.runtime import load_runtime
from config.first_start import prepare
from core.errors import Conflict, InvalidRequest
from tooling.mcp.listing import due_for_listing, mcp_specs, refresh
from tooling.mcp.stdio_file import GONE, sync_stdio_servers
from tooling.mcp_actions import create_server, delete_server, update_server
from tooling.models import McpServer, Transport
from tooling.types import McpTarget

pytestmark = pytest.mark.django_db

TIME = str(Path(sys.executable).parent / "mcp-server-time")
SERVERS = {"time": {"command": TIME, "args": ["--local-timezone", "UTC"], "env": {"A": "b"}}}


@pytest.fixture
def write(settings: Any, tmp_path: Path) -> Any:
    """Writes the operator's file, which the setting names."""
    path = tmp_path / "mcp.json"

    def written(servers: Any) -> None:
        path.write_text(json.dumps({"mcpServers": servers}))
        settings.MCP_STDIO_FILE = str(path)

    return written


@pytest.fixture
def row(write: Any) -> McpServer:
    write(SERVERS)
    sync_stdio_servers()
    return McpServer.objects.get()


def test_a_server_of_the_file_becomes_a_system_row(row: McpServer) -> None:
    assert (row.pk, row.owner, row.prefix, row.name) == ("stdio-time", None, "time", "time")
    assert (row.transport, row.url, row.headers) == (Transport.STDIO, "", {})


def test_the_row_holds_no_command(row: McpServer) -> None:
    stored = McpServer.objects.filter(pk=row.pk).values().get()
    assert TIME not in str(stored)
    assert "--local-timezone" not in str(stored)


def test_its_tools_are_listed_and_offered(row: McpServer) -> None:
    listed = refresh(row)
    assert (listed.check_ok, listed.check_message) == (True, "2 tools.")
    spec = mcp_specs([listed])[0]
    assert spec.id == "time__get_current_time"
    assert isinstance(spec.target, McpTarget)
    assert spec.target.endpoint.command == (TIME, "--local-timezone", "UTC")
    assert spec.target.endpoint.environment == {"A": "b"}


def test_every_start_reads_the_file(
    row: McpServer, write: Any, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    write({"time": {**SERVERS["time"], "name": "Clock", "timeout_ms": 5000}, "b": {"command": "b"}})
    prepare()
    assert set(McpServer.objects.values_list("pk", "name", "timeout_ms")) == {
        ("stdio-time", "Clock", 5000), ("stdio-b", "b", 30_000),
    }  # fmt: skip


def test_what_could_not_be_started_is_soon_asked_again_after_a_start(
    row: McpServer, write: Any
) -> None:
    write({"time": {"command": "/nowhere/mcp"}})
    assert refresh(row).check_ok is False
    assert not due_for_listing().exists()
    write(SERVERS)
    sync_stdio_servers()
    assert due_for_listing().get().check_message == ""


def test_what_left_the_file_is_not_run_any_more(row: McpServer, write: Any) -> None:
    listed = refresh(row)
    assistant = Assistant.objects.create(name="Anna")
    assistant.set_mcp_servers([row.pk])
    assert len(load_runtime(assistant.pk).tools) == 2
    write({})
    assert load_runtime(assistant.pk).tools == ()
    assert refresh(listed).check_message == GONE
    sync_stdio_servers()
    row.refresh_from_db()
    assert (row.check_ok, row.check_message) == (False, GONE)
    write(SERVERS)
    sync_stdio_servers()
    assert len(load_runtime(assistant.pk).tools) == 2


def test_a_row_that_says_it_is_a_process_is_none_without_the_file(write: Any) -> None:
    write(SERVERS)
    forged = McpServer.objects.create(
        name="time", prefix="x", transport=Transport.STDIO, url="sh -c id", listed_at=None
    )
    assert refresh(forged).check_message == GONE
    assert mcp_specs([forged]) == ()


def test_a_prefix_that_is_taken_gets_a_number(write: Any) -> None:
    create_server(None, {"name": "Time", "prefix": "time", "url": "https://a.test/mcp"})
    write(SERVERS)
    sync_stdio_servers()
    assert McpServer.objects.get(pk="stdio-time").prefix == "time_2"


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ({"time": {"args": []}}, "command"),
        ({"time": {"command": "a", "typo": 1}}, "typo"),
        ({"time": {"command": "a", "env": {"KEY": ["hidden-value"]}}}, "env.KEY"),
        ({"ti me": {"command": "a"}}, "ti me"),
        ({"time": {"command": ""}}, "command"),
        ("text", "mcpServers"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_without_its_values(
    write: Any, servers: Any, said: str
) -> None:
    write(servers)
    with pytest.raises(ImproperlyConfigured, match="MCP_STDIO_FILE") as error:
        sync_stdio_servers()
    assert said in str(error.value)
    assert "hidden-value" not in str(error.value)
    write(SERVERS)
    sync_stdio_servers()


def test_a_missing_file_is_refused_by_name(settings: Any, tmp_path: Path) -> None:
    settings.MCP_STDIO_FILE = str(tmp_path / "none.json")
    with pytest.raises(ImproperlyConfigured, match=r"none\.json"):
        sync_stdio_servers()
    settings.MCP_STDIO_FILE = ""
    sync_stdio_servers()
    assert not McpServer.objects.exists()


@pytest.mark.parametrize(
    "values",
    [{"transport": "stdio"}, {"transport": "stdio", "url": "sh -c id"}, {"transport": "STDIO"}],
)
def test_no_action_makes_a_process(values: Any) -> None:
    values = {"name": "Time", "url": "https://a.test/mcp", **values}
    with pytest.raises(InvalidRequest):
        create_server(None, values)
    create_server(None, {"name": "Time", "url": "https://a.test/mcp"})


def test_no_action_makes_a_process_of_a_server(write: Any) -> None:
    server = create_server(None, {"name": "Time", "url": "https://a.test/mcp"})
    with pytest.raises(InvalidRequest):
        update_server(server, {"transport": "stdio"})
    server.refresh_from_db()
    assert server.transport == Transport.STREAMABLE_HTTP
    update_server(server, {"transport": "sse"})


@pytest.mark.parametrize(
    "values",
    [{"transport": "sse"}, {"url": "https://a.test/mcp"}, {"headers": {"X-A": "b"}}],
)
def test_where_a_process_is_reached_is_the_files_to_say(row: McpServer, values: Any) -> None:
    with pytest.raises(InvalidRequest, match="operator's file"):
        update_server(row, values)
    assert update_server(row, {"is_enabled": False, "prefix": "clock"}).prefix == "clock"


def test_it_is_deleted_in_the_file(row: McpServer, write: Any) -> None:
    with pytest.raises(Conflict, match="operator's file"):
        delete_server(row)
    write({})
    delete_server(row)
    assert not McpServer.objects.exists()


def test_operators_change_no_process_over_the_api(row: McpServer, carol_api: APIClient) -> None:
    body = {"server_id": row.pk, "url": "https://a.test/mcp", "type": "sse"}
    assert carol_api.put("/api/v1/mcp_server", body).status_code == 422
    renamed = carol_api.put("/api/v1/mcp_server", {"server_id": row.pk, "timeout_ms": 2000})
    assert renamed.json()["data"]["type"] == "stdio"
