"""The list of tool calls in the console."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from conversations.models import Channel, Conversation, Message, Role, ToolUse

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/tooluse/"


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


def call(
    name: str, arguments: str, text: str = "", *, code: int = 200, conversation: Any = None
) -> ToolUse:
    """A conversation in which a model calls a tool once more, always under the same id."""
    conversation = conversation or Conversation.objects.create(
        assistant_key="a", assistant_name=f"Guide of {name}", channel=Channel.VOICE
    )
    seq = conversation.messages.count() + 1
    made = {"id": "call_1", "name": name, "arguments": arguments}
    common = {"conversation": conversation, "turn": seq}
    Message.objects.create(**common, seq=seq, role=Role.ASSISTANT, tool_calls=[made])
    result = {
        "call_id": "call_1",
        "name": name,
        "code": code,
        "message": "ok" if code < 400 else "It went wrong.",
        "is_error": code >= 400,
        "duration_ms": 184,
    }
    row = Message.objects.create(
        **common, seq=seq + 1, role=Role.TOOL, text=text, tool_result=result
    )
    use: ToolUse = ToolUse.objects.get(pk=row.pk)
    return use


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


def test_it_shows_what_was_asked_what_came_back_and_how_long_it_took(operator: Client) -> None:
    row = call("orders", '{"order_id": "A-1042"}', '{"state": "<b>sent</b>"}')
    other = call("weather", '{"city": "北京"}', code=504)
    response = operator.get(LIST)
    page = text_of(response)
    for shown in ('{"order_id": "A-1042"}', '{"city": "北京"}', "184 ms", "It went wrong.", "504"):
        assert shown in page
    assert "<b>sent</b>" not in response.content.decode()
    one = text_of(operator.get(reverse("admin:conversations_tooluse_change", args=[row.pk])))
    assert '"order_id": "A-1042"' in one
    assert f"/conversation/{row.conversation_id}/change/" in one
    assert other.text == ""


def test_each_call_has_its_own_arguments_though_ids_repeat(
    operator: Client,
) -> None:
    first = call("calculator", '{"expression": "1+1"}', "2")
    second = call("calculator", '{"expression": "2+2"}', "4")
    third = call("calculator", '{"expression": "3+3"}', "6", conversation=second.conversation)
    listed = operator.get(LIST).context["cl"].result_list
    shown = {row.pk: row.arguments for row in listed}
    assert shown == {
        first.pk: '{"expression": "1+1"}',
        second.pk: '{"expression": "2+2"}',
        third.pk: '{"expression": "3+3"}',
    }


def test_it_finds_calls_by_their_outcome_and_by_the_tools_name(operator: Client) -> None:
    good = call("orders", "{}", "fine")
    refused = call("orders", "{}", code=400)
    failed = call("weather", "{}", code=502)
    late = call("search", "{}", code=504)
    for query, found in (
        ("", {good, refused, failed, late}),
        ("outcome=ok", {good}),
        ("outcome=error", {refused, failed, late}),
        ("outcome=refused", {refused}),
        ("outcome=failed", {failed, late}),
        ("outcome=late", {late}),
        ("q=orders", {good, refused}),
        ("q=Guide+of+weather", {failed}),
        ("q=fine", {good}),
        ("q=nothing", set()),
    ):
        listed = operator.get(f"{LIST}?{query}").context["cl"].result_list
        assert {row.pk for row in listed} == {row.pk for row in found}, query


def test_calls_are_read_only_and_for_operators(operator: Client, bob: User) -> None:
    row = call("orders", "{}")
    url = reverse("admin:conversations_tooluse_delete", args=[row.pk])
    assert operator.post(url, {"post": "yes"}).status_code == 403
    client = Client()
    client.force_login(bob)
    assert client.get(LIST).status_code == 302
    assert operator.get(LIST).status_code == 200


def test_the_list_asks_the_database_as_often_for_many_calls_as_for_one(operator: Client) -> None:
    def queries() -> int:
        operator.get(LIST)
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(LIST).status_code == 200
        return len(captured)

    call("orders", "{}", "fine")
    few = queries()
    for number in range(9):
        call(f"tool{number}", "{}", code=200 + 100 * (number % 4))
    assert queries() == few
