"""What was entered as a secret is shown by nothing: no answer, event, page, log, row or prompt."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Message, Role
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.models import Llm, Provider
from tests.realtime.conftest import Connect, assistant, builtin, connect_to
from tests.realtime.test_calls import finish
from tests.security.peers import Peer, Reply
from tests.tooling.mcp.servers import running_peer
from tooling.actions import create_tool
from tooling.catalogue import sync_builtin_tools
from tooling.mcp.listing import refresh
from tooling.models import McpServer, McpUserConfig, Tool, ToolBackend

__all__ = ["assistant", "builtin", "connect_to"]

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1"
HEADER, KEY, IN_URL = "hdr-5f0c1a77aa11", "key/9d3e+6b52=cc22", "url-17aa93f0dd33"
BACKEND, SERVER, SETTING = "bck-77c1d2e0ee44", "srv-3b9a8c1fff55", "set-c0ffee12aa66"
VENDOR, BRAIN = "vnd-0d15ea5ebb77", "brn-deadbeefcc88"
PLANTED = (HEADER, KEY, IN_URL, BACKEND, SERVER, SETTING, VENDOR, BRAIN)


def forms(secret: str) -> set[str]:
    """The secret as it may be written somewhere."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], encoded}


def shown_in(text: str) -> list[str]:
    return [secret for secret in PLANTED if any(form in text for form in forms(secret))]


def orders(owner: User | None, peer: Peer) -> Tool:
    """A tool whose request has secrets wherever one can have them."""
    body = {
        "name": "Orders",
        "function_name": "orders",
        "category": "query",
        "http_method": "POST",
        "http_url": f"{peer.url}/orders/{{order}}?key={{in_url}}",
        "http_headers": {"Authorization": "Bearer {api_key}", "X-Api-Key": HEADER},
        "http_body": '{"order": "{order}", "key": "{api_key}"}',
        "parameter_schema": {"type": "object", "properties": {"order": {"type": "string"}}},
        "secrets": {"api_key": KEY, "in_url": IN_URL},
    }
    return create_tool(owner.pk if owner else None, body)  # type: ignore[arg-type]  # as sent


@pytest.fixture
def vault(peer: Peer, alice: User, settings: Any) -> Iterator[Tool]:
    """Secrets in every place that keeps some; alice's tool of them."""
    with running_peer() as real:
        settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
        sync_builtin_tools()
        ToolBackend.objects.update_or_create(
            tool_id="search",
            defaults={"vendor": "tavily", "base_url": peer.url, "api_key": BACKEND},
        )
        server = McpServer.objects.create(
            owner=alice, name="Shop", prefix="shop", url=real.url,
            headers={"Authorization": f"Bearer {SERVER}"},
            config_fields=[{"key": "X-Key", "label": "K", "target": "header", "required": False}],
        )  # fmt: skip
        McpUserConfig.objects.create(owner=alice, server=server, values={"X-Key": SETTING})
        refresh(server, user_id=alice.pk)
        Provider.objects.create(name="P", vendor="openai", api_key=VENDOR)
        Llm.objects.create(name="L", vendor="openai", owner=alice, api_key=VENDOR)
        Assistant.objects.create(owner=alice, name="Brainy", api_key=BRAIN)
        orders(None, peer)
        yield orders(alice, peer)


def answers(client: APIClient, tool: Tool) -> Iterator[Any]:
    """What every reading door says, and those that change say back."""
    server, config = McpServer.objects.get(), McpUserConfig.objects.get()
    for path in (
        "/tools/resources", f"/tools/resources/{tool.pk}", "/tools/resources/search", "/tool/all",
        "/mcp_server", f"/mcp_tools?server_id={server.pk}", f"/mcp_user_config/{config.pk}",
        f"/mcp_user_config?server_id={server.pk}", "/llm", "/assistants", "/tools/autotest/runs",
    ):  # fmt: skip
        yield client.get(API + path)
    for path in ("/tool/own", "/tool/visible", f"/tools/autotest/tool/{tool.pk}",
                 f"/tools/autotest/mcp/{server.pk}"):  # fmt: skip
        yield client.post(API + path)
    yield client.put(f"{API}/tools/resources/{tool.pk}", {"description": "New"}, format="json")
    yield client.post(f"{API}/mcp_tools/refresh", {"server_id": server.pk}, format="json")
    wrong = {"http_url": "https://thief.example/", "http_headers": {"X-Api-Key": "************"}}
    yield client.put(f"{API}/tools/resources/{tool.pk}", wrong, format="json")
    yield client.put(f"{API}/mcp_server", {"server_id": server.pk, "url": "x"}, format="json")


@pytest.mark.parametrize("who", ["alice_api", "bob_api", "carol_api", "anonymous_api"])
def test_no_answer_has_a_secret(
    who: str, vault: Tool, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = "\n".join(
        answer.content.decode() + str(answer.headers)
        for answer in answers(request.getfixturevalue(who), vault)
    )
    assert shown_in(text) == []
    assert shown_in(caplog.text) == []
    # Those who may change a secret see which one it is.
    assert ("************aa11" in text) is (who in ("alice_api", "carol_api"))
    assert ("************aa66" in text) is (who == "alice_api")


def test_no_stored_row_has_a_secret(vault: Tool, alice_api: APIClient) -> None:
    assert len(list(answers(alice_api, vault))) > 10
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)]
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            assert shown_in(str(cursor.fetchall())) == [], table
    assert vault.secrets.get(name="api_key").value == KEY


def test_the_schema_of_the_api_has_no_secret(vault: Tool, anonymous_api: APIClient) -> None:
    schema = anonymous_api.get("/api/schema", HTTP_ACCEPT="application/json").content.decode()
    assert "/api/v1/tools/resources" in schema
    assert shown_in(schema) == []
    # Nor an example that somebody could take for one.
    assert "sk-" not in schema


# --- The console ---------------------------------------------------------------------------------


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


def pages() -> Iterator[str]:
    """The list of each kind of rows, and all pages of each row."""
    for model, model_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        for row in model_admin.model._default_manager.all()[:40]:
            for page in ("change", "history", "delete"):
                yield reverse(f"{name}_{page}", args=[row.pk])


def test_no_page_of_the_console_has_a_secret(
    vault: Tool, operator: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen = ""
    for url in [*pages(), reverse("admin:index")]:
        response = operator.get(url)
        assert response.status_code in (200, 403), url
        assert shown_in(response.content.decode()) == [], url
        seen += response.content.decode()
    assert shown_in(caplog.text) == []
    assert "Shop" in seen
    assert "Orders" in seen


def test_a_try_in_the_console_shows_no_secret(
    vault: Tool, operator: Client, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    peer.reply = Reply(f"You sent {KEY}, {HEADER} and {IN_URL}".encode(), 200, {})
    url = reverse("admin:tooling_tool_change", args=[vault.pk]).replace("change/", "try/")
    page = operator.post(url, {"argument-order": f"A-1 {HEADER}"}).content.decode()
    assert "You sent" in page
    assert "/orders/A-1" in page
    assert KEY in peer.seen[-1].headers["authorization"][0]
    assert [secret for secret in shown_in(page) if secret != HEADER] == []
    assert shown_in(caplog.text) == []


# --- A call --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_no_call_shows_a_secret(
    connect_to: Connect,
    assistant: Assistant,
    alice: User,
    alice_key: str,
    peer: Peer,
    upstream: FakeUpstream,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    tool = await in_db(orders, alice, peer)
    await in_db(assistant.tools.set, [tool])
    echo = " ".join(form for secret in (KEY, HEADER, IN_URL) for form in forms(secret))
    peer.reply = Reply(f"You sent {echo}".encode(), status, {"X-Key": KEY})
    step = Step(tool_calls=[{"name": "orders", "arguments": {"order": "{api_key}"}}])
    upstream.script("chat", step, Step(text="It was sent."))
    async with connect_to(assistant, key=alice_key) as client:
        await client.start(overrides={"output": {"mode": "text"}})
        await client.send("input.text", text="Where is it?")
        await client.wait("assistant.response.final", text="It was sent.")
        session_id = await finish(client)
    assert peer.seen[-1].headers["authorization"] == [f"Bearer {KEY}"]
    told = json.dumps(upstream.stats.last("chat")[-1]["body"])
    assert "You sent" in told

    def stored() -> str:
        rows = Message.objects.filter(conversation_id=session_id, role=Role.TOOL)
        assert rows.exists()
        with connection.cursor() as cursor:
            tables = ("conversations_message", "conversations_conversation", "conversations_call")
            text = ""
            for table in tables:
                cursor.execute(f"SELECT * FROM {table}")
                text += str(cursor.fetchall())
            return text

    for text in (json.dumps(client.events), told, await in_db(stored), caplog.text):
        assert shown_in(text) == []
