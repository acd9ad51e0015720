"""Services that answer for an assistant: nothing leads inwards, and nobody sees their keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations.encoding import Turn
from conversations.models import Conversation, Message, Run, RunEvent
from providers.fakes import FakeUpstream, Step
from providers.types import BrainKind, BrainSpec
from tests.conftest import make_key
from tests.conversations.made import conversation
from tests.conversations.scripted import assistant
from tests.conversations.test_brain import answer, asked
from tests.security.chats import API, ask
from tests.security.peers import HOSTILE_URLS, Peer, Reply, resolve_inwards
from tests.security.test_saving import MORE_HOSTILE_URLS

BOTH: tuple[BrainKind, ...] = ("dify", "fastgpt")
KEY = "brn-0f1e/2d3c+4b5a=6978"


async def turn_at(kind: BrainKind, url: str) -> Turn:
    runtime = assistant(llm=None, brain=BrainSpec(kind, url, KEY), caller_id=7)
    return await answer(asked("Hi"), runtime)


# --- Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
async def test_no_brain_is_at_a_private_address(kind: BrainKind, peer: Peer, settings: Any) -> None:
    for url in HOSTILE_URLS:
        turn = await turn_at(kind, url.format(port=peer.port).rstrip("/"))
        assert turn.error is not None, url
        assert KEY not in str(turn)
    assert peer.connections == 0
    settings.OUTBOUND_ALLOW = [peer.host]
    await turn_at(kind, peer.url)
    assert peer.seen


@pytest.mark.parametrize("kind", BOTH)
async def test_no_name_of_a_brain_leads_inwards(
    kind: BrainKind, peer: Peer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = resolve_inwards(monkeypatch)
    url = f"http://brain.example:{peer.port}"
    assert (await turn_at(kind, url)).error is not None
    assert resolved
    assert peer.connections == 0
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    await turn_at(kind, url)
    assert peer.seen


@pytest.mark.parametrize("kind", BOTH)
async def test_no_redirect_of_a_brain_takes_the_key_elsewhere(
    kind: BrainKind, two_peers: list[Peer], settings: Any
) -> None:
    first, thief = two_peers
    settings.OUTBOUND_ALLOW = [first.host]
    for status in (301, 302, 303, 307, 308):
        first.reply = Reply(b"", status, {"Location": f"{thief.url}/v1/chat-messages"})
        assert (await turn_at(kind, first.url)).error is not None
    assert thief.connections == 0
    settings.OUTBOUND_ALLOW = [first.host, thief.host]
    await turn_at(kind, first.url)
    assert first.seen
    assert KEY not in str([seen.headers for seen in thief.seen])


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["post", "put", "patch"])
def test_no_brain_that_leads_inwards_is_stored(
    verb: str, alice: User, alice_api: APIClient, peer: Peer
) -> None:
    def save(url: str) -> Any:
        body = {"name": "Remote", "configMode": "dify", "apiUrl": url, "apiKey": KEY}
        if verb == "post":
            return alice_api.post(f"{API}/assistants", body, format="json")
        row, _is_new = Assistant.objects.get_or_create(owner=alice, name="Remote")
        return getattr(alice_api, verb)(f"{API}/assistants/{row.pk}", body, format="json")

    for url in ("javascript:alert(1)", "file:///etc/passwd", "gopher://127.0.0.1/", "//x/", "x",
                "http://", "http://[::1", "http://example.com:99999/", "http://exa mple.com/",
                "https://user:pw@example.com/"):  # fmt: skip
        response = save(url)
        assert response.status_code == 400, url
        assert not Assistant.objects.exclude(api_url="").exists()
    assert save("https://dify.example/v1").status_code in (200, 201)
    assert Assistant.objects.get().api_url == "https://dify.example/v1"
    assert peer.connections == 0


@pytest.mark.django_db
def test_no_changed_host_gets_the_key_of_a_brain(alice: User, alice_api: APIClient) -> None:
    row = Assistant.objects.create(
        owner=alice, name="Remote", config_mode="dify", api_url="https://dify.example/v1",
        api_key=KEY,
    )  # fmt: skip
    url = f"{API}/assistants/{row.pk}"
    for key in ({}, {"apiKey": alice_api.get(url).json()["data"]["apiKey"]}):
        moved = {"apiUrl": "https://thief.example/v1", **key}
        assert alice_api.patch(url, moved, format="json").status_code == 400
    # Nor by the way of no address at all.
    alice_api.patch(url, {"configMode": "platform", "apiUrl": ""}, format="json")
    stolen = {"configMode": "dify", "apiUrl": "https://thief.example/v1"}
    assert alice_api.patch(url, stolen, format="json").status_code == 400
    row.refresh_from_db()
    assert "thief" not in row.api_url
    Assistant.objects.update(api_url="https://dify.example/v1")
    same = {"apiUrl": "https://dify.example/v2", "configMode": "dify"}
    assert alice_api.patch(url, same, format="json").status_code == 200
    anew = {**stolen, "apiKey": "key-of-the-new-host"}
    assert alice_api.patch(url, anew, format="json").status_code == 200
    row.refresh_from_db()
    assert (row.api_url, row.api_key) == ("https://thief.example/v1", "key-of-the-new-host")


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["post", "put"])
def test_no_logo_is_a_program(verb: str, alice_api: APIClient, peer: Peer) -> None:
    fields = {"name": "A", "description": "", "system_prompt": "", "logo_url": ""}
    agent_id = alice_api.post(f"{API}/agent", fields, format="json").json()["data"]["agent_id"]

    def save(url: str) -> Any:
        body = {"name": "B", "agent_id": agent_id, "logo_url": url}
        sent = {**fields, **body} if verb == "post" else body
        return getattr(alice_api, verb)(f"{API}/agent", sent, format="json")

    for url in ("javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x",
                "data:image/svg+xml;base64,PHN2Zz4=", "//evil.example/x.png", "file:///etc/passwd",
                "x' onerror='alert(1)", 'x" onerror="alert(1)', "x><script>", "java\nscript:x",
                "\x01javascript:alert(1)", "\\\\evil.example\\x"):  # fmt: skip
        assert save(url).status_code == 422, url
    # A picture's address is shown and never fetched from here, wherever it leads.
    assert save(f"{peer.url}/logo.png").json()["status_code"] == 200
    assert Assistant.objects.filter(logo_url__contains="logo.png").count() == 1
    assert peer.connections == 0


@pytest.mark.django_db(transaction=True)
def test_no_address_of_a_file_is_fetched(
    alice: User, upstream: FakeUpstream, peer: Peer, settings: Any, tmp_path: Path
) -> None:
    """Links of our own storage are read; nothing else is even looked up, allowed or not."""
    settings.MEDIA_ROOT = tmp_path
    settings.OUTBOUND_ALLOW = ["0.0.0.0/0", "::/0"]
    headers = {"Authorization": f"Bearer {make_key(alice, requests_per_minute=1000)}"}
    row = Assistant.objects.create(
        owner=alice, name="Remote", config_mode="dify", api_url=upstream.root_url, api_key=KEY
    )
    dialog = conversation(alice, row, channel="chat", settings={"agent_type": "Agent"})
    said = {"user_input": "Hi", "dialog_id": dialog.pk}
    for url in MORE_HOSTILE_URLS:
        file_url = url.replace("{port}", str(peer.port))
        refused = ask(headers, "post", "/chat", {**said, "file_url": file_url}, is_async=True)
        assert refused.code == 404, (url, refused)
    assert peer.connections == 0
    assert not Message.objects.exists()
    allowed = ask(headers, "post", "/chat", said, is_async=True)
    assert "response_chunk" in allowed.text


# --- Keys ----------------------------------------------------------------------------------------


def forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, json.dumps(secret)[1:-1], encoded, f"Bearer {secret}"}


def pages(row: Assistant) -> Iterator[str]:
    yield reverse("admin:assistants_assistant_changelist")
    yield reverse("admin:assistants_assistant_change", args=[row.pk])
    for model in ("conversation", "run", "memory"):
        yield reverse(f"admin:conversations_{model}_changelist")
    for conversation_id in Conversation.objects.values_list("pk", flat=True):
        yield reverse("admin:conversations_conversation_change", args=[conversation_id])
    for run_id in Run.objects.values_list("pk", flat=True):
        yield reverse("admin:conversations_run_change", args=[run_id])
    yield "/admin/usage/"
    yield "/admin/"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", BOTH)
def test_nobody_sees_the_key_of_a_brain(
    kind: BrainKind, alice: User, carol: User, upstream: FakeUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("DEBUG")
    headers = {"Authorization": f"Bearer {make_key(alice)}"}
    row = Assistant.objects.create(
        owner=alice, name="Remote", config_mode=kind, api_url=upstream.root_url, api_key=KEY
    )
    dialog = conversation(alice, row, channel="chat", settings={"agent_type": "Agent"})
    said = {"user_input": "Hi", "dialog_id": dialog.pk}
    # A service that says the key back, in an error before the answer, in it, and in the answer.
    blames = f"The key {KEY} is bad"
    upstream.script(
        kind,
        Step(status=401, body={"message": blames, "code": blames}),
        Step(text="So far", error={"message": blames}),
        Step(text="Hello."),
    )
    told = [ask(headers, "post", "/chat", said, is_async=True).text for _number in range(3)]
    assert "Hello." in told[2]
    told += [
        ask(headers, "get", path).text
        for path in (f"/history?dialog_id={dialog.pk}", "/history", "/agent", "/dialog/list",
                     f"/assistants/{row.pk}", f"/assistants/{row.pk}/config", "/tasks")
    ]  # fmt: skip
    told += [str(list(kind.objects.values())) for kind in (Run, RunEvent, Message, Conversation)]
    browser = Browser()
    browser.force_login(carol)
    for page in pages(row):
        response = browser.get(page)
        assert response.status_code == 200, page
        told.append(response.content.decode())
    told.append(caplog.text)
    for text in told:
        assert not [form for form in forms(KEY) if form in text]
    # It did go where it belongs.
    assert KEY in str(upstream.stats.last(kind))
