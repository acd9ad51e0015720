"""What can be done with MCP servers and with what users set for them.

Nothing here asks a server: after a change, the edge has its tools listed (`mcp.listing.refresh`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from core.addresses import checked_address
from core.crypto import is_masked
from core.errors import Conflict, InvalidRequest
from tooling.mcp.endpoints import ConfigField, config_fields
from tooling.mcp.names import is_prefix, prefix_for
from tooling.mcp.stdio_file import process_of
from tooling.mcp_access import mcp_server_not_found
from tooling.models import McpServer, McpUserConfig, Transport
from tooling.placeholders import header_problem, host_of

MAX_HEADERS = 30
MAX_CONFIG_FIELDS = 30
MAX_VALUE = 4_000
_TARGETS = ("header", "parameter")


class McpServerValues(TypedDict, total=False):
    """Fields of a server as they were sent; what is missing stays as it is."""

    name: str
    prefix: str
    transport: str
    url: str
    headers: Mapping[str, str]
    logo_url: str
    config_fields: Sequence[Mapping[str, Any]]
    timeout_ms: int
    is_enabled: bool


# --- Servers -----------------------------------------------------------------------------------


def create_server(owner_id: int | None, values: McpServerValues) -> McpServer:
    """A new server of the user, or of the system (None). Raises InvalidRequest and Conflict.

    Without a prefix it gets one from its name.
    """
    server = McpServer(owner_id=owner_id)
    if not values.get("prefix"):
        taken = McpServer.objects.filter(owner_id=owner_id).values_list("prefix", flat=True)
        values = {**values, "prefix": prefix_for(values.get("name", ""), set(taken))}
    # An address is what makes it a server.
    _set_values(server, _checked(server, {"url": "", **values}))
    _save(server)
    return server


@transaction.atomic
def update_server(server: McpServer, values: McpServerValues) -> McpServer:
    """Changes the server. Raises InvalidRequest and Conflict.

    Headers are sent to the host that they were entered for: with another host they must be sent
    again, and what users set is deleted. Another address has its tools listed as if it were new.
    """
    _lock(server)
    before = server.url, server.transport
    changes = _checked(server, values)
    is_moved = _host(server.url) != _host(changes.get("url", server.url))
    if is_moved and server.headers and not _are_new(values.get("headers")):
        raise InvalidRequest(
            _("The address has another host: enter the headers anew."), param="headers"
        )
    _set_values(server, changes)
    if (server.url, server.transport) != before:
        server.tools, server.approved_digests, server.listed_at = [], [], None
        server.checked_at, server.check_ok, server.check_message = None, None, ""
    _save(server)
    if is_moved:
        server.user_configs.all().delete()
    return server


@transaction.atomic
def delete_server(server: McpServer) -> None:
    """Deletes the server; assistants lose its tools. Raises Conflict for one of the file."""
    if server.transport == Transport.STDIO and process_of(server.pk):
        raise Conflict(_("This server comes from the operator's file; remove it there."))
    # Before the settings of its users go: one that is being stored now would be left behind.
    locked = McpServer.objects.select_for_update().filter(pk=server.pk).first()
    if locked is not None:
        locked.delete()


def _lock(server: McpServer) -> None:
    """Holds the row as it is now: its tools and its headers may have changed since it was read."""
    try:
        server.refresh_from_db(from_queryset=McpServer.objects.select_for_update())
    except McpServer.DoesNotExist:
        raise mcp_server_not_found() from None


def _checked(server: McpServer, values: McpServerValues) -> dict[str, Any]:
    """The values as they are kept. Raises InvalidRequest."""
    if server.transport == Transport.STDIO:
        _require_untouched(values)
    given: dict[str, Any] = dict(values)
    for field, check in _CHECKS.items():
        if field in given:
            given[field] = check(server, given[field])
    return given


def _set_values(server: McpServer, checked: Mapping[str, Any]) -> None:
    for field, value in checked.items():
        setattr(server, field, value)


def _require_untouched(values: McpServerValues) -> None:
    for field in ("transport", "url", "headers", "config_fields"):
        if values.get(field) not in (None, "", Transport.STDIO, {}, []):
            raise InvalidRequest(
                _("This server comes from the operator's file; change it there."), param=field
            )


def _name(_server: McpServer, name: str) -> str:
    if not name.strip() or len(name) > 100:
        raise InvalidRequest(_("A name of at most 100 characters is needed."), param="name")
    return name.strip()


def _prefix(_server: McpServer, prefix: str) -> str:
    if not is_prefix(prefix):
        text = _("At most 32 letters, digits, - and single _ in between.")
        raise InvalidRequest(text, param="prefix")
    return prefix


def _transport(server: McpServer, transport: str) -> str:
    possible = {Transport.STREAMABLE_HTTP, Transport.SSE, server.transport}
    if transport not in possible:
        raise InvalidRequest(
            _("Possible are streamable_http and sse; stdio only from the operator's file."),
            param="transport",
        )
    return transport


def _url(server: McpServer, url: str) -> str:
    checked = checked_address(url, param="url")
    if not checked and server.transport != Transport.STDIO:
        raise InvalidRequest(_("An MCP server needs an address."), param="url")
    if len(checked) > 2000:
        raise InvalidRequest(_("The address is too long."), param="url")
    return checked


def _headers(server: McpServer, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers as they are kept; a masked value stands for the stored one."""
    if len(headers) > MAX_HEADERS:
        raise InvalidRequest(_("Too many headers."), param="headers")
    stored = {name.lower(): value for name, value in server.headers.items()}
    kept: dict[str, str] = {}
    for name, value in headers.items():
        _check_header_name(name, param="headers")
        if name.lower() in map(str.lower, kept):
            text = _("The header %(name)s is there twice.") % {"name": name}
            raise InvalidRequest(text, param="headers")
        if is_masked(value):
            if name.lower() not in stored:
                text = _("There is no stored value for %(name)s.") % {"name": name}
                raise InvalidRequest(text, param="headers")
            value = stored[name.lower()]
        kept[name] = _value(value, name=name, param="headers")
    return kept


def _config_fields(_server: McpServer, rows: Sequence[Mapping[str, Any]]) -> list[ConfigField]:
    if len(rows) > MAX_CONFIG_FIELDS:
        raise InvalidRequest(_("Too many settings."), param="config_fields")
    fields: dict[str, ConfigField] = {}
    for row in rows:
        key, target = str(row.get("key") or ""), str(row.get("target") or "header")
        if target not in _TARGETS or not key or len(key) > 64:
            text = _("A setting needs a key, and “header” or “parameter” as its target.")
            raise InvalidRequest(text, param="config_fields")
        if target == "header":
            _check_header_name(key, param="config_fields")
        label, required = str(row.get("label") or key)[:100], row.get("required") is True
        fields[key] = ConfigField(key=key, label=label, target=target, required=required)
    return list(fields.values())


def _timeout_ms(_server: McpServer, timeout_ms: int) -> int:
    if not 1000 <= timeout_ms <= 120_000:
        raise InvalidRequest(_("Between 1000 and 120000 milliseconds."), param="timeout_ms")
    return timeout_ms


_CHECKS: dict[str, Any] = {
    "name": _name,
    "prefix": _prefix,
    "transport": _transport,
    "url": _url,
    "headers": _headers,
    "config_fields": _config_fields,
    "timeout_ms": _timeout_ms,
}


def _check_header_name(name: str, *, param: str) -> None:
    problem = header_problem(name)
    if problem is not None:
        raise InvalidRequest(problem, param=param)


def _value(value: str, *, name: str, param: str) -> str:
    if len(value) > MAX_VALUE or not value.isascii() or not value.isprintable():
        text = _("The value of %(name)s has characters that no header can have, or is too long.")
        raise InvalidRequest(text % {"name": name}, param=param)
    return value.strip()


def _host(url: str) -> str:
    return host_of(url) if url else ""


def _are_new(headers: Mapping[str, str] | None) -> bool:
    """Whether nothing of the stored headers would be kept."""
    return headers is not None and not any(is_masked(value) for value in headers.values())


def _save(server: McpServer) -> None:
    try:
        with transaction.atomic():
            server.save()
    except IntegrityError:
        raise Conflict(
            _("Another MCP server has this prefix already."), code="NAME_TAKEN", param="prefix"
        ) from None


# --- Settings of users ---------------------------------------------------------------------------


@transaction.atomic
def save_user_config(owner_id: int, server: McpServer, values: Mapping[str, str]) -> McpUserConfig:
    """What the user set for the server, changed by the values. Raises InvalidRequest.

    An empty value deletes, a masked one keeps what is stored; what is not sent stays.
    """
    fields = {field["key"]: field for field in config_fields(server)}
    unknown = next((key for key in values if key not in fields), None)
    if unknown is not None:
        text = _("This server has no setting “%(key)s”.") % {"key": unknown[:64]}
        raise InvalidRequest(text, param="config")
    McpUserConfig.objects.get_or_create(owner_id=owner_id, server=server)
    row = McpUserConfig.objects.select_for_update().get(owner_id=owner_id, server=server)
    for key, value in values.items():
        if is_masked(value):
            continue
        if len(value) > MAX_VALUE:
            raise InvalidRequest(_("The value is too long."), param="config")
        if fields[key]["target"] == "header":
            value = _value(value, name=key, param="config")
        row.values[key] = value
    row.values = {key: value for key, value in row.values.items() if value and key in fields}
    row.save()
    return row


def delete_user_config(config: McpUserConfig) -> None:
    """Forgets what a user set."""
    config.delete()
