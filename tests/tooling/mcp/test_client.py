"""Sessions with real servers, over both transports."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.lowlevel import Server
from mcp.types import ListToolsResult, PaginatedRequestParams, Tool, ToolExecution
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.errors import OutboundRefused, ProviderError
from tests.tooling.mcp.conftest import endpoint_of, target_of
from tests.tooling.mcp.servers import Odd, Peer, Seen, listening, make_server, running_peer
from tooling.mcp import sessions, wire
from tooling.mcp.client import call, list_tools
from tooling.types import McpEndpoint, ToolResult

LIMIT_MS = 10_000


async def called(endpoint: McpEndpoint, tool_name: str, **arguments: Any) -> ToolResult:
    return await call(target_of(endpoint, tool_name), arguments, timeout_ms=LIMIT_MS)


async def test_it_lists_the_tools(endpoint: McpEndpoint) -> None:
    tools = {tool.name: tool for tool in await list_tools(endpoint)}
    assert list(tools) == [
        "order_status", "count", "picture", "everything", "broken", "slow", "big",
    ]  # fmt: skip
    assert tools["order_status"].description == "Tells where an order is."
    assert tools["order_status"].input_schema["required"] == ["number"]
    assert len({tool.digest for tool in tools.values()}) == len(tools)


async def test_it_calls_a_tool(endpoint: McpEndpoint, peer: Peer) -> None:
    result = await called(endpoint, "order_status", number="7")
    assert (result.code, result.output) == (200, "Order 7 is on its way.")
    assert peer.seen.calls == [("order_status", {"number": "7", "verbose": False})]


async def test_a_call_asks_the_server_for_nothing_but_itself(
    endpoint: McpEndpoint, peer: Peer
) -> None:
    await called(endpoint, "count", numbers=[1])
    assert peer.seen.methods == ["initialize", "notifications/initialized", "tools/call"]


async def test_the_callers_fixed_arguments_go_over_the_models(
    endpoint: McpEndpoint, peer: Peer
) -> None:
    target = target_of(endpoint, "order_status", number="1")
    await call(target, {"number": "2", "verbose": True}, timeout_ms=LIMIT_MS)
    assert peer.seen.calls == [("order_status", {"number": "1", "verbose": True})]


async def test_every_request_carries_the_callers_headers(peer: Peer) -> None:
    endpoint = endpoint_of(peer, headers={"Authorization": "Bearer a", "X-Team": "b"})
    await called(endpoint, "order_status", number="7")
    assert peer.seen.header("authorization") == {"Bearer a"}
    assert peer.seen.header("x-team") == {"b"}
    assert len(peer.seen.requests) > 2


@pytest.mark.parametrize(
    ("tool_name", "output"),
    [
        ("count", {"sum": 3, "of": 2}),
        ("picture", "[image, image/png, 70 bytes]"),
        (
            "everything",
            "first\n\n[audio, audio/wav, 3 bytes]\n\n[link: manual <https://a.test/m.pdf>]\n\n"
            '[text of <file:///a.txt>]\ninside\n\n{"total": 3}',
        ),
    ],
)
async def test_it_makes_text_of_every_kind_of_result(
    endpoint: McpEndpoint, tool_name: str, output: Any
) -> None:
    arguments = {"numbers": [1, 2]} if tool_name == "count" else {}
    result = await called(endpoint, tool_name, **arguments)
    assert result.code == 200
    assert (result.output if isinstance(output, str) else json.loads(result.output)) == output


@pytest.mark.parametrize(
    ("tool_name", "said"),
    [
        ("broken", "Error executing tool broken"),
        ("unknown", "Unknown tool: unknown"),
        ("order_status", "Field required"),
    ],
)
async def test_an_error_of_the_tool_is_a_failed_result(
    endpoint: McpEndpoint, tool_name: str, said: str
) -> None:
    result = await called(endpoint, tool_name)
    assert (result.code, result.message) == (500, "The tool reported an error.")
    assert said in result.output


# --- Servers that do not work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "Orders refused the credential (status 401)."),
        (403, "Orders refused the credential (status 403)."),
        (404, "There is no MCP server of this transport at this address (status 404)."),
        (429, "Orders failed (status 429)."),
        (500, "Orders failed (status 500)."),
    ],
)
async def test_it_says_how_a_server_refuses(
    endpoint: McpEndpoint, peer: Peer, status: int, said: str
) -> None:
    peer.refuses = status
    result = await called(endpoint, "order_status", number="7")
    assert (result.code, result.message) == (502, said)
    with pytest.raises(ProviderError, match=str(status)):
        await list_tools(endpoint)
    peer.refuses = None
    assert (await called(endpoint, "order_status", number="7")).code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", '{"status": "ok"}'), ("application/json", "no JSON"),
     ("text/html", "<p>Welcome</p>")],
)  # fmt: skip
async def test_it_says_that_what_answers_is_no_mcp_server(
    loopback_allowed: None, content_type: str, body: str
) -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, media_type=content_type)(scope, receive, send)

    with listening(page) as base_url:
        endpoint = McpEndpoint("m1", "Shop", "streamable_http", base_url)
        with pytest.raises(ProviderError) as raised:
            await list_tools(endpoint)
    assert raised.value.message == "Shop sent an answer that cannot be read."


async def test_it_does_not_wait_for_an_answer_to_a_refused_message(
    endpoint: McpEndpoint, peer: Peer
) -> None:
    peer.refuses_posts = 403
    async with asyncio.timeout(sessions.HANDSHAKE_S):
        result = await called(endpoint, "order_status", number="7")
    assert result.message == "Orders refused the credential (status 403)."


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.2:1/mcp", "http://169.254.169.254/latest", "https://a.test/mcp"]
)
async def test_it_follows_no_redirect_to_another_origin(
    endpoint: McpEndpoint, peer: Peer, elsewhere: str
) -> None:
    peer.redirects_to = elsewhere
    result = await called(endpoint, "order_status", number="7")
    assert result.message == "Orders redirects elsewhere (status 307); enter that address."
    assert {path for _verb, path, _headers in peer.seen.requests} <= {"/mcp", "/sse"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("allowed", [True, False])
async def test_it_reaches_only_addresses_that_the_guard_lets_through(
    endpoint: McpEndpoint, peer: Peer, settings: Any, allowed: bool
) -> None:
    if not allowed:
        settings.OUTBOUND_ALLOW = []
    result = await called(endpoint, "order_status", number="7")
    assert result.code == (200 if allowed else 400)
    assert bool(peer.seen.requests) == allowed
    if not allowed:
        assert "is not a public address" in result.message
        with pytest.raises(OutboundRefused):
            await list_tools(endpoint)


async def test_it_says_that_nobody_listens(endpoint: McpEndpoint) -> None:
    gone = dataclasses.replace(endpoint, url="http://127.0.0.1:9/mcp")
    assert (await called(gone, "order_status")).message == "Orders cannot be reached."


async def test_it_reads_no_more_than_a_few_megabytes(endpoint: McpEndpoint) -> None:
    assert (await called(endpoint, "big", size=500_000)).output == "x" * 500_000
    result = await called(endpoint, "big", size=wire.MAX_SESSION_BYTES + 1)
    assert result.code == 502
    assert result.output == ""


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<h1>Hello</h1>"),
        ("application/json", b"{"),
        ("application/json", b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"1"}}'),
        ("application/json", b'{"jsonrpc":"2.0","id":0,"result":null}'),
        ("text/event-stream", b"event: message\ndata: nonsense\n\n"),
        ("text/event-stream", b"event: endpoint\ndata: http://other.test/\n\n"),
        ("text/event-stream", b""),
    ],
)
async def test_nonsense_is_a_failed_result(
    loopback_allowed: None,
    monkeypatch: pytest.MonkeyPatch,
    transport: Any,
    content_type: str,
    body: bytes,
) -> None:
    # Of some, the SDK keeps it to itself that the answer will never come.
    monkeypatch.setattr(sessions, "HANDSHAKE_S", 1)
    with listening(Odd(content_type, body)) as base_url:
        endpoint = McpEndpoint("m1", "Orders", transport, f"{base_url}/mcp")
        result = await called(endpoint, "order_status", number="7")
    assert result.code in (502, 504)
    assert "Orders" in result.message


# --- Time-outs and cancellation ------------------------------------------------------------------


async def settled(is_settled: Any) -> None:
    """Waits, as long as it takes but not for ever."""
    async with asyncio.timeout(10):
        while not is_settled():
            await asyncio.sleep(0.01)


@pytest.fixture
async def nothing_is_left() -> Callable[[], Awaitable[None]]:
    """Waits until only the test runs: the loop closes unread generators a moment later."""
    before = asyncio.all_tasks()

    def is_alone() -> bool:
        ours = {*before, asyncio.current_task()}
        return all(task.done() for task in asyncio.all_tasks() - ours)

    return lambda: settled(is_alone)


async def test_a_late_call_ends_and_leaves_nothing_running(
    endpoint: McpEndpoint, peer: Peer, nothing_is_left: Any
) -> None:
    result = await call(target_of(endpoint, "slow"), {}, timeout_ms=1000)
    assert (result.code, result.message) == (504, "Orders did not answer in time.")
    await nothing_is_left()
    await settled(peer.seen.cancelled.is_set)
    assert (await called(endpoint, "order_status", number="7")).code == 200


async def test_a_cancelled_call_leaves_nothing_running(
    endpoint: McpEndpoint, peer: Peer, nothing_is_left: Any
) -> None:
    call_made = asyncio.create_task(called(endpoint, "slow"))
    await settled(peer.seen.started.is_set)
    call_made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call_made
    await nothing_is_left()
    await settled(peer.seen.cancelled.is_set)


async def test_a_call_can_be_cancelled_at_any_moment(
    endpoint: McpEndpoint, nothing_is_left: Any
) -> None:
    for steps in range(0, 120, 3):
        call_made = asyncio.create_task(called(endpoint, "order_status", number="7"))
        for _step in range(steps):
            await asyncio.sleep(0)
        if call_made.done():
            break
        call_made.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call_made
        await nothing_is_left()
    assert (await called(endpoint, "order_status", number="7")).code == 200


async def test_calls_side_by_side_have_sessions_of_their_own(
    endpoint: McpEndpoint, peer: Peer, nothing_is_left: Any
) -> None:
    numbers = [str(number) for number in range(20)]
    results = await asyncio.gather(
        *(called(endpoint, "order_status", number=number) for number in numbers)
    )
    assert [result.output for result in results] == [
        f"Order {number} is on its way." for number in numbers
    ]
    assert peer.seen.methods.count("initialize") == len(numbers)
    await nothing_is_left()


async def test_one_of_several_calls_can_fail(endpoint: McpEndpoint, nothing_is_left: Any) -> None:
    results = await asyncio.gather(
        called(endpoint, "broken"),
        called(endpoint, "order_status", number="7"),
        call(target_of(endpoint, "slow"), {}, timeout_ms=1000),
    )
    assert [result.code for result in results] == [500, 200, 504]
    await nothing_is_left()


async def test_a_server_that_does_not_greet_is_not_waited_for_long(
    loopback_allowed: None, transport: Any, monkeypatch: pytest.MonkeyPatch, nothing_is_left: Any
) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive())["type"] != "http.disconnect":
                pass

    monkeypatch.setattr(sessions, "HANDSHAKE_S", 0.3)
    with listening(silent) as base_url:
        endpoint = McpEndpoint("m1", "Orders", transport, f"{base_url}/mcp")
        result = await called(endpoint, "order_status")
        assert (result.code, result.message) == (504, "Orders did not answer in time.")
        await nothing_is_left()


# --- Other versions of the protocol --------------------------------------------------------------


@pytest.fixture(params=[{"stateless_http": True}, {"json_response": True}])
def other_peer(request: pytest.FixtureRequest, loopback_allowed: None) -> Iterator[Peer]:
    with running_peer(**request.param) as peer:
        yield peer


async def test_it_speaks_with_servers_without_sessions_or_streams(other_peer: Peer) -> None:
    result = await called(endpoint_of(other_peer), "order_status", number="7")
    assert result.output == "Order 7 is on its way."


class NoHandshake:
    """In front of a server: it knows `initialize` no more, as versions of 2026 may."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()
        sent = json.loads(message["body"])
        if sent["method"] == "initialize":
            error = {"code": -32601, "message": "Method not found"}
            body = json.dumps({"jsonrpc": "2.0", "id": sent["id"], "error": error}).encode()
            await Odd("application/json", body)(scope, receive, send)
            return
        waiting = [message]

        async def again() -> Any:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, again, send)


async def test_it_speaks_with_servers_that_know_no_handshake(loopback_allowed: None) -> None:
    app = make_server(Seen()).streamable_http_app()
    with listening(NoHandshake(app)) as base_url:
        endpoint = McpEndpoint("m1", "Orders", "streamable_http", f"{base_url}/mcp")
        assert len(await list_tools(endpoint)) == 7
        assert (await called(endpoint, "order_status", number="7")).code == 200


# --- Lists ---------------------------------------------------------------------------------------


def listing_server(pages: int, *, task_support: Any = None) -> Server[Any]:
    """A server with a tool on each page; with more pages than anybody reads, for ever."""

    async def on_list_tools(_context: Any, params: PaginatedRequestParams | None) -> Any:
        page = int(params.cursor or 0) if params else 0
        execution = ToolExecution(task_support=task_support) if task_support else None
        tool = Tool(name=f"t{page}", input_schema={"type": "object"}, execution=execution)
        following = str(page + 1) if page + 1 < pages else None
        return ListToolsResult(tools=[tool], next_cursor=following)

    return Server("pages", on_list_tools=on_list_tools)


async def names_listed(server: Server[Any]) -> list[str]:
    with listening(server.streamable_http_app()) as base_url:
        endpoint = McpEndpoint("m1", "Pages", "streamable_http", f"{base_url}/mcp")
        return [tool.name for tool in await list_tools(endpoint)]


async def test_it_reads_a_list_page_by_page(loopback_allowed: None) -> None:
    assert await names_listed(listing_server(3)) == ["t0", "t1", "t2"]


async def test_a_list_without_end_is_a_failure(
    loopback_allowed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_PAGES", 4)
    assert len(await names_listed(listing_server(4))) == 4
    with pytest.raises(ProviderError, match="more than 4 pages"):
        await names_listed(listing_server(1_000_000))


async def test_a_list_that_is_too_long_is_a_failure_on_one_page_too(
    loopback_allowed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await names_listed(listing_server(2)) == ["t0", "t1"]
    monkeypatch.setattr(sessions, "MAX_TOOLS", 1)
    with pytest.raises(ProviderError, match="more than 1 tools"):
        await names_listed(listing_server(2))
    monkeypatch.setattr(sessions, "MAX_TOOLS", 0)
    with pytest.raises(ProviderError, match="more than 0 tools"):
        await names_listed(listing_server(1))


async def test_tools_that_outlive_a_session_are_left_out(loopback_allowed: None) -> None:
    assert await names_listed(listing_server(2, task_support="optional")) == ["t0", "t1"]
    assert await names_listed(listing_server(2, task_support="required")) == []


# --- Processes -----------------------------------------------------------------------------------


def process_endpoint(*command: str, **environment: str) -> McpEndpoint:
    return McpEndpoint("m1", "Time", "stdio", command=command, environment=environment)


TIME = str(Path(sys.executable).parent / "mcp-server-time")


async def test_it_speaks_with_the_time_server(nothing_is_left: Any) -> None:
    endpoint = process_endpoint(TIME, "--local-timezone", "UTC")
    assert [tool.name for tool in await list_tools(endpoint)] == [
        "get_current_time", "convert_time",
    ]  # fmt: skip
    result = await called(endpoint, "get_current_time", timezone="Asia/Shanghai")
    assert json.loads(result.output)["timezone"] == "Asia/Shanghai"
    await nothing_is_left()


async def test_it_finds_programs_of_our_environment_that_path_does_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    tools = await list_tools(process_endpoint("mcp-server-time"))
    assert "get_current_time" in [tool.name for tool in tools]


@pytest.mark.parametrize("program", ["/nowhere/mcp", "mcp-server-nowhere"])
async def test_it_says_that_a_program_was_not_found(program: str) -> None:
    result = await called(process_endpoint(program), "get_current_time")
    message = "Time cannot be started: its program was not found."
    assert (result.code, result.message) == (502, message)


async def test_it_says_that_a_program_cannot_be_started(tmp_path: Path) -> None:
    file = tmp_path / "mcp"
    file.write_text("no program", encoding="utf-8")
    result = await called(process_endpoint(str(file)), "get_current_time")
    assert (result.code, result.message) == (502, "Time cannot be started.")


async def test_it_says_that_a_process_ended_at_once() -> None:
    result = await called(process_endpoint(sys.executable, "-c", "pass"), "get_current_time")
    assert (result.code, result.message) == (502, "The answer of Time broke off.")


async def test_a_process_sees_only_the_environment_that_was_written_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY", "ours")
    seen = tmp_path / "seen.json"
    code = f"import json, os; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))"
    await called(process_endpoint(sys.executable, "-c", code, THEIRS="yes"), "any")
    environment = json.loads(seen.read_text())
    assert environment["THEIRS"] == "yes"
    assert "SECRET_KEY" not in environment
    assert "DATABASE_URL" not in environment
