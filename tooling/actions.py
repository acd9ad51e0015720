"""What can be done with tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from core.crypto import is_masked
from core.errors import Conflict, InvalidRequest
from tooling.access import read_only, tool_not_found
from tooling.catalogue import BUILTIN_TOOLS, LEGACY_IDS, is_builtin
from tooling.models import Category, Tool, ToolSecret
from tooling.placeholders import host_of, names_in
from tooling.secrecy import kept_headers, left_secret_headers
from tooling.validation import check_tool, checked_headers, checked_tool_id

MAX_SECRETS = 20
MAX_SECRET_LENGTH = 8000
NAME_TAKEN = "NAME_TAKEN"

# New values by name: empty or None deletes, the mask keeps.
Secrets = Mapping[str, str | None]


class ToolValues(TypedDict, total=False):
    """Fields of a tool as they were sent; what is missing stays as it is.

    `id` is for new tools only. Secret headers and `secrets` may hold the mask that was shown.
    """

    id: str
    name: str
    function_name: str
    description: str
    category: str
    icon: str
    logo_url: str
    http_method: str
    http_url: str
    http_headers: dict[str, str]
    http_body: str
    http_timeout_ms: int
    result_pointer: str
    parameter_schema: dict[str, Any]
    parameter_defaults: dict[str, Any]
    wait_for_response: bool
    is_enabled: bool
    secrets: Secrets


@transaction.atomic
def create_tool(owner_id: int | None, values: ToolValues, *, is_entry: bool = False) -> Tool:
    """A new tool of the user, or of the system (None). Raises InvalidRequest and Conflict.

    A tool of the server needs an address, unless it `is_entry`: one that waits, disabled, until it
    gets an address.
    """
    fields, secrets, tool_id = _parted(values)
    tool = Tool(owner_id=owner_id)
    if tool_id:
        tool.pk = _free_id(checked_tool_id(tool_id))
    _set_fields(tool, fields, may_lack_address=is_entry)
    _insert(tool)
    set_secrets(tool, secrets)
    return tool


@transaction.atomic
def update_tool(tool: Tool, values: ToolValues, *, by_operator: bool = False) -> Tool:
    """The tool with the values set and stored. Raises InvalidRequest, Conflict and Forbidden.

    Tools of the system are changed by operators only, and of the built-in ones only `is_enabled`.
    Where the address leads to another host, secret headers must be sent again; secrets stay bound
    to the host that they were entered for, and are not sent to the new one until they are, too.
    """
    fields, secrets, _id = _parted(values)
    _require_changeable(tool, {*fields, *(["secrets"] if secrets else [])}, by_operator)
    locked = Tool.objects.select_for_update(of=("self",)).filter(pk=tool.pk).first()
    if locked is None:
        raise tool_not_found()
    if is_builtin(locked):
        locked.is_enabled = values.get("is_enabled", locked.is_enabled)
    else:
        _set_fields(locked, fields, may_lack_address=not locked.http_url)
    _store(locked)
    if locked.category == Category.SYSTEM:
        locked.secrets.all().delete()
    set_secrets(locked, secrets)
    _require_apart(locked, {*locked.secrets.values_list("name", flat=True)})
    return locked


@transaction.atomic
def delete_tool(tool: Tool) -> None:
    """Deletes the tool; assistants that use it go on without it. Forbidden for built-in ones."""
    if is_builtin(tool):
        raise read_only()
    # Before its secrets go: one that is being stored now would be left behind.
    locked = Tool.objects.select_for_update(of=("self",)).filter(pk=tool.pk).first()
    if locked is not None:
        locked.delete()


@transaction.atomic
def set_secrets(tool: Tool, secrets: Secrets) -> None:
    """Stores values for `{name}` in the tool's request, each bound to the host of its address.

    Empty and None delete, the mask keeps. Raises InvalidRequest naming `secrets`.
    """
    if not secrets:
        return
    stored = {row.name: row for row in tool.secrets.all()}
    new = {}
    for name, value in secrets.items():
        _require_secret_name(name)
        if not value:
            stored.pop(name, None)
        elif not is_masked(value):
            new[name] = _checked_secret(name, value)
        elif name not in stored:
            text = _("There is no stored value of %(name)s that could be kept.")
            raise _bad_secret(text % {"name": name})
    if len({*stored, *new}) > MAX_SECRETS:
        raise _bad_secret(_("A tool can have at most %d secrets.") % MAX_SECRETS)
    tool.secrets.exclude(name__in=stored).delete()
    if not new:
        return
    if not tool.http_url:
        raise _bad_secret(_("A secret belongs to a host: enter the address first."))
    _require_apart(tool, set(new))
    host = host_of(tool.http_url)
    for name, value in new.items():
        ToolSecret.objects.update_or_create(
            tool=tool, name=name, defaults={"value": value, "host": host}
        )


# --- Fields ----------------------------------------------------------------------------------


def _parted(values: ToolValues) -> tuple[dict[str, Any], Secrets, str]:
    """The fields of the row, the secrets, and the id of a new row."""
    fields = dict(values)
    secrets, tool_id = fields.pop("secrets", {}), fields.pop("id", "")
    return fields, cast(Secrets, secrets), str(tool_id)


def _require_changeable(tool: Tool, names: set[str], by_operator: bool) -> None:
    if not tool.is_system:
        return
    if not by_operator or (is_builtin(tool) and names - {"is_enabled"}):
        raise read_only()


def _set_fields(tool: Tool, fields: dict[str, Any], *, may_lack_address: bool) -> None:
    headers, host = dict(tool.http_headers), _host(tool)
    for name, value in fields.items():
        setattr(tool, name, value)
    if "http_headers" in fields and tool.category == Category.QUERY:
        tool.http_headers = kept_headers(checked_headers(tool.http_headers), headers)
    check_tool(tool, has_new_address="http_url" in fields)
    may_lack_address = may_lack_address and not tool.is_enabled
    if tool.category == Category.QUERY and not tool.http_url and not may_lack_address:
        raise InvalidRequest(_("http_url is required for query tools"), param="http_url")
    if host and _host(tool) not in ("", host):
        left = left_secret_headers(fields.get("http_headers"), headers)
        if left:
            text = _("The address leads to another host: enter %(names)s again.")
            text %= {"names": ", ".join(left)}
            raise InvalidRequest(text, param="http_headers")


def _host(tool: Tool) -> str:
    return host_of(tool.http_url) if tool.http_url else ""


def _free_id(tool_id: str) -> str:
    if tool_id in BUILTIN_TOOLS or tool_id in LEGACY_IDS or Tool.objects.filter(pk=tool_id):
        raise _id_taken()
    return tool_id


def _id_taken() -> InvalidRequest:
    return InvalidRequest(_("Tool ID already exists"))


def _insert(tool: Tool) -> None:
    try:
        with transaction.atomic():
            # An id that was chosen must never be taken for that of a row to be changed.
            tool.save(force_insert=True)
    except IntegrityError as error:
        raise _taken(error) from None


def _store(tool: Tool) -> None:
    try:
        with transaction.atomic():
            tool.save(force_update=True)
    except IntegrityError as error:
        raise _taken(error) from None


def _taken(error: IntegrityError) -> InvalidRequest | Conflict:
    if "tool_function_once" not in str(error):
        return _id_taken()
    text = _("There is a tool of this function name already; choose another one.")
    return Conflict(text, code=NAME_TAKEN, param="function_name")


# --- Secrets ---------------------------------------------------------------------------------


def _bad_secret(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="secrets")


def _require_secret_name(name: str) -> None:
    if names_in(f"{{{name}}}") != [name]:
        text = _("“%(name)s” cannot be the name of a secret: use letters, digits and _.")
        raise _bad_secret(text % {"name": name[:100]})


def _checked_secret(name: str, value: str) -> str:
    if len(value) > MAX_SECRET_LENGTH or not value.isprintable():
        text = _("The value of %(name)s must be one line of at most %(count)d characters.")
        raise _bad_secret(text % {"name": name, "count": MAX_SECRET_LENGTH})
    return value


def _require_apart(tool: Tool, secrets: set[str]) -> None:
    """Raises InvalidRequest where the model could choose, or learn, what a secret fills."""
    arguments = {*tool.parameter_schema.get("properties", {}), *tool.parameter_defaults}
    both = sorted(secrets & arguments)
    if both:
        text = _("%(names)s cannot be both an argument and a secret.")
        raise _bad_secret(text % {"names": ", ".join(both)})
