"""What servers can do, kept in their rows: listed now and then, offered as it was approved.

A server may change its tools at any time, and what a model reads of them steers the model. So a
tool is offered in the words that somebody saw: those of the first list, and those approved since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, cast

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from core.errors import AppError, OutboundRefused, ProviderError, ResponseTooLarge
from core.loops import wait_for
from core.rest import is_storable
from tooling.mcp.client import list_tools
from tooling.mcp.endpoints import Filled, config_fields, filled, values_by_server
from tooling.mcp.names import called
from tooling.mcp.parameters import offered, problem_of, typed
from tooling.mcp.types import ListedTool, ToolRow, ToolWords
from tooling.models import McpServer
from tooling.placeholders import secret_parts
from tooling.redaction import redact
from tooling.types import McpTarget, ToolSpec

REFRESH_AFTER = timedelta(minutes=10)
MAX_DESCRIPTION = 4_000
MAX_NAMED = 8
# How asking a server can fail; the messages are for people.
FAILURES = (ProviderError, OutboundRefused, ResponseTooLarge)


# --- What the rows say -------------------------------------------------------------------------


def rows_of(server: McpServer) -> list[ToolRow]:
    """The tools that the server listed last."""
    return cast(list[ToolRow], server.tools)


def is_approved(server: McpServer, tool: ToolRow) -> bool:
    """Whether models may see the tool as it is now."""
    return tool["digest"] in server.approved_digests


def withheld(server: McpServer) -> list[ToolRow]:
    """The tools that are new or changed since somebody approved them."""
    return [tool for tool in rows_of(server) if not is_approved(server, tool)]


def is_changed(server: McpServer) -> bool:
    """Whether a tool waits for approval."""
    return bool(withheld(server))


def due_for_listing() -> QuerySet[McpServer]:
    """The enabled servers whose list is old."""
    old = Q(checked_at=None) | Q(checked_at__lt=timezone.now() - REFRESH_AFTER)
    return McpServer.objects.filter(old, is_enabled=True).order_by("pk")


# --- Listing and approving -----------------------------------------------------------------------


def refresh(server: McpServer, *, user_id: int | None = None) -> McpServer:
    """Asks the server for its tools and notes them, or why there are none, on the row.

    With the settings of this user, or else of the owner. What fails leaves the earlier list.
    """
    values = values_by_server([server], user_id, server.owner_id).get(server.pk)
    reached = None
    try:
        reached = filled(server, values)
        found = wait_for(list_tools(reached.endpoint))
    except FAILURES as error:
        return _note(server, failure=failure_of(error, reached))
    return _note(server, found=found, secrets=secrets_of(reached))


def failure_of(error: AppError, reached: Filled | None) -> str:
    """Why a server could not be asked: without secrets, and with what nobody set for it."""
    if reached is None:
        return error.message
    message = redact(error.message, secrets_of(reached))
    if not reached.missing:
        return message
    return message + " " + _("Not set: %(names)s.") % {"names": ", ".join(reached.missing)}


def usable(found: Iterable[ListedTool]) -> list[ListedTool]:
    """Those that can be kept in a row and whose arguments can be checked."""
    return [
        tool
        for tool in found
        if is_storable(dict(tool.row)) and problem_of(tool.input_schema) is None
    ]


def secrets_of(reached: Filled) -> list[str]:
    """What must not be shown of what is sent to a server."""
    endpoint = reached.endpoint
    sent = [*endpoint.headers.values(), *endpoint.environment.values(), *reached.fixed.values()]
    return [part for value in sent for part in secret_parts(value)]


@transaction.atomic
def _note(
    server: McpServer,
    *,
    found: Sequence[ListedTool] = (),
    secrets: Sequence[str] = (),
    failure: str = "",
) -> McpServer:
    row = McpServer.objects.select_for_update().filter(pk=server.pk).first()
    if row is None or (row.url, row.transport) != (server.url, server.transport):
        # Deleted or moved meanwhile: this is the answer of another server.
        return row or server
    row.checked_at, row.check_ok = timezone.now(), not failure
    if failure:
        row.check_message = _cut(failure)
    else:
        tools = usable(found)
        if row.listed_at is None:
            row.approved_digests = [tool.digest for tool in tools]
        earlier = {tool["name"]: tool for tool in rows_of(row)}
        row.tools = [_compared(row, tool.row, earlier.get(tool.name)) for tool in tools]
        row.listed_at = row.checked_at
        row.check_message = _cut(redact(_summary(row, found), secrets))
    row.save(update_fields=[*_NOTED, "updated_at"])
    return row


def _compared(server: McpServer, tool: ToolRow, earlier: ToolRow | None) -> ToolRow:
    """The tool, with what was approved of it where that is something else."""
    if earlier is None or is_approved(server, tool):
        return tool
    if is_approved(server, earlier):
        words = ToolWords(description=earlier["description"], input_schema=earlier["input_schema"])
        return {**tool, "before": words}
    return {**tool, "before": earlier["before"]} if "before" in earlier else tool


_NOTED = ("tools", "approved_digests", "listed_at", "checked_at", "check_ok", "check_message")


def _summary(row: McpServer, found: Sequence[ListedTool]) -> str:
    count = len(row.tools)
    parts = [ngettext("%(count)d tool.", "%(count)d tools.", count) % {"count": count}]
    if waiting := [tool["name"] for tool in withheld(row)]:
        text = _("New or changed, withheld until they are approved: %(names)s.")
        parts.append(text % {"names": shown(waiting)})
    kept = {tool["name"] for tool in rows_of(row)}
    if unusable := [tool.name for tool in found if tool.name not in kept]:
        text = _("Left out, because their parameters cannot be read: %(names)s.")
        parts.append(text % {"names": shown(unusable)})
    return " ".join(parts)


def shown(names: Sequence[str]) -> str:
    """The first of these names of tools, in one line that can be stored."""
    plain = (
        "".join(letter if letter.isprintable() else " " for letter in name[:64])
        for name in names[:MAX_NAMED]
    )
    return ", ".join(plain) + (f" + {len(names) - MAX_NAMED}" if len(names) > MAX_NAMED else "")


def _cut(text: str) -> str:
    return text if len(text) <= 500 else text[:499] + "…"


@transaction.atomic
def approve(server: McpServer, digests: Collection[str] | None = None) -> McpServer:
    """Lets models see the tools as they are listed now; only those with these digests, if given.

    Pass what was looked at: the list may have changed again since.
    """
    row = McpServer.objects.select_for_update().filter(pk=server.pk).first()
    if row is None:
        # Deleted meanwhile: nothing is left to be approved.
        return server
    listed = [tool["digest"] for tool in rows_of(row)]
    row.approved_digests = [
        digest
        for digest in listed
        if digests is None or digest in digests or digest in row.approved_digests
    ]
    row.check_message = _cut(_summary(row, ())) if row.check_ok else row.check_message
    row.save(update_fields=["approved_digests", "check_message", "updated_at"])
    return row


# --- Offering ------------------------------------------------------------------------------------


def mcp_specs(servers: Iterable[McpServer], *user_ids: int | None) -> tuple[ToolSpec, ...]:
    """The approved tools of these servers, each named `prefix__tool`. No server is asked.

    Each server gets the settings of the first of these users who has any. Disabled servers, and
    those that lack a setting, offer nothing.
    """
    enabled = [server for server in servers if server.is_enabled]
    values = values_by_server(enabled, *user_ids)
    specs: list[ToolSpec] = []
    for server in enabled:
        try:
            reached = filled(server, values.get(server.pk))
        except ProviderError:
            continue
        if not reached.missing:
            specs += _specs(server, reached)
    return tuple(specs)


def _specs(server: McpServer, reached: Filled) -> Iterable[ToolSpec]:
    # Also where it is not set: what a user may set is not the model's to choose.
    hidden = {field["key"] for field in config_fields(server) if field["target"] == "parameter"}
    for tool in rows_of(server):
        if not is_approved(server, tool):
            continue
        parameters = offered(tool["input_schema"], hidden)
        known: dict[str, Any] = tool["input_schema"].get("properties", {})
        fixed = {
            name: typed(value, known[name])
            for name, value in reached.fixed.items()
            if name in known
        }
        yield ToolSpec(
            id=called(server.prefix, tool["name"]),
            name=f"{server.name}: {tool['name']}",
            description=tool["description"][:MAX_DESCRIPTION],
            parameters=parameters,
            defaults={},
            executor="server",
            wait_for_response=True,
            timeout_ms=server.timeout_ms,
            target=McpTarget(reached.endpoint, tool["name"], fixed),
        )
