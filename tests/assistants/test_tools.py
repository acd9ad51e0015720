"""Users' tools in a conversation: offered by name, run on the server, secrets kept back."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import pytest

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import AssistantRuntime, load_runtime
from conversations.encoding import Turn, collect
from conversations.events import ToolReturned
from conversations.turn import TurnRequest, run_turn
from core.db import in_db
from providers.fakes import FakeUpstream
from providers.fakes.behaviour import Step
from providers.models import Llm
from tests.tooling.runner.service import Asked, Reply, Service, as_json, serving
from tooling.models import Category, Tool, ToolSecret

KEY = "sk-shop-0123456789"

pytestmark = pytest.mark.django_db


def lookup(owner: User | None, pk: str, url: str, **fields: Any) -> Tool:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    values = {"category": Category.QUERY, "parameter_schema": schema, **fields}
    return Tool.objects.create(pk=pk, owner=owner, name="Orders", http_url=url, **values)


def assistant_with(owner: User, upstream_url: str, *tools: Tool, **fields: Any) -> Assistant:
    model = Llm.objects.create(
        name="m",
        model_name="m",
        owner=owner,
        vendor="openai_compatible",
        base_url=upstream_url,
        api_key="k",
    )
    row = Assistant.objects.create(name="a", owner=owner, llm=model, **fields)
    row.set_tools([tool.pk for tool in tools])
    return row


def test_it_names_tools_apart_and_lets_the_opener_call_them(alice: User) -> None:
    tools = [
        lookup(alice, "tool_1", "https://a.example/", function_name="find"),
        lookup(None, "tool_2", "https://b.example/", function_name="find"),
        lookup(alice, "tool_3", "https://c.example/", is_enabled=False),
    ]
    calls = [{"toolName": f"tool_{number}", "arguments": {"id": "1"}} for number in (1, 2, 3)]
    row = assistant_with(alice, "https://x.example", *tools, manual_opener_tool_calls=calls)
    runtime = load_runtime(row.pk)
    assert [tool.id for tool in runtime.tools] == ["find", "find_2"]
    assert [call.tool_name for call in runtime.opener_tool_calls] == ["find", "find_2"]


@pytest.mark.django_db(transaction=True)
def test_a_model_looks_an_order_up_and_never_sees_the_key(
    alice: User, upstream: FakeUpstream, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OUTBOUND_RULES_SOURCE = ""
    caplog.set_level(logging.DEBUG, logger="tooling")
    call = {"name": "find_order", "arguments": '{"id": "A/1"}'}
    upstream.script("chat", Step(tool_calls=[call]), Step(text="It was sent."))

    def answer(asked: Asked) -> Reply:
        return as_json({"order": {"state": "sent", "echo": dict(asked.headers)}})

    async def turn() -> tuple[Turn, list[ToolReturned], Service]:
        async with serving() as service:
            service.answer = answer
            runtime = await in_db(prepare, service)
            returned = []
            asked = TurnRequest(turn=1, text="Where is it?", history=(), variables={})

            async def noted(events: Any) -> Any:
                async for event in events:
                    if isinstance(event, ToolReturned):
                        returned.append(event)
                    yield event

            async with aclosing(run_turn(asked, runtime)) as events:
                return await collect(noted(events)), returned, service

    def prepare(service: Service) -> AssistantRuntime:
        tool = lookup(
            alice,
            "tool_1",
            f"{service.url}/orders/{{id}}",
            function_name="find_order",
            http_headers={"X-Api-Key": "{api_key}"},
            result_pointer="/order",
        )
        ToolSecret.objects.create(tool=tool, name="api_key", value=KEY, host=service.host)
        return load_runtime(assistant_with(alice, upstream.base_url, tool).pk)

    said, returned, service = asyncio.run(turn())
    assert said.text == "It was sent."
    assert service.last.target == "/orders/A%2F1"
    assert service.last.headers["x-api-key"] == KEY
    assert [(each.name, each.code) for each in returned] == [("find_order", 200)]
    assert '"state":"sent"' in returned[0].output
    shown = (returned, upstream.stats.last("chat"), caplog.text)
    assert KEY not in str(shown)
    assert "••••" in returned[0].output
