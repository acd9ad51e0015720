"""Rows become specs that can be offered and run."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.models import User
from tooling.catalogue import sync_builtin_tools
from tooling.models import Category, Tool, ToolBackend, ToolSecret
from tooling.specs import named_apart, prefetch_parts, tool_spec
from tooling.types import Backend, BuiltinTarget, HttpTarget, Secret, ToolSpec

pytestmark = pytest.mark.django_db


def row(owner: User | None, pk: str = "tool_1", **fields: Any) -> Tool:
    values = {
        "name": "Orders",
        "description": "Finds orders",
        "category": Category.QUERY,
        "http_url": "https://shop.example/orders/{id}",
        **fields,
    }
    return Tool.objects.create(pk=pk, owner=owner, **values)


def test_it_makes_a_request_of_a_users_tool(alice: User) -> None:
    tool = row(
        alice,
        function_name="find_order",
        http_method="POST",
        http_headers={"Authorization": "Bearer {key}"},
        http_body='{"id": {id}}',
        http_timeout_ms=2500,
        result_pointer="/data",
        parameter_schema={"type": "object", "properties": {"id": {"type": "string"}}},
        parameter_defaults={"id": "1"},
    )
    ToolSecret.objects.create(tool=tool, name="key", value="sk-123456", host="shop.example:443")
    spec = tool_spec(Tool.objects.get(pk=tool.pk), "en")
    assert (spec.id, spec.name, spec.description) == ("find_order", "Orders", "Finds orders")
    assert (spec.executor, spec.timeout_ms, spec.defaults) == ("server", 2500, {"id": "1"})
    assert spec.target == HttpTarget(
        "POST",
        "https://shop.example/orders/{id}",
        headers={"Authorization": "Bearer {key}"},
        body='{"id": {id}}',
        result_pointer="/data",
        secrets=(Secret("key", "shop.example:443", "sk-123456"),),
    )
    assert "sk-123456" not in repr(spec)


def test_it_makes_nothing_to_run_of_a_mere_entry_or_a_tool_of_the_client(alice: User) -> None:
    entry = tool_spec(row(alice, "entry", http_url=""), "en")
    assert (entry.executor, entry.target) == ("server", None)
    fields = {"category": Category.SYSTEM, "http_url": "", "wait_for_response": True}
    client = tool_spec(row(alice, "lamp", **fields), "en")
    assert (client.executor, client.target, client.wait_for_response) == ("client", None, True)


def test_it_fills_the_service_of_a_built_in_tool_in() -> None:
    sync_builtin_tools()
    weather = tool_spec(Tool.objects.get(pk="weather"), "zh")
    assert weather.name == "天气查询"
    assert weather.target == BuiltinTarget(
        "weather", Backend("open_meteo", "https://api.open-meteo.com")
    )
    search = Tool.objects.get(pk="search")
    assert tool_spec(search, "en").target == BuiltinTarget("search", None)
    ToolBackend.objects.create(
        tool=search, vendor="tavily", base_url="https://search.example/", api_key="tvly-1234"
    )
    spec = tool_spec(Tool.objects.get(pk="search"), "en")
    assert spec.target == BuiltinTarget(
        "search", Backend("tavily", "https://search.example", "tvly-1234")
    )
    assert "tvly-1234" not in repr(spec)


def test_it_leaves_a_service_that_an_operator_changed_as_it_is() -> None:
    sync_builtin_tools()
    ToolBackend.objects.update(base_url="http://127.0.0.1:8080", is_enabled=False)
    sync_builtin_tools()
    backend = ToolBackend.objects.get(tool_id="weather")
    assert (backend.base_url, backend.is_enabled) == ("http://127.0.0.1:8080", False)
    assert tool_spec(Tool.objects.get(pk="weather"), "en").target == BuiltinTarget("weather", None)


def test_a_users_tool_does_not_become_a_built_in_one_by_its_name(alice: User) -> None:
    sync_builtin_tools()
    tool = row(alice, function_name="calculator")
    spec = tool_spec(tool, "en")
    assert isinstance(spec.target, HttpTarget)
    assert spec.description == "Finds orders"


def test_it_reads_the_parts_of_many_tools_in_one_query(
    alice: User, django_assert_num_queries: Any
) -> None:
    sync_builtin_tools()
    for number in range(3):
        tool = row(alice, f"tool_{number}")
        ToolSecret.objects.create(tool=tool, name="key", value="x", host="shop.example:443")
    with django_assert_num_queries(2):
        tools = list(Tool.objects.select_related("backend"))
        prefetch_parts(tools)
        assert len([tool_spec(tool, "en") for tool in tools]) == 18
    with django_assert_num_queries(1):
        builtins = list(Tool.objects.filter(owner=None).select_related("backend"))
        prefetch_parts(builtins)
        assert len([tool_spec(tool, "en") for tool in builtins]) == 15


def _spec(name: str) -> ToolSpec:
    return ToolSpec(
        id=name,
        name=name,
        description="",
        parameters={},
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=1,
    )


def test_it_names_tools_so_that_every_vendor_takes_them() -> None:
    names = ["a", "a", "a_2", "a", "x.y z", "二", "", "l" * 70, "l" * 64]
    named = [spec.id for spec in named_apart(map(_spec, names))]
    assert named[:7] == ["a", "a_2", "a_2_2", "a_3", "x_y_z", "_", "tool"]
    assert named[7:] == ["l" * 64, "l" * 62 + "_2"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in named)
    assert [spec.name for spec in named_apart(map(_spec, names))] == names
