"""Servers that are processes of this machine: only from the operator's file, named by a setting.

The commands stay in the file. A row holds the name alone, so that nobody who can write rows can
make the server run something.

    {"mcpServers": {"time": {"command": "mcp-server-time", "args": ["--local-timezone", "UTC"],
                             "env": {}, "name": "Time", "timeout_ms": 30000}}}
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils.translation import gettext_noop
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tooling.mcp.names import is_prefix, prefix_for
from tooling.models import McpServer, Transport

ID_PREFIX = "stdio-"
GONE = gettext_noop("It is no longer in the operator's file (MCP_STDIO_FILE).")
logger = logging.getLogger(__name__)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    command: str = Field(min_length=1)
    args: list[str] = []
    env: dict[str, str] = {}
    name: str = Field(default="", max_length=100)
    timeout_ms: int = Field(default=30_000, ge=1000, le=120_000)


class _File(BaseModel):
    servers: dict[str, _Entry] = Field(alias="mcpServers")


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """A server of the file. `environment` is added to a small part of ours."""

    key: str
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    timeout_ms: int

    @property
    def row_id(self) -> str:
        return ID_PREFIX + self.key


def configured() -> dict[str, Process]:
    """The servers of the file by the ids of their rows. Raises ImproperlyConfigured."""
    path = settings.MCP_STDIO_FILE
    if not path:
        return {}
    try:
        entries = _File.model_validate_json(Path(path).read_bytes()).servers
    except OSError as error:
        raise ImproperlyConfigured(f"MCP_STDIO_FILE: {error.strerror}: {path}") from None
    except ValidationError as error:
        # Without the values: an environment holds secrets.
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors(include_input=False, include_context=False)
        )
        raise ImproperlyConfigured(f"MCP_STDIO_FILE {path}: {problems}") from None
    wrong = next((key for key in entries if not is_prefix(key)), None)
    if wrong is not None:
        raise ImproperlyConfigured(
            f"MCP_STDIO_FILE {path}: {wrong!r} has other characters than letters, digits and -"
        )
    processes = [
        Process(key, entry.name or key, (entry.command, *entry.args), entry.env, entry.timeout_ms)
        for key, entry in entries.items()
    ]
    return {process.row_id: process for process in processes}


def process_of(row_id: str) -> Process | None:
    """What the file says now of a row; None where it says nothing, or cannot be read."""
    try:
        return configured().get(row_id)
    except ImproperlyConfigured as error:
        logger.error("%s", error)
        return None


@transaction.atomic
def sync_stdio_servers() -> None:
    """Makes a system row for each server of the file. Raises ImproperlyConfigured.

    Rows whose server left the file stay, for the sake of the assistants that name them, and say so.
    """
    processes = configured()
    rows = McpServer.objects.filter(transport=Transport.STDIO)
    rows.exclude(pk__in=processes).update(check_ok=False, check_message=GONE)
    for process in processes.values():
        row = McpServer.objects.filter(pk=process.row_id).first() or McpServer(
            pk=process.row_id, owner=None, prefix=_prefix(process)
        )
        row.name, row.timeout_ms = process.name, process.timeout_ms
        row.transport, row.url = Transport.STDIO, ""
        if row.check_ok is False:
            # What failed may be mended, in the file or beside it: it is soon asked again.
            row.checked_at, row.check_ok, row.check_message = None, None, ""
        row.save()


def _prefix(process: Process) -> str:
    taken = McpServer.objects.filter(owner=None).values_list("prefix", flat=True)
    return prefix_for(process.key, set(taken))
