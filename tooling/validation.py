"""What a tool row may say. Errors name the field of the model."""

from __future__ import annotations

import json
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from core.addresses import checked_address
from core.errors import InvalidRequest
from core.families import invalid_request
from tooling.models import Category, Method, Tool, empty_object_schema
from tooling.placeholders import fill_json, header_problem, host_of
from tooling.pointers import is_pointer
from tooling.schema import argument_problems, schema_problem

MAX_HEADERS = 30
MAX_HEADER_LENGTH = 4000
MAX_BODY_LENGTH = 20_000
MAX_DEFAULTS_LENGTH = 20_000
TOOL_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# What model vendors accept; one bad name would make them refuse the whole request.
ARGUMENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
# What of a schema concerns single arguments; the rest is about all of them together.
_OF_SINGLE_ARGUMENTS = ("type", "properties", "additionalProperties", "$defs", "definitions")


def check_tool(tool: Tool, *, has_new_address: bool) -> None:
    """Puts the row's values into their stored form. Raises InvalidRequest for the first wrong one.

    An address that was stored before is not asked again where it leads: a tool must also be
    changed, or disabled, after an operator took back what was allowed. Headers are checked by
    `checked_headers`. What its category has no use for is emptied: tools of the client make no
    request, tools of the server are always waited for.
    """
    _check_fields(tool)
    if tool.function_name and not FUNCTION_NAME.fullmatch(tool.function_name):
        text = _("Expected letters, digits, _ and -, beginning with a letter or _.")
        raise InvalidRequest(text, param="function_name")
    _check_logo(tool.logo_url)
    if tool.category == Category.SYSTEM:
        clear_request(tool)
    else:
        tool.wait_for_response = False
        _check_request(tool, has_new_address=has_new_address)
    _check_arguments(tool)


def clear_request(tool: Tool) -> None:
    """Forgets the request that a tool made."""
    tool.http_method, tool.http_url, tool.http_body = Method.GET, "", ""
    tool.http_headers, tool.result_pointer = {}, ""


def checked_tool_id(tool_id: str) -> str:
    """The id. Raises InvalidRequest for one that tools cannot have."""
    if not TOOL_ID.fullmatch(tool_id):
        text = _("Expected at most 64 letters, digits and _, beginning with a letter.")
        raise InvalidRequest(text, param="id")
    return tool_id


def _check_fields(tool: Tool) -> None:
    """Lengths, choices and ranges, as the model declares them."""
    apart = {"id", "owner", "http_headers", "parameter_schema", "parameter_defaults"}
    try:
        tool.clean_fields(exclude=apart)
    except ValidationError as error:
        raise invalid_request(error.message_dict) from None


def _check_logo(url: str) -> None:
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in {"http", "https"}:
        raise InvalidRequest(_("Expected an address such as https://host/path."), param="logo_url")


# --- The request -----------------------------------------------------------------------------


def _check_request(tool: Tool, *, has_new_address: bool) -> None:
    if has_new_address and tool.http_url.strip():
        # The first says best what is wrong with an address that has placeholders.
        host_of(tool.http_url)
        tool.http_url = checked_address(tool.http_url, param="http_url")
    _check_body(tool)
    if not is_pointer(tool.result_pointer):
        text = _("Expected a JSON pointer such as /data/items.")
        raise InvalidRequest(text, param="result_pointer")


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """The headers. Raises InvalidRequest for what cannot be sent with a request."""
    problem = headers_problem(headers)
    if problem:
        raise InvalidRequest(problem, param="http_headers")
    return headers


def headers_problem(headers: object) -> str | None:
    """Why these cannot be sent with a request, or None."""
    if not isinstance(headers, dict):
        return _("Expected an object of names and values.")
    if len(headers) > MAX_HEADERS:
        return _("At most %d headers can be sent.") % MAX_HEADERS
    if len({str(name).lower() for name in headers}) < len(headers):
        return _("A header is named twice.")
    for name, value in headers.items():
        problem = header_problem(name) or _value_problem(name, value)
        if problem:
            return problem
    return None


def _value_problem(name: str, value: object) -> str | None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return _("The value of %(name)s must be a line of ASCII text.") % {"name": name}
    if len(value) > MAX_HEADER_LENGTH:
        return _("The value of %(name)s is too long.") % {"name": name}
    return None


def _check_body(tool: Tool) -> None:
    if not tool.http_body.strip():
        tool.http_body = ""
        return
    if tool.http_method == Method.GET:
        raise InvalidRequest(_("A GET request has no body."), param="http_body")
    if len(tool.http_body) > MAX_BODY_LENGTH:
        text = _("The body has more than %d characters.")
        raise InvalidRequest(text % MAX_BODY_LENGTH, param="http_body")
    fill_json(tool.http_body, {})


# --- The arguments ---------------------------------------------------------------------------


def _check_arguments(tool: Tool) -> None:
    schema = empty_object_schema() if tool.parameter_schema in (None, {}) else tool.parameter_schema
    problem = schema_problem(schema)
    if problem:
        raise InvalidRequest(problem, param="parameter_schema")
    for name in schema.get("properties", {}):
        if not ARGUMENT_NAME.fullmatch(name):
            text = _(
                "“%(name)s” cannot be the name of an argument: use letters, digits, _ . and -."
            )
            raise InvalidRequest(text % {"name": name[:100]}, param="parameter_schema")
    # Vendors want both, also where there is nothing to say.
    tool.parameter_schema = {**empty_object_schema(), **schema}
    if tool.parameter_defaults is None:
        tool.parameter_defaults = {}
    problem = defaults_problem(tool.parameter_schema, tool.parameter_defaults)
    if problem:
        raise InvalidRequest(problem, param="parameter_defaults")


def defaults_problem(schema: dict[str, Any], defaults: object) -> str | None:
    """Why these cannot be a tool's default arguments, or None. They may be a part of all."""
    if not isinstance(defaults, dict):
        return _("Expected an object of arguments.")
    single = {name: schema[name] for name in _OF_SINGLE_ARGUMENTS if name in schema}
    try:
        is_long = len(json.dumps(defaults, ensure_ascii=False)) > MAX_DEFAULTS_LENGTH
    except RecursionError:
        return _("This is nested too deeply.")
    if is_long:
        return _("This is longer than %d characters.") % MAX_DEFAULTS_LENGTH
    return argument_problems(single, defaults)
