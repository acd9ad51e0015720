"""`{name}` in the request of an HTTP tool: what may stand where, and how a value is written there.

Pure. Values never change the shape of what they are put into: in a path they stay one segment, in
a query one value, in a header one line, in JSON one value or part of one text. Nothing in a value
is a placeholder again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

import httpx
from django.utils.translation import gettext as _

from core.errors import InvalidRequest

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]{0,63})\}")
_URL = re.compile(r"(https?)://([^/?#\\]*)([^?#\\]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE)
_PLAIN_AUTHORITY = re.compile(r"[^\s%]+")
# A JSON text with its quotes, which may be cut off by the end; or a placeholder outside of one.
_JSON_TEXT_OR_PLACEHOLDER = re.compile(rf'"(?:[^"\\]|\\.)*"?|{_PLACEHOLDER.pattern}', re.DOTALL)

# Printable ASCII but the percent sign, which begins what is escaped.
_PLAIN_IN_HEADERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_SENSITIVE = re.compile(
    r"authori[sz]ation|cookie|api[-_]?key|token|secret|passw|credential|signature|session|"
    r"(^|[-_])(auth|key|pwd|sid)([-_]|$)",
    re.IGNORECASE,
)
# Those that say where a request goes and how it is framed: ours alone. With a Host of its own, a
# request would reach another site on the same address.
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
     "upgrade", "expect", "proxy-authorization", "proxy-connection", "accept-encoding"}
)  # fmt: skip
# How credentials are meant: what may stand before one in a header, and is none itself.
_SCHEMES = frozenset({"api", "apikey", "basic", "bearer", "key", "token"})
_WORD = re.compile(r"[A-Za-z0-9]+")
# Each server on a request's way may unescape once; nobody has more of them in a row.
_MAX_UNESCAPED = 5
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

Values = Mapping[str, Any]


def names_in(text: str) -> list[str]:
    """The names of the placeholders in a text, each once, in order."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def literals_in(text: str) -> list[str]:
    """What stands between the placeholders of a text."""
    # Every second piece is what the expression's group caught.
    return [piece for piece in _PLACEHOLDER.split(text)[::2] if piece]


def host_of(url: str) -> str:
    """Where requests to the address go: `host:port`, lower-case, in ASCII as on the wire.

    Raises InvalidRequest for what is no http(s) address, or one whose host has placeholders.
    """
    return _split(url).host


def is_sensitive(header_name: str) -> bool:
    """Whether the value of such a header is a secret, going by its name."""
    return bool(_SENSITIVE.search(header_name))


def is_scheme(literal: str) -> bool:
    """Whether what stands beside a placeholder only says how it is meant, as `Bearer` does."""
    return {word.lower() for word in _WORD.findall(literal)} <= _SCHEMES


def secret_parts(value: str) -> Iterator[str]:
    """What to keep from view of a secret value: it, and the credential after a scheme's name."""
    yield value
    scheme, _space, credential = value.strip().partition(" ")
    if not credential:
        return
    yield credential
    if scheme.lower() == "basic":
        with suppress(ValueError):
            yield b64decode(credential, validate=True).decode().partition(":")[2]


def header_problem(name: str) -> str | None:
    """Why no tool may send a header of that name, or None."""
    if not _HEADER_NAME.fullmatch(name):
        return _("“%(name)s” is not the name of a header.") % {"name": name[:100]}
    if name.lower() in _OURS:
        return _("The header “%(name)s” cannot be set.") % {"name": name}
    return None


def fill_url(template: str, values: Values) -> str:
    """The address with its values, escaped. Raises InvalidRequest.

    A pair of the query is left out where its value is missing or null, and repeated for each item
    where it is a list; in the path, a value is needed.
    """
    url = _split(template)
    path = "/".join(_segment(segment, values) for segment in url.path.split("/"))
    pairs = [pair for each in url.query for pair in _pairs(each, values)]
    return f"{url.origin}{path}" + (f"?{'&'.join(pairs)}" if pairs else "")


def query_of(values: Values) -> str:
    """Arguments as a query: lists repeat their name, null is left out."""
    return "&".join(
        f"{_escaped(name)}={_escaped(text)}"
        for name, value in values.items()
        for text in _texts(value)
    )


def fill_header(template: str, values: Values, *, verbatim: Mapping[str, str]) -> str:
    """A header's value, one line of printable ASCII: `values` escaped, `verbatim` as they are.

    Raises InvalidRequest where a value is missing, or where the line would be none.
    """

    def put(name: str) -> str:
        if name in verbatim:
            return verbatim[name]
        return quote(_needed(name, values), safe=_PLAIN_IN_HEADERS, errors="replace")

    line = _filled(template, put).strip()
    if not (line.isascii() and line.isprintable()):
        raise InvalidRequest(
            _("A header can have printable ASCII characters only."), param="http_headers"
        )
    return line


def filled_with(template: str, texts: Mapping[str, str]) -> str:
    """The text with these put in as they are; other placeholders stay."""
    return _filled(template, lambda name: texts.get(name, f"{{{name}}}"))


def fill_json(template: str, values: Values) -> bytes:
    """A JSON body: values as JSON, inside texts as text, missing ones as null or nothing.

    Raises InvalidRequest where the result is not JSON.
    """

    def put(match: re.Match[str]) -> str:
        if match[1] is not None:
            return _json(values.get(match[1]))
        return _filled(match[0], lambda name: _json(_text(values.get(name)))[1:-1])

    body = _JSON_TEXT_OR_PLACEHOLDER.sub(put, template)
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            _("The body of the request is not JSON: %(why)s.") % {"why": error}, param="http_body"
        ) from None
    return body.encode()


# --- Addresses -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Url:
    origin: str
    host: str
    path: str
    query: Sequence[str]


def _split(template: str) -> _Url:
    match = _URL.fullmatch(template.strip())
    if match is None or any(not character.isprintable() for character in template.strip()):
        raise _bad_url(_("Expected an address such as https://host/path."))
    scheme, authority, path, query = match.groups()
    if "{" in authority or "}" in authority:
        raise _bad_url(_("The host of the address cannot have placeholders."))
    if "@" in authority:
        raise _bad_url(_("The address cannot contain a name or a password."))
    try:
        # The parser that also makes the connection: two parsers can disagree about a host.
        parsed = httpx.URL(f"{scheme.lower()}://{authority}/")
    except httpx.InvalidURL:
        raise _bad_url(_("Expected an address such as https://host/path.")) from None
    host = parsed.raw_host.decode("ascii").lower()
    # Zero is a port that was given, and there is none of that number.
    port = {"https": 443, "http": 80}[parsed.scheme] if parsed.port is None else parsed.port
    if not host or not 0 < port < 65536 or not _PLAIN_AUTHORITY.fullmatch(authority):
        raise _bad_url(_("Expected an address such as https://host/path."))
    pairs = [pair for pair in (query or "").split("&") if pair]
    return _Url(f"{parsed.scheme}://{authority}", _host_and_port(host, port), path or "/", pairs)


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_url(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="http_url")


def _segment(template: str, values: Values) -> str:
    if not _PLACEHOLDER.search(template):
        return template
    segment = _filled(template, lambda name: _escaped(_in_path(name, values)))
    if unquote(segment) in {".", ".."}:
        raise InvalidRequest(_("The arguments would lead to another path."))
    return segment


def _in_path(name: str, values: Values) -> str:
    """A value that stays in its segment, also where servers unescape it again."""
    text = _needed(name, values)
    plain = text
    for _server in range(_MAX_UNESCAPED):
        plain = unquote(plain)
    if not text or unquote(plain) != plain or {".", ".."} & set(re.split(r"[/\\]", plain)):
        raise InvalidRequest(
            _("“%(value)s” cannot be used as %(name)s: it could lead to another path.")
            % {"value": text[:80], "name": name},
            param=name,
        )
    return text


def _pairs(template: str, values: Values) -> Iterator[str]:
    key, has_value, value = template.partition("=")
    key = _filled(key, lambda name: _escaped(_needed(name, values)))
    whole = _PLACEHOLDER.fullmatch(value)
    if whole is None:
        value = _filled(value, lambda name: _escaped(_text(values.get(name))))
        yield f"{key}={value}" if has_value else key
        return
    for text in _texts(values.get(whole[1])):
        yield f"{key}={_escaped(text)}"


# --- Values --------------------------------------------------------------------------------------


def _filled(template: str, write: Callable[[str], str]) -> str:
    return _PLACEHOLDER.sub(lambda match: write(match[1]), template)


def _escaped(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _needed(name: str, values: Values) -> str:
    if values.get(name) is None:
        raise InvalidRequest(_("There is no value for {%(name)s}.") % {"name": name}, param=name)
    return _text(values[name])


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
