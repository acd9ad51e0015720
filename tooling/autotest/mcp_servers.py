"""Tests an MCP server: whether it may be reached, what it lists, whether that was approved."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Collection, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.principals import Principal
from core.db import release_connections
from core.errors import Conflict
from core.http import check_host
from core.loops import wait_for
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.mcp import listing
from tooling.mcp.client import list_tools
from tooling.mcp.endpoints import filled, values_by_server
from tooling.mcp.types import ToolRow
from tooling.mcp_access import access_mcp_server
from tooling.models import McpServer, Transport
from tooling.placeholders import host_of


def access(principal: Principal, server_id: str) -> McpServer:
    """The server, if the principal may have it tested. Raises NotFound and Conflict."""
    server = access_mcp_server(principal, server_id)
    may_enable = principal.is_operator or server.owner_id == principal.user_id
    if not server.is_enabled and not may_enable:
        raise Conflict(_("This MCP server is disabled."))
    return server


def prepare(server_id: str, asker: Asker) -> Prepared | None:
    server = McpServer.objects.with_id(server_id)
    if server is None:
        return None
    contact = _Contact(server, asker)
    return Prepared(
        name=server.name,
        owner_id=server.owner_id,
        found=_("Found MCP server: %(name)s") % {"name": server.name},
        checks=(
            Check("URL Allowed", contact.may_be_made),
            Check("Connection", contact.is_made),
            Check("Tools", contact.has_tools),
            Check("Changes", contact.is_as_approved),
        ),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Listing:
    """What the server said, and the names of the tools in it that nobody approved."""

    names: Sequence[str]
    withheld: Sequence[str]


class _Contact:
    def __init__(self, server: McpServer, asker: Asker) -> None:
        self._server_id = server.pk
        self._transport = server.transport
        self._url = server.url
        self._asker = asker
        self._listing: _Listing | None = None

    async def may_be_made(self) -> str:
        if self._transport == Transport.STDIO:
            return _("A program of the operator's file.")
        host, _colon, port = host_of(self._url).rpartition(":")
        await check_host(host.strip("[]"), int(port))
        return _("Allowed: %(host)s") % {"host": f"{host}:{port}"}

    async def is_made(self) -> str:
        started = time.monotonic()
        # In a thread of its own: listing waits for a server and writes to the database.
        self._listing = await asyncio.to_thread(_listed, self._server_id, self._asker)
        return _("Latency: %(ms)dms") % {"ms": round((time.monotonic() - started) * 1000)}

    async def has_tools(self) -> str:
        names = self._made().names
        if not names:
            raise CheckFailed(_("The server lists no tool that can be used."))
        text = ngettext("%(count)d tool: %(names)s", "%(count)d tools: %(names)s", len(names))
        return text % {"count": len(names), "names": listing.shown(names)}

    async def is_as_approved(self) -> str:
        if withheld := self._made().withheld:
            text = _("New or changed, withheld until they are approved: %(names)s.")
            raise CheckFailed(text % {"names": listing.shown(withheld)})
        return _("Nothing has changed since the tools were approved.")

    def _made(self) -> _Listing:
        if self._listing is None:
            raise CheckFailed(_("Not tried: there is no connection."))
        return self._listing


def _listed(server_id: str, asker: Asker) -> _Listing:
    """Asks the server. What its owner and operators find is noted on the row, and no one else's.

    Others may have settings of their own, with which the server lists something else.
    """
    try:
        server = McpServer.objects.get(pk=server_id)
        if not asker.speaks_for(server.owner_id):
            return _listed_to(server, asker.owner_id)
        server = listing.refresh(server)
        if not server.check_ok:
            raise CheckFailed(server.check_message)
        return _listing_of(listing.rows_of(server), server.approved_digests)
    finally:
        release_connections()


def _listed_to(server: McpServer, user_id: int | None) -> _Listing:
    reached = filled(server, values_by_server([server], user_id, server.owner_id).get(server.pk))
    try:
        found = wait_for(list_tools(reached.endpoint))
    except listing.FAILURES as error:
        raise CheckFailed(listing.failure_of(error, reached)) from None
    tools = [tool.row for tool in listing.usable(found)]
    # The first list is what will be approved; nothing of it can have changed.
    never_listed = server.listed_at is None
    approved = [tool["digest"] for tool in tools] if never_listed else server.approved_digests
    return _listing_of(tools, approved)


def _listing_of(tools: Sequence[ToolRow], approved: Collection[str]) -> _Listing:
    return _Listing(
        names=[tool["name"] for tool in tools],
        withheld=[tool["name"] for tool in tools if tool["digest"] not in approved],
    )


TESTER = Tester(
    existence="Server Existence",
    missing=gettext_lazy("MCP server not found"),
    access=access,
    prepare=prepare,
)
