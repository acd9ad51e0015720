"""What of a tool's request is secret, and what people see of it instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.utils.translation import gettext as _

from core.crypto import MASK, is_masked, mask
from core.errors import InvalidRequest
from tooling.models import Tool, ToolSecret
from tooling.placeholders import host_of, is_scheme, is_sensitive, literals_in, names_in

Headers = Mapping[str, str]


def is_secret(header_name: str, value: str) -> bool:
    """Whether a header holds a secret itself; `Bearer {api_key}` only says where one goes."""
    if not value or not is_sensitive(header_name):
        return False
    return not names_in(value) or not all(map(is_scheme, literals_in(value)))


def shown_headers(headers: Headers, *, shows_ends: bool) -> dict[str, str]:
    """The headers with secrets masked; their last characters only for who may change them."""
    return {
        name: shown(value, shows_end=shows_ends) if is_secret(name, value) else value
        for name, value in headers.items()
    }


def shown(secret: str, *, shows_end: bool) -> str:
    """A mask in place of a secret; none where there is no secret."""
    if not secret:
        return ""
    return mask(secret) if shows_end else MASK


def kept_headers(sent: Headers, stored: Headers) -> dict[str, str]:
    """What was sent, with the stored value where a mask was sent back. Raises InvalidRequest."""
    known = {name.lower(): value for name, value in stored.items()}
    kept = {}
    for name, value in sent.items():
        if is_masked(value):
            if name.lower() not in known:
                text = _("There is no stored value of %(name)s that could be kept.")
                raise InvalidRequest(text % {"name": name}, param="http_headers")
            value = known[name.lower()]
        kept[name] = value
    return kept


def left_secret_headers(sent: Headers | None, stored: Headers) -> list[str]:
    """The stored secret headers that a request keeps without having shown that it knows them."""
    if sent is None:
        return [name for name, value in stored.items() if is_secret(name, value)]
    return [name for name, value in sent.items() if is_masked(value)]


def placeholders_of(tool: Tool) -> list[str]:
    """The names of all placeholders in a tool's request, each once."""
    texts: Iterable[str] = (tool.http_url, *tool.http_headers.values(), tool.http_body)
    return list(dict.fromkeys(name for text in texts for name in names_in(text)))


def missing_secrets(tool: Tool, secrets: Iterable[ToolSecret]) -> list[str]:
    """Placeholders that no argument fills, nor a secret that was entered for today's host."""
    if not tool.http_url:
        return []
    host = host_of(tool.http_url)
    filled = {secret.name for secret in secrets if secret.host == host}
    filled |= {*tool.parameter_schema.get("properties", {}), *tool.parameter_defaults}
    return [name for name in placeholders_of(tool) if name not in filled]
