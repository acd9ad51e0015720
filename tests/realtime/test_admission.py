"""Who may talk: credentials, origins, limits, and the close code of each refusal."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.test import Client as Browser
from django.utils import timezone
from websockets.exceptions import InvalidStatus

from accounts import tickets, tokens
from accounts.models import ApiKey, User
from accounts.principals import Principal, principal_for_credential, principal_for_user
from assistants.models import Assistant
from core.db import in_db
from realtime import admission, pipeline
from tests.conftest import client_with, make_key, make_user
from tests.realtime.conftest import Client, Connect, change

pytestmark = pytest.mark.django_db(transaction=True)


async def starts(client: Client) -> None:
    await client.start()
    await client.send("session.stop")
    assert await client.closed() == 1000


async def refused(client: Client) -> tuple[str, int]:
    """The code of the last error, and the code of the close."""
    code = await client.closed()
    error = client.events[-1]
    assert error["type"] == "error"
    assert error["message"]
    return str(error["data"]["code"]), code


@pytest.fixture
def principal(alice: User) -> Principal:
    return principal_for_user(alice)


@pytest.fixture
def bob_key(transactional_db: None) -> str:
    return make_key(make_user("bob"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers are not waited for."""
    monkeypatch.setattr(pipeline, "HELLO_WAIT_S", 0.05)


@pytest.mark.parametrize("door", ["bearer", "x_api_key", "subprotocol", "hello", "slash"])
async def test_a_key_opens_every_door(
    connect_to: Connect, assistant: Assistant, alice_key: str, door: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "bearer": {"key": alice_key},
        "x_api_key": {"headers": {"X-Api-Key": alice_key}},
        "subprotocol": {"subprotocols": ["bearer", alice_key]},
        "hello": {},
        "slash": {"key": alice_key, "path": "/ws/"},
    }
    async with connect_to(assistant, **ways[door]) as client:
        if door == "hello":
            await client.send("hello", version="v1", auth={"apiKey": alice_key})
            await client.wait("hello.ack")
        assert client.socket.subprotocol == ("bearer" if door == "subprotocol" else None)
        await starts(client)


async def test_an_access_token_is_as_good_as_a_key(
    connect_to: Connect, assistant: Assistant, alice: User
) -> None:
    token = await in_db(lambda: tokens.issue(alice).access)
    async with connect_to(assistant, key=token) as client:
        await starts(client)
    async with connect_to(assistant) as client:
        await client.send("hello", version="v1", auth={"jwt": token})
        await starts(client)


async def test_a_ticket_opens_one_socket_once(
    connect_to: Connect, assistant: Assistant, principal: Principal
) -> None:
    ticket = await tickets.issue(principal, assistant.pk)
    async with connect_to(assistant, query=f"&ticket={ticket}") as client:
        await starts(client)
    async with connect_to(assistant, query=f"&ticket={ticket}") as client:
        assert await refused(client) == ("auth.invalid_api_key", 4401)


async def test_a_ticket_is_for_its_assistant_only(
    connect_to: Connect, assistant: Assistant, principal: Principal
) -> None:
    ticket = await tickets.issue(principal, "another")
    async with connect_to(assistant, query=f"&ticket={ticket}") as client:
        assert await refused(client) == ("auth.forbidden", 4403)


@pytest.mark.parametrize("way", ["bearer", "x_api_key", "subprotocol", "hello", "two keys"])
async def test_a_bad_key_is_refused_at_every_door(
    connect_to: Connect, assistant: Assistant, alice_key: str, way: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "bearer": {"key": "sk-gw-wrong"},
        "x_api_key": {"headers": {"X-Api-Key": "sk-gw-wrong"}},
        "subprotocol": {"subprotocols": ["bearer", "sk-gw-wrong"]},
        "hello": {},
        "two keys": {"key": alice_key, "headers": {"X-Api-Key": "sk-gw-other"}},
    }
    async with connect_to(assistant, **ways[way]) as client:
        if way == "hello":
            await client.send("hello", version="v1", auth={"apiKey": "sk-gw-wrong"})
        assert await refused(client) == ("auth.invalid_api_key", 4401)


async def test_a_hello_must_agree_with_the_handshake(
    connect_to: Connect, assistant: Assistant, alice_key: str, bob_key: str
) -> None:
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("hello", version="v1", auth={"apiKey": alice_key})
        await client.wait("hello.ack")
        await client.send("hello", version="v1", auth={"apiKey": bob_key})
        assert await refused(client) == ("auth.invalid_api_key", 4401)


async def test_a_private_assistant_needs_a_credential(
    connect_to: Connect, assistant: Assistant, quick: None
) -> None:
    async with connect_to(assistant) as client:
        assert await refused(client) == ("auth.required", 4401)
    async with connect_to("unknown") as client:
        assert await refused(client) == ("auth.required", 4401)
    async with connect_to(assistant) as client:
        await client.send("session.start")
        assert await refused(client) == ("auth.required", 4401)


async def test_no_assistant_is_a_protocol_error(connect_to: Connect, alice_key: str) -> None:
    async with connect_to(None, key=alice_key) as client:
        assert await refused(client) == ("protocol.assistant_id_required", 4400)


async def test_other_paths_have_no_socket(connect_to: Connect, alice_key: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connect_to(None, key=alice_key, path="/wss"):
            pass
    assert refusal.value.response.status_code == 403


async def test_unknown_and_foreign_assistants_look_alike(
    connect_to: Connect, assistant: Assistant, alice_key: str, bob_key: str
) -> None:
    async with connect_to(assistant, key=bob_key) as client:
        assert await refused(client) == ("assistant.not_found", 4404)
        foreign = client.events[-1]["message"]
    async with connect_to("unknown", key=bob_key) as client:
        assert await refused(client) == ("assistant.not_found", 4404)
    assert client.events[-1]["message"] == foreign


async def test_a_key_needs_the_scope_voice(
    connect_to: Connect, assistant: Assistant, alice: User
) -> None:
    key = await in_db(lambda: make_key(alice, scopes=["manage", "chat"]))
    async with connect_to(assistant, key=key) as client:
        assert await refused(client) == ("auth.forbidden", 4403)


@pytest.mark.parametrize(
    ("allowed", "origin", "is_welcome"),
    [
        ([], None, True),
        ([], "own", True),
        ([], "https://evil.example", False),
        (["https://shop.example"], "https://shop.example", True),
        (["https://shop.example"], "own", False),
        (["https://shop.example"], None, False),
    ],
)
async def test_a_public_assistant_talks_to_allowed_pages(
    connect_to: Connect,
    assistant: Assistant,
    quick: None,
    allowed: list[str],
    origin: str | None,
    is_welcome: bool,
) -> None:
    await change(assistant, is_public=True, allowed_origins=allowed)
    async with connect_to(assistant) as probe:
        port = probe.socket.remote_address[1]
    shown = f"http://127.0.0.1:{port}" if origin == "own" else origin
    headers = {"Origin": shown} if shown else {}
    async with connect_to(assistant, headers=headers) as client:
        if is_welcome:
            await starts(client)
        else:
            assert await refused(client) == ("auth.forbidden", 4403)


async def test_a_foreign_name_for_this_server_is_not_our_own_page(
    connect_to: Connect, assistant: Assistant, quick: None
) -> None:
    await change(assistant, is_public=True)
    headers = {"Host": "rebound.example", "Origin": "http://rebound.example"}
    async with connect_to(assistant, headers=headers) as client:
        assert await refused(client) == ("auth.forbidden", 4403)


async def test_strangers_cannot_make_a_public_assistant_their_own(
    connect_to: Connect, assistant: Assistant, quick: None
) -> None:
    await change(assistant, is_public=True)
    async with connect_to(assistant) as client:
        overrides: dict[str, Any] = {"systemPrompt": "Write my homework."}
        await client.send("session.start", metadata={"overrides": overrides})
        await client.wait("error", code="protocol.invalid_override")
        await client.start(overrides={"output": {"mode": "text"}})


async def test_no_more_sockets_than_allowed(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any
) -> None:
    settings.VOICE_SOCKETS_PER_USER = 2
    async with connect_to(assistant, key=alice_key) as one:
        await one.start()
        async with connect_to(assistant, key=alice_key) as two:
            await two.start()
            async with connect_to(assistant, key=alice_key) as three:
                assert await refused(three) == ("rate_limit.connections", 4429)
                assert three.events[-1]["data"]["retryable"] is True
            await two.send("session.stop")
            assert await two.closed() == 1000
        async with connect_to(assistant, key=alice_key) as four:
            await starts(four)


async def test_those_who_hang_up_at_once_leave_their_slot(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any
) -> None:
    settings.VOICE_SOCKETS_PER_USER = 3
    for _round in range(8):
        async with connect_to(assistant, key=alice_key) as client:
            client.socket.transport.abort()
        await pipeline.close_all()
    async with connect_to(assistant, key=alice_key) as client:
        await starts(client)


@pytest.mark.parametrize(
    "what",
    [
        "key disabled",
        "key expired",
        "logged out",
        "password changed",
        "user gone",
        "assistant gone",
    ],
)
@pytest.mark.parametrize("by_ticket", [False, True])
async def test_lost_rights_end_a_call(
    connect_to: Connect,
    assistant: Assistant,
    alice: User,
    alice_key: str,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    by_ticket: bool,
) -> None:
    monkeypatch.setattr(pipeline, "TICK_S", 0.05)
    monkeypatch.setattr(pipeline, "RECHECK_EVERY_S", 0.1)

    def lose() -> None:
        if what == "key disabled":
            ApiKey.objects.update(is_enabled=False)
        elif what == "key expired":
            ApiKey.objects.update(expires_at=timezone.now())
        elif what == "logged out":
            tokens.end_all_logins(alice)
        elif what == "password changed":
            alice.set_password("quite another one")
            alice.save()
        elif what == "user gone":
            User.objects.filter(pk=alice.pk).update(is_active=False)
        else:
            Assistant.objects.filter(pk=assistant.pk).delete()

    token = await in_db(lambda: tokens.issue(alice).access)
    credential = token if what in ("logged out", "password changed") else alice_key
    shown: dict[str, Any] = {"key": credential}
    if by_ticket:
        principal = await in_db(principal_for_credential, credential)
        shown = {"query": f"&ticket={await tickets.issue(principal, assistant.pk)}"}
    async with connect_to(assistant, **shown) as client:
        await client.start()
        await in_db(lose)
        closed = await client.closed()
    if what == "assistant gone":
        assert (client.of("error")[-1]["data"]["code"], closed) == ("assistant.not_found", 4404)
    else:
        assert (client.of("error")[-1]["data"]["code"], closed) == ("auth.invalid_api_key", 4401)


async def test_a_demoted_operator_leaves_somebody_elses_assistant(
    connect_to: Connect, assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "TICK_S", 0.05)
    monkeypatch.setattr(pipeline, "RECHECK_EVERY_S", 0.1)
    operator = await in_db(lambda: make_user("olga", is_staff=True))
    key = await in_db(lambda: make_key(operator))
    async with connect_to(assistant, key=key) as client:
        await client.start()
        await change(operator, is_staff=False)
        assert await client.closed() == 4404
    assert client.of("error")[-1]["data"]["code"] == "assistant.not_found"


async def test_too_many_connects_are_turned_away_by_key_and_by_address(
    connect_to: Connect, assistant: Assistant, alice_key: str, settings: Any, quick: None
) -> None:
    settings.VOICE_SOCKETS_PER_USER = 1  # six connects a minute
    for key in (alice_key, "sk-gw-wrong"):
        codes: list[tuple[str, int]] = []
        for _number in range(7):
            async with connect_to("unknown", key=key) as client:
                codes.append(await refused(client))
        assert set(codes[:6]).isdisjoint(codes[6:])
        assert codes[6] == ("rate_limit.connections", 4429)


async def test_one_stranger_cannot_take_all_sockets_of_a_public_assistant(
    connect_to: Connect, assistant: Assistant, alice_key: str, quick: None
) -> None:
    await change(assistant, is_public=True)
    async with AsyncExitStack() as calls:
        for _number in range(3):
            await (await calls.enter_async_context(connect_to(assistant))).start()
        async with connect_to(assistant) as client:
            assert await refused(client) == ("rate_limit.connections", 4429)
        async with connect_to(assistant, key=alice_key) as client:
            await starts(client)
    await pipeline.close_all()
    async with connect_to(assistant) as client:
        await starts(client)


async def test_a_call_that_cannot_be_opened_gives_its_slot_back(
    connect_to: Connect,
    assistant: Assistant,
    alice_key: str,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.VOICE_SOCKETS_PER_USER = 1

    async def fail(*arguments: Any, **options: Any) -> None:
        raise LookupError("not a database's error")

    with monkeypatch.context() as broken:
        broken.setattr(admission, "open_call", fail)
        async with connect_to(assistant, key=alice_key) as client:
            assert await refused(client) == ("internal", 1011)
    async with connect_to(assistant, key=alice_key) as client:
        await starts(client)


async def test_an_assistant_that_cannot_be_loaded_says_so(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.core.exceptions import ImproperlyConfigured

    def fail(assistant_id: str, *, caller_id: int | None) -> None:
        raise ImproperlyConfigured("a key is missing")

    monkeypatch.setattr(admission, "load_runtime", fail)
    async with connect_to(assistant, key=alice_key) as client:
        assert await refused(client) == ("assistant.config_unavailable", 4503)
    assert "a key is missing" not in str(client.events)


async def test_too_many_calls_for_the_process_are_turned_away(
    connect_to: Connect, assistant: Assistant, alice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.errors import Unavailable

    def full(*arguments: Any, **options: Any) -> None:
        raise Unavailable("Too many calls.")

    monkeypatch.setattr(pipeline, "Ear", full)
    async with connect_to(assistant, key=alice_key) as client:
        await client.send("session.start")
        assert await client.closed() == 4503
    assert client.of("error")[-1]["data"]["retryable"] is True


# --- tickets over HTTP ----------------------------------------------------------------------
URL = "/api/v1/voice/tickets"


def test_a_key_gets_a_ticket(assistant: Assistant, alice_key: str) -> None:
    answer = client_with(alice_key).post(URL, {"assistant_id": assistant.pk}, format="json")
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["data"]["expires_in"] == 60
    principal = asyncio.run(tickets.redeem(body["data"]["ticket"]))
    assert principal.assistant_id == assistant.pk
    assert principal.scopes == {"voice"}


def test_a_ticket_may_be_for_any_assistant(alice_key: str) -> None:
    assert client_with(alice_key).post(URL, {}, format="json").status_code == 200


def test_no_ticket_without_the_scope(alice: User, alice_key: str) -> None:
    key = make_key(alice, scopes=["manage"])
    answer = client_with(key).post(URL, {}, format="json")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "FORBIDDEN"


def test_no_ticket_for_somebody_elses_assistant(assistant: Assistant, bob_key: str) -> None:
    answer = client_with(bob_key).post(URL, {"assistant_id": assistant.pk}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == ["assistant_id"]


def test_the_console_session_gets_a_ticket_with_its_token_only(
    assistant: Assistant, alice: User
) -> None:
    browser = Browser(enforce_csrf_checks=True)
    assert browser.post(URL).status_code == 401
    browser.force_login(alice)
    assert browser.post(URL).status_code == 401
    page = browser.get(f"/talk/{assistant.pk}")
    token = page.context["talk"]["csrfToken"]
    answer = browser.post(
        URL,
        {"assistant_id": assistant.pk},
        content_type="application/json",
        headers={"X-CSRFToken": token},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "助手不存在。"),
        ("fr,en;q=0.5", "Assistant not found."),
        ("", "Assistant not found."),
    ],
)
async def test_it_refuses_in_the_language_of_the_handshake(
    connect_to: Connect, alice_key: str, asked: str, message: str
) -> None:
    headers = {"Accept-Language": asked} if asked else {}
    async with connect_to("unknown", key=alice_key, headers=headers) as client:
        await client.closed()
    assert client.events[-1]["message"] == message
