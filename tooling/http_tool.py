"""Tools that are a request to somebody's service."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from tooling import placeholders, pointers
from tooling.outbound import Answer, Unanswered, fetch
from tooling.types import HttpTarget, ToolResult

_IN_QUERY = frozenset({"GET", "DELETE"})
MAX_URL_LENGTH = 8000


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A request with everything filled in. Secrets are in it; never log or show one."""

    method: str
    url: str = dataclasses.field(repr=False)
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    content: bytes | None = dataclasses.field(repr=False)


async def run(target: HttpTarget, arguments: Mapping[str, Any], *, timeout_ms: int) -> ToolResult:
    """What the service answers to the arguments, or the part of it that is wanted; within the time.

    Its errors, and why there is no answer, are results too. Raises InvalidRequest where no request
    can be made of the arguments. Nothing is redacted yet.
    """
    request = prepared(target, arguments)
    try:
        answer = await fetch(
            request.method,
            request.url,
            headers=request.headers,
            content=request.content,
            timeout_s=timeout_ms / 1000,
        )
        return _result(answer, target.result_pointer)
    except Unanswered as error:
        return ToolResult("", error.code, error.message)


def prepared(target: HttpTarget, arguments: Mapping[str, Any]) -> Prepared:
    """The request that the arguments make. Pure. Raises InvalidRequest, naming what is wrong.

    Where an argument has the name of a secret, the secret is what is filled in.
    """
    secrets = _secrets_for(target)
    values = {**arguments, **secrets}
    taken = _names_used(target)
    rest = {name: value for name, value in arguments.items() if name not in taken}
    url = placeholders.fill_url(target.url, values)
    content: bytes | None = None
    if target.body.strip():
        content = placeholders.fill_json(target.body, values)
    elif target.method in _IN_QUERY:
        url = _with_query(url, placeholders.query_of(rest))
    else:
        content = json.dumps(rest, ensure_ascii=False).encode(errors="replace")
    if len(url) > MAX_URL_LENGTH:
        text = _("The arguments are too long: the address would have more than %d characters.")
        raise InvalidRequest(text % MAX_URL_LENGTH)
    headers = dict(_headers(target, arguments, secrets))
    if content is not None and "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = "application/json"
    return Prepared(target.method, url, headers, content)


def secret_values(target: HttpTarget) -> Iterator[str]:
    """Everything in the target that must never be shown: its secrets and its secret headers."""
    for secret in target.secrets:
        yield from placeholders.secret_parts(secret.value)
    values = {secret.name: secret.value for secret in target.secrets}
    for name, value in target.headers.items():
        if values.keys() & placeholders.names_in(value):
            # Only the whole says that a secret is, after `Basic`, a password in base64.
            yield from placeholders.secret_parts(placeholders.filled_with(value, values))
        if placeholders.is_sensitive(name):
            for literal in placeholders.literals_in(value):
                if not placeholders.is_scheme(literal):
                    yield from placeholders.secret_parts(literal)


def _names_used(target: HttpTarget) -> set[str]:
    texts = (target.url, target.body, *target.headers.values())
    return {name for text in texts for name in placeholders.names_in(text)}


def _secrets_for(target: HttpTarget) -> dict[str, str]:
    """The secrets that may go to the target's host. Raises InvalidRequest where another is used."""
    host = placeholders.host_of(target.url)
    used = _names_used(target)
    for secret in target.secrets:
        if secret.host != host and secret.name in used:
            message = _(
                "The secret {%(name)s} was entered for %(host)s. Enter it anew for %(new)s."
            )
            raise InvalidRequest(
                message % {"name": secret.name, "host": secret.host, "new": host}, param="secrets"
            )
    return {secret.name: secret.value for secret in target.secrets if secret.host == host}


def _headers(
    target: HttpTarget, arguments: Mapping[str, Any], secrets: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name, value in target.headers.items():
        if problem := placeholders.header_problem(name):
            raise InvalidRequest(problem, param="http_headers")
        yield name, placeholders.fill_header(value, arguments, verbatim=secrets)


def _with_query(url: str, query: str) -> str:
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _result(answer: Answer, pointer: str) -> ToolResult:
    if not answer.is_success:
        message = _("The service answered %(status)s.") % {"status": answer.status_line}
        # A redirect that leads nowhere is no success either.
        return ToolResult(answer.text.strip(), max(answer.status, 400), message)
    if not pointer:
        return ToolResult(answer.text.strip())
    try:
        part = pointers.resolved(answer.json(), pointer)
    except LookupError as error:
        message = _("The service's answer has no part “%(pointer)s”.")
        return ToolResult("", 502, message % {"pointer": error.args[0]})
    if isinstance(part, str):
        return ToolResult(part)
    return ToolResult(json.dumps(part, ensure_ascii=False, separators=(",", ":")))
