"""From rows to endpoints: what one caller sends along to a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypedDict, cast

from django.utils.translation import gettext as _

from core.errors import ProviderError
from tooling.mcp.stdio_file import GONE, process_of
from tooling.models import McpServer, McpUserConfig, Transport
from tooling.types import McpEndpoint, McpTransport


class ConfigField(TypedDict):
    """Something that each user of a server may set, as `McpServer.config_fields` keeps it.

    `key` is the name of the header or of the argument that gets the value.
    """

    key: str
    label: str
    target: str
    required: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Filled:
    """A server as one caller reaches it. `fixed` are arguments for each of its tools."""

    endpoint: McpEndpoint
    fixed: Mapping[str, str] = dataclasses.field(repr=False)
    missing: tuple[str, ...]


def config_fields(server: McpServer) -> list[ConfigField]:
    return cast(list[ConfigField], server.config_fields)


def values_by_server(
    servers: Iterable[McpServer], *user_ids: int | None
) -> dict[str, dict[str, str]]:
    """What was set for each server by the first of these users who set anything; one query."""
    asking = [server.pk for server in servers if server.config_fields]
    users = [user_id for user_id in user_ids if user_id is not None]
    if not asking or not users:
        return {}
    rows = McpUserConfig.objects.filter(server__in=asking, owner__in=users)
    # The last one written wins: those who come first are written last.
    ranked = sorted(
        (row for row in rows if row.values),
        key=lambda row: users.index(row.owner_id),
        reverse=True,
    )
    return {row.server_id: row.values for row in ranked}


def filled(server: McpServer, values: Mapping[str, str] | None = None) -> Filled:
    """The server with a user's values. Raises ProviderError for a process that is not configured.

    `missing` are the labels of what must be set and is not.
    """
    given = values or {}
    headers, fixed, missing = dict(server.headers), {}, []
    for field in config_fields(server):
        value = given.get(field["key"], "")
        if not value:
            if field["required"]:
                missing.append(field["label"] or field["key"])
        elif field["target"] == "header":
            _put_header(headers, field["key"], value)
        else:
            fixed[field["key"]] = value
    return Filled(_endpoint(server, headers), fixed, tuple(missing))


def _put_header(headers: dict[str, str], name: str, value: str) -> None:
    """Sets a header in the place of one that is spelled otherwise: both would be sent."""
    for same in [known for known in headers if known.lower() == name.lower()]:
        del headers[same]
    headers[name] = value


def _endpoint(server: McpServer, headers: dict[str, str]) -> McpEndpoint:
    endpoint = McpEndpoint(
        server_id=server.pk, name=server.name, transport=cast(McpTransport, server.transport)
    )
    if server.transport != Transport.STDIO:
        return dataclasses.replace(endpoint, url=server.url, headers=headers)
    process = process_of(server.pk)
    if process is None:
        raise ProviderError(_(GONE), is_permanent=True)
    return dataclasses.replace(endpoint, command=process.command, environment=process.environment)
