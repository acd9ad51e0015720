"""No URL that a user can steer reaches an address that nobody allowed."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from core import errors, http
from core.errors import OutboundRefused
from core.http import (
    ResponseTooLarge,
    guarded_client,
    is_public,
    parse_rule,
    send_following_redirects,
    shared_client,
    unwrap,
)


class Server:
    """A real HTTP server on loopback that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.answers: dict[str, bytes] = {}
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while line := await reader.readline():
                path = line.split()[1].decode()
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _colon, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((path, headers))
                writer.write(self.answers.get(path, answer(b"hello")))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    listening = await asyncio.start_server(served.handle, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    yield served
    listening.close()


@pytest.fixture(autouse=True)
def no_operator_rules(settings: Any) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    http.forget_operator_rules()


async def get(url: str, **options: Any) -> httpx.Response:
    async with guarded_client(timeout_s=5, **options) as client:
        return await client.get(url)


# Every way that is known to spell an address of this machine or of a private network.
HOSTILE_HOSTS = [
    "127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::ffff:a9fe:a9fe]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "①②⑦.⓪.⓪.①",
    "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[fd00::1]", "[fe80::1]", "[fec0::1]", "[2002:7f00:1::]", "[::7f00:1]",
    "[2001:0:7f00:1::80ff:fffe]", "224.0.0.1", "255.255.255.255", "[ff02::1]", "0", "localhost.",
    "LOCALHOST", "example.com@127.0.0.1", "127.0.0.1%00.example.com", "127。0。0。1",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
async def test_it_reaches_no_private_address(server: Server, host: str) -> None:
    with pytest.raises((OutboundRefused, httpx.HTTPError, httpx.InvalidURL)):
        await get(f"http://{host}:{server.port}/")
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1\\@example.com:{port}/", "http://127.0.0.1:{port}\\@example.com/",
     "file:///etc/passwd", "gopher://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/",
     "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "//127.0.0.1:{port}/", "http:///", "",
     "http://[::1", "dict://127.0.0.1:{port}/", "http://127.0.0.1 :{port}/"],
)  # fmt: skip
async def test_it_reaches_nothing_by_a_strange_url(server: Server, url: str) -> None:
    with pytest.raises((OutboundRefused, httpx.HTTPError, httpx.InvalidURL)):
        await get(url.format(port=server.port))
    assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "x@127.0.0.1",
    ],
)
async def test_it_reaches_what_is_allowed(server: Server, settings: Any, host: str) -> None:
    url = f"http://{host}:{server.port}/"
    with pytest.raises(OutboundRefused):
        await get(url)
    settings.OUTBOUND_ALLOW = [f"127.0.0.0/8:{server.port}", "::1/128"]
    # Some systems give "localhost" an IPv6 address, where this server does not listen.
    assert (await get(url)).text == "hello"


async def test_it_holds_a_rule_to_its_port(server: Server, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = [f"127.0.0.1/32:{server.port + 1}"]
    with pytest.raises(OutboundRefused):
        await get(f"http://127.0.0.1:{server.port}/")
    settings.OUTBOUND_ALLOW = [f"127.0.0.1/32:{server.port}"]
    await get(f"http://127.0.0.1:{server.port}/")


async def test_it_says_what_to_do_and_to_operators_only_where_the_name_leads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolving(monkeypatch, ["10.1.2.3"])
    with pytest.raises(OutboundRefused) as refused:
        await get("http://db.internal:81/")
    assert "db.internal:81" in refused.value.message
    assert "OUTBOUND_ALLOW" in refused.value.message
    assert "10.1.2.3" not in refused.value.message
    assert "10.1.2.3" in caplog.text


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets every name resolve to these addresses, one list per look-up; returns what was asked."""
    asked: list[str] = []

    async def getaddrinfo(
        self: asyncio.AbstractEventLoop, host: str, port: int, **options: Any
    ) -> list[Any]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


async def test_it_refuses_a_name_with_one_private_address(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(OutboundRefused):
        await get(f"http://rebinding.example:{server.port}/")
    assert server.connections == 0


async def test_it_connects_to_the_address_that_it_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    response = await get(f"http://rebinding.example:{server.port}/")
    assert response.text == "hello"
    assert asked == ["rebinding.example"]
    assert server.requests[0][1]["host"] == f"rebinding.example:{server.port}"


async def test_it_tries_the_next_address_when_one_does_not_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    resolving(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    assert (await get(f"http://two.example:{server.port}/")).text == "hello"


async def test_it_ignores_proxies_of_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    with pytest.raises(OutboundRefused):
        await get("http://127.0.0.1:1/")
    assert server.connections == 0


async def test_it_takes_rules_from_operators(server: Server, settings: Any) -> None:
    settings.OUTBOUND_RULES_SOURCE = f"{__name__}.operator_rules"
    OPERATOR_RULES.clear()
    with pytest.raises(OutboundRefused):
        await get(f"http://127.0.0.1:{server.port}/")
    OPERATOR_RULES.append(f"127.0.0.1/32:{server.port}")
    http.forget_operator_rules()
    assert (await get(f"http://127.0.0.1:{server.port}/")).text == "hello"


OPERATOR_RULES: list[str] = []


def operator_rules() -> tuple[str, ...]:
    return tuple(OPERATOR_RULES)


# --- Redirects ---------------------------------------------------------------------------------


@pytest.fixture
def redirecting(
    server: Server, settings: Any
) -> Callable[..., Awaitable[tuple[httpx.Response, Server]]]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]

    async def ask(target: str, **options: Any) -> tuple[httpx.Response, Server]:
        server.answers["/start"] = answer(b"", "302 Found", Location=target)
        headers = {
            "Authorization": "Bearer secret",
            "X-Api-Key": "secret",
            "Cookie": "a=b",
            "Accept": "text/plain",
        }
        async with guarded_client(timeout_s=5) as client:
            request = client.build_request(
                "GET", f"http://127.0.0.1:{server.port}/start", headers=headers
            )
            return await send_following_redirects(client, request, **options), server

    return ask


async def test_it_does_not_follow_redirects_by_itself(server: Server, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    server.answers["/start"] = answer(b"", "302 Found", Location="/end")
    assert (await get(f"http://127.0.0.1:{server.port}/start")).status_code == 302
    assert [path for path, _headers in server.requests] == ["/start"]


async def test_it_follows_redirects_within_an_origin(redirecting: Any) -> None:
    response, server = await redirecting("/end")
    assert response.text == "hello"
    path, headers = server.requests[-1]
    assert (path, headers["authorization"], headers["x-api-key"]) == (
        "/end", "Bearer secret", "secret",
    )  # fmt: skip


async def test_it_takes_no_secrets_to_another_origin(redirecting: Any, server: Server) -> None:
    response, _server = await redirecting(f"http://127.1:{server.port}/end")
    assert response.text == "hello"
    path, headers = server.requests[-1]
    assert path == "/end"
    assert headers["accept"] == "text/plain"
    assert not {"authorization", "x-api-key", "cookie"} & set(headers)


@pytest.mark.parametrize("target", ["http://10.0.0.1/", "http://[::1]/", "//169.254.169.254/x"])
async def test_it_checks_where_a_redirect_leads(redirecting: Any, target: str) -> None:
    with pytest.raises(OutboundRefused):
        await redirecting(target)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/"])
async def test_it_follows_no_redirect_out_of_http(redirecting: Any, target: str) -> None:
    with pytest.raises(httpx.HTTPError):
        await redirecting(target)


async def test_it_stops_after_three_redirects(redirecting: Any, server: Server) -> None:
    with pytest.raises(httpx.TooManyRedirects):
        await redirecting("/start")
    assert len(server.requests) == 4


# --- Caps, cookies, reuse ----------------------------------------------------------------------


async def test_it_stops_reading_at_the_cap(server: Server, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    server.answers["/big"] = answer(b"x" * 1001)
    server.answers["/fits"] = answer(b"x" * 1000)
    url = f"http://127.0.0.1:{server.port}"
    assert len((await get(f"{url}/fits", max_response_bytes=1000)).content) == 1000
    with pytest.raises(ResponseTooLarge):
        await get(f"{url}/big", max_response_bytes=1000)
    assert len((await get(f"{url}/big")).content) == 1001


async def test_it_lets_no_compressed_answer_around_the_cap(server: Server, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    server.answers["/"] = answer(gzip.compress(b"x" * 10_000), Content_Encoding="gzip")
    server.answers["/plain"] = answer(b"x", Content_Encoding="identity")
    url = f"http://127.0.0.1:{server.port}/"
    for options in ({"max_response_bytes": 1000}, {}):
        with pytest.raises(ResponseTooLarge):
            await get(url, **options)
    with pytest.raises(ResponseTooLarge):
        await shared_client().get(url)
    assert {headers["accept-encoding"] for _path, headers in server.requests} == {"identity"}
    assert (await get(f"{url}plain")).text == "x"


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    def names(base: type[Exception]) -> set[str]:
        below = [each for each in base.__subclasses__() if each.__module__.startswith("core.")]
        return {each.__name__ for each in below}.union(*map(names, below))

    drawn = set(re.findall(r"^[├└│─ ]*(\w+) +\d{3}\b", errors.__doc__ or "", re.MULTILINE))
    assert drawn == names(errors.AppError) | {"AppError"} & drawn


async def test_it_keeps_connections_to_vendors_open(server: Server, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    assert shared_client() is shared_client()
    for _number in range(3):
        await shared_client().get(f"http://127.0.0.1:{server.port}/")
    assert server.connections == 1


async def test_it_carries_no_cookies_from_one_request_to_another(
    server: Server, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    server.answers["/"] = answer(b"", Set_Cookie="user=alice; Path=/")
    for _number in range(2):
        await shared_client().get(f"http://127.0.0.1:{server.port}/")
    assert "cookie" not in server.requests[-1][1]


def test_it_closes_the_shared_client_with_its_loop() -> None:
    async def take() -> httpx.AsyncClient:
        return shared_client()

    first, second = asyncio.run(take()), asyncio.run(take())
    assert first is not second
    assert first.is_closed
    assert second.is_closed


# --- Rules and addresses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("10.1.2.3", "10.1.2.3/32", None),
        ("127.0.0.1:11434", "127.0.0.1/32", 11434),
        ("192.168.1.7/24:8000", "192.168.1.0/24", 8000),
        ("::1", "::1/128", None),
        ("fd00::/8", "fd00::/8", None),
        ("fd00::/8:8000", "fd00::/8", 8000),
        ("[::1]:8000", "::1/128", 8000),
        ("[fd00::]/8:8000", "fd00::/8", 8000),
        ("[fd00::/8]:8000", "fd00::/8", 8000),
    ],
)
def test_it_reads_rules(text: str, network: str, port: int | None) -> None:
    rule = parse_rule(text)
    assert (str(rule.network), rule.port) == (network, port)


@pytest.mark.parametrize(
    "text", ["", "localhost", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:x", "[::1"]
)
def test_it_refuses_what_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rule(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("2002:808:808::1", True),
        ("::ffff:10.0.0.1", False),
        ("2002:a00:1::", False),
        ("::", False),
        ("192.0.2.1", False),
        ("240.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_it_knows_public_addresses(address: str, expected: bool) -> None:
    assert is_public(unwrap(ipaddress.ip_address(address))) is expected


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
async def test_it_takes_no_body_to_another_origin(
    server: Server, settings: Any, status: str
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    url = f"http://127.0.0.1:{server.port}"

    async def sent_on_to(target: str) -> httpx.Response:
        server.answers["/start"] = answer(b"", status, Location=target)
        async with guarded_client(timeout_s=5) as client:
            request = client.build_request("POST", f"{url}/start", content=b"secret")
            return await send_following_redirects(client, request)

    assert (await sent_on_to("/end")).text == "hello"
    with pytest.raises(OutboundRefused):
        await sent_on_to(f"http://127.1:{server.port}/end")
    assert [path for path, _headers in server.requests] == ["/start", "/end", "/start"]
