"""Tools in the console."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.security.peers import Peer, Reply
from tests.tooling.admin.conftest import SECRET, queries_of, rows, text_of, tool_form
from tooling.actions import create_tool
from tooling.admin.links import link_to
from tooling.models import Tool, ToolBackend

pytestmark = pytest.mark.django_db

ADD = "/admin/tooling/tool/add/"
LIST = "/admin/tooling/tool/"


def page_of(tool: Tool) -> str:
    return link_to("tooling_tool_change", tool.pk)


@pytest.fixture
def tool(operator: Client, alice: User) -> Tool:
    assert operator.post(ADD, tool_form(owner=alice.pk)).status_code == 302
    return Tool.objects.get(owner=alice)


def test_every_id_leads_to_its_page(operator: Client, alice: User) -> None:
    # The console itself would read "_22" as a quotation mark.
    tool = create_tool(
        alice.pk,
        {
            "id": "tool_22_2F_b0",
            "name": "Odd",
            "category": "query",
            "http_url": "https://shop.example/",
        },
    )
    listed = text_of(operator.get(LIST))
    for page in ("tooling_tool_change", "tooling_tool_try"):
        assert link_to(page, tool.pk) in listed
        assert operator.get(link_to(page, tool.pk)).status_code == 200


def test_it_makes_a_tool_with_headers_and_secrets_that_no_page_shows(
    operator: Client, tool: Tool, alice: User
) -> None:
    assert tool.http_headers == {"Authorization": "Bearer {api_key}"}
    assert tool.parameter_schema["required"] == ["order_id"]
    secret = tool.secrets.get()
    assert (secret.name, secret.value, secret.host) == ("api_key", SECRET, "shop.example:443")
    pages = [link_to(f"tooling_tool_{page}", tool.pk) for page in ("change", "history", "try")]
    for url in (LIST, *pages):
        response = operator.get(url)
        assert response.status_code == 200
        assert "Order look-up" in text_of(response)
        assert SECRET not in text_of(response)
    assert "************4242" in text_of(operator.get(page_of(tool)))
    assert LogEntry.objects.get(object_id=tool.pk).is_addition()


def test_an_empty_form_has_schemas_to_start_from(operator: Client) -> None:
    form = operator.get(ADD).context["adminform"].form
    assert '"type": "object"' in html.unescape(str(form["parameter_schema"]))
    assert ">{}</textarea>" in str(form["parameter_defaults"])


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"http_url": "http://127.0.0.1/x"}, "http_url"),
        ({"http_url": ""}, "http_url"),
        ({"parameter_schema": '{"type": "array"}'}, "parameter_schema"),
        ({"parameter_schema": "{"}, "parameter_schema"),
        ({"parameter_defaults": '{"limit": 99}'}, "parameter_defaults"),
        ({"http_body": '{"a": '}, "http_body"),
        ({"result_pointer": "items"}, "result_pointer"),
        ({"http_timeout_ms": "10"}, "http_timeout_ms"),
        (rows("http_headers", [{"name": "Host", "value": "x"}]), "http_headers"),
        (rows("secrets", [{"name": "order_id", "value": "x"}]), "secrets"),
        (rows("secrets", [{"name": "bad name", "value": "x"}]), "secrets"),
    ],
)
def test_it_says_at_the_field_what_is_refused(
    operator: Client, alice: User, sent: dict[str, Any], field: str
) -> None:
    response = operator.post(ADD, tool_form(owner=alice.pk, **sent))
    assert response.status_code == 200
    assert response.context["adminform"].form.errors.keys() == {field}
    assert not Tool.objects.filter(owner=alice).exists()
    assert operator.post(ADD, tool_form(owner=alice.pk)).status_code == 302


KEPT = {"name": "api_key", "value": "", "value-was": "api_key"}


@pytest.mark.parametrize(
    ("secrets", "stored"),
    [
        ([KEPT], {"api_key": SECRET}),
        ([{**KEPT, "value": "sk-other-value"}], {"api_key": "sk-other-value"}),
        ([], {}),
        ([KEPT, {"name": "other", "value": "x-value"}], {"api_key": SECRET, "other": "x-value"}),
    ],
)
def test_it_keeps_replaces_drops_and_adds_secrets(
    operator: Client, tool: Tool, secrets: list[dict[str, str]], stored: dict[str, str]
) -> None:
    form = tool_form(name="Renamed", **rows("secrets", secrets))
    assert operator.post(page_of(tool), form).status_code == 302
    tool.refresh_from_db()
    assert tool.name == "Renamed"
    assert {row.name: row.value for row in tool.secrets.all()} == stored


def test_a_secret_header_is_entered_anew_for_another_host(operator: Client, alice: User) -> None:
    tool = create_tool(
        alice.pk,
        {
            "name": "Look-up",
            "category": "query",
            "http_url": "https://shop.example/",
            "http_headers": {"X-Api-Key": "literal-4242"},
        },
    )
    kept = rows("http_headers", [{"name": "X-Api-Key", "value": "", "value-was": "X-Api-Key"}])
    anew = rows("http_headers", [{"name": "X-Api-Key", "value": "literal-5555"}])
    for headers, url, status in (
        (kept, "https://shop.example/orders", 302),
        (kept, "https://other.example/orders", 200),
        (anew, "https://other.example/orders", 302),
    ):
        form = tool_form(http_url=url, **{**headers, **rows("secrets", [])})
        response = operator.post(page_of(tool), form)
        assert response.status_code == status, url
        assert "literal-" not in text_of(response)
    tool.refresh_from_db()
    assert tool.http_headers == {"X-Api-Key": "literal-5555"}


def test_it_tells_which_values_a_request_lacks(operator: Client, tool: Tool) -> None:
    said = "The request needs values for: api_key."
    assert said not in text_of(operator.get(page_of(tool)))
    tool.secrets.all().delete()
    assert said in text_of(operator.get(page_of(tool)))


def test_a_tool_never_changes_its_owner_or_becomes_the_systems(
    operator: Client, tool: Tool, bob: User, alice: User
) -> None:
    for owner in (bob.pk, ""):
        form = tool_form(owner=owner, **rows("secrets", [KEPT]))
        assert operator.post(page_of(tool), form).status_code == 302
        tool.refresh_from_db()
        assert tool.owner == alice


def test_of_a_built_in_tool_only_enabled_changes(operator: Client) -> None:
    tool = Tool.objects.get(pk="calculator")
    page = operator.get(page_of(tool))
    assert list(page.context["adminform"].form.fields) == ["is_enabled"]
    sent = tool_form(owner="", name="Mine", http_url="https://evil.example/")
    assert operator.post(page_of(tool), {**sent, "is_enabled": ""}).status_code == 302
    tool.refresh_from_db()
    assert (tool.name, tool.http_url, tool.is_enabled) == ("Calculator", "", False)
    url = link_to("tooling_tool_delete", tool.pk)
    assert operator.post(url, {"post": "yes"}).status_code == 403
    assert Tool.objects.filter(pk="calculator").exists()


def test_it_deletes_tools_but_none_of_the_built_in_ones(operator: Client, tool: Tool) -> None:
    url = link_to("tooling_tool_delete", tool.pk)
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not Tool.objects.filter(pk=tool.pk).exists()


def test_the_list_asks_the_database_as_often_for_many_tools_as_for_few(
    operator: Client, alice: User, bob: User
) -> None:
    few = queries_of(operator, LIST)
    for number in range(12):
        owner = (alice, bob)[number % 2]
        create_tool(owner.pk, {"name": f"T{number}", "category": "system"})
    assert queries_of(operator, LIST) == few


# --- Try it --------------------------------------------------------------------------------------
@pytest.fixture
def peer(loopback_allowed: None) -> Iterator[Peer]:
    with Peer() as started:
        yield started


@pytest.fixture
def local(operator: Client, alice: User, peer: Peer) -> Tool:
    form = tool_form(owner=alice.pk, http_url=f"{peer.url}/orders/{{order_id}}")
    assert operator.post(ADD, form).status_code == 302
    return Tool.objects.get(owner=alice)


def tried(operator: Client, tool: Tool, **arguments: str) -> Any:
    sent = {f"argument-{name}": value for name, value in arguments.items()}
    return operator.post(link_to("tooling_tool_try", tool.pk), sent)


def test_trying_a_tool_shows_request_status_and_result_without_secrets(
    operator: Client, local: Tool, peer: Peer
) -> None:
    peer.reply = Reply(json.dumps({"key": SECRET, "state": "sent"}).encode())
    response = tried(operator, local, order_id="A 1/2", limit="3")
    trial = response.context["trial"]
    assert peer.seen[0].target == "/orders/A%201%2F2"
    assert peer.seen[0].headers["authorization"] == [f"Bearer {SECRET}"]
    assert json.loads(peer.seen[0].body) == {"limit": 3}
    assert (trial.is_ok, trial.request.method) == (True, "POST")
    assert trial.request.url == f"{peer.url}/orders/A%201%2F2"
    page = text_of(response)
    assert '"state": "sent"' in page
    assert trial.request.headers["Authorization"].endswith("••••")
    assert SECRET not in page


def test_a_failed_trial_is_shown_as_one(operator: Client, local: Tool, peer: Peer) -> None:
    peer.reply = Reply(b"out of order", status=503)
    response = tried(operator, local, order_id="1")
    trial = response.context["trial"]
    assert (trial.is_ok, trial.result.code, trial.output) == (False, 503, "out of order")
    assert "out of order" in text_of(response)


def test_trying_without_a_required_argument_sends_nothing(
    operator: Client, local: Tool, peer: Peer
) -> None:
    response = tried(operator, local, limit="3")
    assert response.context["trial"] is None
    assert "order_id" in response.context["form"].errors
    assert not peer.seen


def test_a_stored_address_is_checked_again_when_it_is_tried(
    operator: Client, local: Tool, peer: Peer, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = []
    trial = tried(operator, local, order_id="1").context["trial"]
    assert not trial.is_ok
    assert not peer.seen
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    assert tried(operator, local, order_id="1").context["trial"].is_ok


def test_it_tries_built_in_tools_and_says_which_run_elsewhere(operator: Client) -> None:
    calculator = Tool.objects.get(pk="calculator")
    assert tried(operator, calculator, expression="2+3*4").context["trial"].output == "14"
    camera = tried(operator, Tool.objects.get(pk="turn_on_camera"))
    assert camera.context["trial"] is None
    assert "runs on the caller's device" in text_of(camera)


def test_only_operators_try_tools(operator: Client, bob: User) -> None:
    client = Client()
    client.force_login(bob)
    url = reverse("admin:tooling_tool_try", args=["calculator"])
    assert client.post(url, {"argument-expression": "1"}).status_code == 302
    assert operator.post(url, {"argument-expression": "1"}).status_code == 200


# --- Services ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"tool": "search", "vendor": "open_meteo"}, "vendor"),
        ({"tool": "search", "vendor": "searxng"}, "base_url"),
        ({"tool": "search", "vendor": "searxng", "base_url": "http://10.0.0.1"}, "base_url"),
        ({"tool": "search", "vendor": "tavily"}, "api_key"),
        ({"tool": "calculator", "vendor": "tavily", "api_key": "k"}, "tool"),
    ],
)
def test_it_refuses_a_service_that_cannot_serve_the_tool(
    operator: Client, sent: dict[str, str], field: str
) -> None:
    url = reverse("admin:tooling_toolbackend_add")
    ToolBackend.objects.all().delete()
    form = {"is_enabled": "on", "base_url": "", **sent}
    response = operator.post(url, form)
    assert response.context["adminform"].form.errors.keys() == {field}
    good = {"tool": "search", "vendor": "tavily", "api_key": "tvly-0123456789", "base_url": ""}
    assert operator.post(url, {"is_enabled": "on", **good}).status_code == 302
    row = ToolBackend.objects.get()
    assert (row.base_url, row.api_key) == ("https://api.tavily.com", "tvly-0123456789")
    page = text_of(operator.get(reverse("admin:tooling_toolbackend_change", args=["search"])))
    assert "tvly-" not in page
    assert "************6789" in page
