"""The console shows what others wrote as text, does things only for operators, and only asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Channel, Conversation, Message, Role
from tests.security.peers import Peer, Reply
from tooling.mcp.names import digest_of
from tooling.models import AutotestRun, AutotestSchedule, McpServer, Scenario, Subject, Tool

pytestmark = pytest.mark.django_db(transaction=True)

# Breaks out of an element, an attribute in either quotes, a script and a comment.
HOSTILE = (
    "x</title></script></textarea>--><img src=x onerror=alert(1)>\"'><svg onload=alert(2)>`${7}"
)
SHORT = "<img src=x onerror=1>\"'"
RAW = re.compile(r"<img src=x|<svg onload|</textarea>--|\"'><", re.IGNORECASE)
LOGO = "javascript:alert(1)"


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


@pytest.fixture
def rows(alice: User, peer: Peer) -> Tool:
    """Rows of alice that say the worst wherever something can be said; her tool."""
    alice.first_name = SHORT
    alice.save()
    schema = {
        "type": "object",
        "properties": {SHORT: {"type": "string", "title": HOSTILE, "description": HOSTILE,
                               "enum": [HOSTILE, "b"], "default": HOSTILE}},
    }  # fmt: skip
    tool = Tool.objects.create(
        owner=alice, name=HOSTILE, description=HOSTILE, category="query", icon=SHORT,
        logo_url=LOGO, http_url=peer.url, http_headers={"X-A": HOSTILE}, http_body=HOSTILE,
        parameter_schema=schema, parameter_defaults={"a": HOSTILE}, result_pointer=HOSTILE,
        check_ok=False, check_message=HOSTILE,
    )  # fmt: skip
    listed = {"name": HOSTILE, "description": HOSTILE, "input_schema": schema}
    before = {"description": SHORT, "input_schema": {}}
    McpServer.objects.create(
        owner=alice, name=HOSTILE, prefix="p", url="https://a.example/?" + SHORT, logo_url=LOGO,
        headers={"X-A": HOSTILE}, check_message=HOSTILE, check_ok=False,
        config_fields=[{"key": "K", "label": HOSTILE, "target": "header", "required": True}],
        tools=[{**listed, "digest": digest_of("a", "b", {}), "before": before}],
    )  # fmt: skip
    assistant = Assistant.objects.create(owner=alice, name=HOSTILE)
    assistant.tools.set([tool])
    steps = [{"say": HOSTILE, "expect_words": [HOSTILE], "forbid_words": [], "expect_tools": []}]
    Scenario.objects.create(owner=alice, name=HOSTILE, assistant_id=assistant.pk, steps=steps)
    case = {"name": HOSTILE, "passed": False, "message": HOSTILE, "duration_ms": 1}
    for status in ("failed", "running"):
        AutotestRun.objects.create(
            owner=alice, subject=Subject.TOOL, subject_id=tool.pk, subject_name=HOSTILE,
            trigger="api", status=status, cases=[case], failed=1, error=HOSTILE,
        )  # fmt: skip
    AutotestSchedule.objects.create(subject=Subject.TOOL, subject_id=tool.pk)
    AutotestSchedule.objects.create(subject=Subject.TOOL, subject_id=SHORT)
    conversation = Conversation.objects.create(
        owner=alice, assistant=assistant, assistant_key=assistant.pk, assistant_name=HOSTILE,
        channel=Channel.VOICE,
    )  # fmt: skip
    values: dict[str, Any] = {"conversation": conversation, "turn": 1}
    call = {"id": "c", "name": SHORT, "arguments": json.dumps({SHORT: HOSTILE})}
    result = {
        "call_id": "c", "name": SHORT, "code": 500, "message": HOSTILE, "duration_ms": 1,
        "executor": "server",
    }  # fmt: skip
    Message.objects.create(**values, seq=1, role=Role.ASSISTANT, text=HOSTILE, tool_calls=[call])
    Message.objects.create(
        **values, seq=2, role=Role.TOOL, text=HOSTILE, tool_result=result, error=HOSTILE
    )
    return tool


def pages() -> Iterator[str]:
    for model, _page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        for row in model._default_manager.all()[:50]:
            for page in ("change", "history", "delete"):
                yield reverse(f"{name}_{page}", args=[quote(row.pk)])


def assert_it_is_text(response: Any, url: str) -> None:
    assert response.status_code in (200, 403), url
    text = response.content.decode()
    found = RAW.search(text)
    assert found is None, (url, text[found.start() - 200 : found.end() + 100])
    assert 'href="javascript:alert' not in text
    assert 'src="javascript:alert' not in text


def test_no_name_is_markup(operator: Client, rows: Tool) -> None:
    seen = ""
    for url in [*pages(), reverse("admin:index")]:
        response = operator.get(url)
        assert_it_is_text(response, url)
        seen += response.content.decode()
    run_ids = AutotestRun.objects.values_list("pk", flat=True)
    keys = [f"{kind}:{run_id}" for kind in ("run", "cases") for run_id in run_ids]
    drawings = operator.get(reverse("admin:tooling_live"), {"key": keys}).json()
    assert sorted(drawings) == sorted(keys)
    assert RAW.search("".join(drawings.values())) is None
    # Shown all the same, as text.
    assert "&lt;img src=x onerror=alert(1)&gt;" in seen


def test_no_result_of_a_try_is_markup(
    operator: Client, rows: Tool, peer: Peer, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]
    plain = Tool.objects.create(
        owner=rows.owner, name="Orders", category="query", http_url=peer.url,
        parameter_schema={"type": "object", "properties": {"order": {"type": "string"}}},
    )  # fmt: skip
    peer.reply = Reply(HOSTILE.encode(), 200, {"Content-Type": "text/html"})
    for tool in (rows, plain):
        url = reverse("admin:tooling_tool_change", args=[quote(tool.pk)]).replace("change/", "try/")
        assert_it_is_text(operator.get(url), url)
        assert_it_is_text(operator.post(url, {"argument-order": HOSTILE}), url)
    assert b"&lt;img src=x" in operator.post(url, {"argument-order": "A"}).content


def test_only_operators_do_things_in_the_console(
    operator: Client, rows: Tool, bob: User, peer: Peer, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]
    stranger = Client()
    stranger.force_login(bob)
    doors = [
        reverse("admin:tooling_tool_change", args=[quote(rows.pk)]).replace("change/", "try/"),
        reverse("admin:tooling_live"),
        reverse("admin:tooling_autotest_start"),
        *pages(),
    ]
    for url in doors:
        for client in (stranger, Client()):
            assert client.get(url).status_code == 302, url
            refused = client.post(url, {"subject": "tool", "id": rows.pk})
            assert (refused.status_code, refused.headers["Location"][:12]) == (
                302,
                "/admin/login",
            ), url
    assert peer.connections == 0
    assert operator.get(doors[0]).status_code == 200


def test_no_other_site_does_things_in_the_console(
    carol: User, rows: Tool, peer: Peer, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = [peer.host]
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(carol)
    before = AutotestRun.objects.count()
    plain = Tool.objects.create(owner=None, name="T", category="query", http_url=peer.url)
    url = reverse("admin:tooling_tool_change", args=[quote(plain.pk)]).replace("change/", "try/")
    assert strict.post(url, {}).status_code == 403
    assert strict.post(reverse("admin:tooling_autotest_start"), {}).status_code == 403
    # A link does nothing either: only a form that the console made itself.
    strict.get(url)
    strict.get(reverse("admin:tooling_autotest_start") + f"?subject=tool&id={plain.pk}")
    assert (peer.connections, AutotestRun.objects.count()) == (0, before)
    token = re.search(
        r'name="csrfmiddlewaretoken" value="([^"]+)"', strict.get(url).content.decode()
    )
    assert token is not None
    assert strict.post(url, {"csrfmiddlewaretoken": token[1]}).status_code == 200
    assert peer.connections == 1
