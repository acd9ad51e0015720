"""How a tool proves itself to its service, as agentchat says it: a kind, and one secret. Pure."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args
from urllib.parse import quote, unquote

from core.crypto import is_masked
from tooling.openapi import KeyPlace
from tooling.placeholders import names_in

AuthType = Literal["Bearer", "Basic", "APIKey"]
AUTH_TYPES: tuple[AuthType, ...] = get_args(AuthType)

# The secret's name; what stands for it in the request.
SECRET = "api_auth"  # noqa: S105 - a name
_PLACE = f"{{{SECRET}}}"
_HEADERS: dict[str, AuthType] = {f"Bearer {_PLACE}": "Bearer", f"Basic {_PLACE}": "Basic"}


@dataclasses.dataclass(frozen=True, slots=True)
class ToolRequest:
    """What of a tool's request takes part in proving who asks."""

    url: str
    headers: Mapping[str, str]


def auth_type_of(request: ToolRequest) -> AuthType | None:
    """How the request proves itself, None where it does not in one of these ways."""
    for value in request.headers.values():
        if value in _HEADERS:
            return _HEADERS[value]
    texts = (request.url, *request.headers.values())
    return "APIKey" if any(SECRET in names_in(text) for text in texts) else None


def with_auth(request: ToolRequest, auth_type: AuthType, place: KeyPlace) -> ToolRequest:
    """The request with a place for the secret, which `secret_of` makes."""
    plain = without_auth(request)
    if auth_type != "APIKey":
        return ToolRequest(plain.url, {**plain.headers, "Authorization": f"{auth_type} {_PLACE}"})
    if place.is_header:
        return ToolRequest(plain.url, {**plain.headers, place.name: _PLACE})
    mark = "&" if "?" in plain.url else "?"
    return ToolRequest(f"{plain.url}{mark}{quote(place.name, safe='')}={_PLACE}", plain.headers)


def place_of(request: ToolRequest) -> KeyPlace | None:
    """Where the request has its API key now."""
    for name, value in request.headers.items():
        if value == _PLACE:
            return KeyPlace(name=name)
    query = request.url.partition("?")[2]
    names = [pair.partition("=")[0] for pair in query.split("&") if pair.endswith(f"={_PLACE}")]
    return KeyPlace(is_header=False, name=unquote(names[0])) if names else None


def without_auth(request: ToolRequest) -> ToolRequest:
    """The request without its place for the secret, and without another `Authorization`."""
    path, has_query, query = request.url.partition("?")
    pairs = [pair for pair in query.split("&") if pair and not pair.endswith(f"={_PLACE}")]
    headers = {
        name: value
        for name, value in request.headers.items()
        if SECRET not in names_in(value) and name.lower() != "authorization"
    }
    url = f"{path}?{'&'.join(pairs)}" if has_query and pairs else path
    return ToolRequest(url, headers)


def secret_of(auth_type: AuthType, data: str) -> str:
    """The secret as it is sent: a user's name and password are encoded, also by us; a mask stays.

    What is masked may end in a colon and more.
    """
    if auth_type == "Basic" and ":" in data and not is_masked(data):
        return base64.b64encode(data.encode()).decode()
    return data
