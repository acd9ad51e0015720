"""No address that a user writes into a tool leads inwards: on a call, by redirect or by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.peers import HOSTILE_URLS, Peer, Reply, resolve_inwards
from tooling.runner import run_tool
from tooling.types import (
    Backend,
    BuiltinTarget,
    HttpTarget,
    Target,
    ToolContext,
    ToolResult,
    ToolSpec,
)

CONTEXT = ToolContext(None, "assistant", "en", "UTC")


def spec(target: Target) -> ToolSpec:
    """A tool as a stored row becomes one, whatever checks its row has met."""
    return ToolSpec(
        id="orders",
        name="Orders",
        description="",
        parameters={"type": "object"},
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=3000,
        target=target,
    )


async def call(target: Target, **arguments: Any) -> ToolResult:
    return await run_tool(spec(target), arguments, CONTEXT)


def services(base_url: str) -> dict[str, tuple[Target, dict[str, str]]]:
    """Whatever asks an address that somebody entered, and the arguments of a call."""
    return {
        "http tool": (HttpTarget("GET", base_url), {}),
        "unsafe http tool": (HttpTarget("POST", base_url), {"a": "b"}),
        "weather": (
            BuiltinTarget("weather", Backend("open_meteo", base_url)),
            {"city": "Rome"},
        ),
        "searxng": (BuiltinTarget("search", Backend("searxng", base_url)), {"query": "Rome"}),
        "tavily": (BuiltinTarget("search", Backend("tavily", base_url, "key")), {"query": "Rome"}),
    }


@pytest.mark.parametrize("kind", services(""))
@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_no_call_reaches_a_private_address(peer: Peer, kind: str, url: str) -> None:
    target, arguments = services(url.format(port=peer.port))[kind]
    result = await call(target, **arguments)
    assert result.code >= 400
    assert result.output == ""
    assert peer.connections == 0


@pytest.mark.parametrize("kind", services(""))
async def test_a_call_reaches_what_an_operator_allowed(
    peer: Peer, settings: Any, kind: str
) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]
    target, arguments = services(peer.url)[kind]
    await call(target, **arguments)
    assert peer.connections > 0


@pytest.mark.parametrize("kind", services(""))
async def test_no_name_leads_inwards(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, settings: Any, kind: str
) -> None:
    asked = resolve_inwards(monkeypatch)
    target, arguments = services(f"http://rebinding.example:{peer.port}")[kind]
    result = await call(target, **arguments)
    assert result.code >= 400
    assert set(asked) == {"rebinding.example"}
    assert peer.connections == 0
    # The name of the inside is nobody's business: the message names what was asked for only.
    assert "127.0.0.1" not in result.message
    settings.OUTBOUND_ALLOW = [peer.host]
    await call(target, **arguments)
    assert peer.connections > 0


@pytest.mark.parametrize("kind", services(""))
@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_no_redirect_leads_inwards(
    two_peers: list[Peer], settings: Any, kind: str, url: str
) -> None:
    open_one, private = two_peers
    settings.OUTBOUND_ALLOW = [open_one.host]
    location = url.format(port=private.port).encode().decode("latin-1")
    open_one.reply = Reply(b"", 302, {"Location": location})
    target, arguments = services(open_one.url)[kind]
    result = await call(target, **arguments)
    assert result.code >= 400
    assert private.connections == 0
    assert open_one.connections > 0


async def test_a_redirect_to_what_is_allowed_is_followed_without_secrets(
    two_peers: list[Peer], settings: Any
) -> None:
    first, second = two_peers
    settings.OUTBOUND_ALLOW = [first.host, second.host]
    first.reply = Reply(b"", 302, {"Location": f"{second.url}/elsewhere"})
    headers = {"Authorization": "Bearer sk-0123456789", "X-Api-Key": "sk-0123456789"}
    result = await call(HttpTarget("GET", first.url, headers))
    assert result.output == '{"status": "sent"}'
    assert first.seen[0].headers["authorization"] == ["Bearer sk-0123456789"]
    assert "sk-0123456789" not in str(second.seen)


@pytest.mark.parametrize(
    "argument",
    [
        "@127.0.0.1:{port}/", "127.0.0.1:{port}", "//127.0.0.1:{port}/", "\\\\127.0.0.1:{port}\\",
        "../../127.0.0.1", "http://127.0.0.1:{port}/", "?x=@127.0.0.1", "#@127.0.0.1:{port}",
        "..%2f..%2fadmin", "%2e%2e", "..", ".", "\r\nHost: 127.0.0.1",
    ],
)  # fmt: skip
async def test_no_argument_moves_a_request(
    two_peers: list[Peer], settings: Any, argument: str
) -> None:
    wanted, other = two_peers
    settings.OUTBOUND_ALLOW = [wanted.host]
    target = HttpTarget("GET", f"{wanted.url}/orders/{{order}}/status?of={{order}}")
    await call(target, order=argument.format(port=other.port))
    assert other.connections == 0
    for seen in wanted.seen:
        path, _mark, query = seen.target.partition("?")
        assert path.startswith("/orders/")
        assert path.endswith("/status")
        assert path.count("/") == 3
        assert query.startswith("of=")
        assert "&" not in query
        assert seen.headers["host"] == [wanted.host]
    await call(target, order="A-1 ü")
    assert wanted.seen[-1].target == "/orders/A-1%20%C3%BC/status?of=A-1%20%C3%BC"


async def test_no_argument_is_the_host(two_peers: list[Peer], settings: Any) -> None:
    allowed, _other = two_peers
    settings.OUTBOUND_ALLOW = [allowed.host]
    for url in (f"http://{{host}}:{allowed.port}/", "http://{host}/", "{url}", "{scheme}://x/"):
        values = {"host": "127.0.0.1", "url": allowed.url, "scheme": "http"}
        result = await call(HttpTarget("GET", url), **values)
        assert result.code == 400
    assert allowed.connections == 0
    assert (await call(HttpTarget("GET", f"{allowed.url}/{{host}}"), host="h")).code == 200
