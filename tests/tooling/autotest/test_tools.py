from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from accounts.models import User
from providers.fakes import FakeUpstream
from tests.tooling.autotest.conftest import cases_of, run_now
from tooling.autotest.tools import BUILTIN_EXAMPLES, example_arguments
from tooling.catalogue import BUILTIN_TOOLS, sync_builtin_tools
from tooling.models import AutotestRun, Category, RunStatus, Subject, Tool
from tooling.schema import argument_problems
from tooling.types import ToolSpec

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tool(upstream: FakeUpstream, alice: User) -> Tool:
    """Looks up a name at a service."""
    schema = {
        "type": "object",
        "properties": {"of": {"type": "string", "examples": ["models"]}},
        "required": ["of"],
    }
    return Tool.objects.create(
        owner=alice,
        name="Look-up",
        category=Category.QUERY,
        http_url=f"{upstream.base_url}/{{of}}",
        result_pointer="/data/0/id",
        parameter_schema=schema,
    )


def run_of(tool: Tool, **changes: Any) -> AutotestRun:
    Tool.objects.filter(pk=tool.pk).update(**changes)
    return run_now(Subject.TOOL, tool.pk, tool.owner)


def test_it_calls_what_a_call_does_not_change(tool: Tool, upstream: FakeUpstream) -> None:
    run = run_of(tool)
    found = cases_of(run)
    assert list(found) == ["Tool Existence", "Parameters", "URL Allowed", "Reachable", "Result"]
    assert run.status == RunStatus.PASSED, found
    assert found["URL Allowed"] == (True, f"Allowed: 127.0.0.1:{upstream.port}")
    assert found["Result"] == (True, "Result: fake-model")
    tool.refresh_from_db()
    assert (tool.check_ok, tool.check_message) == (True, "5 tests passed.")


def test_it_tells_a_missing_part_from_a_missing_answer(tool: Tool) -> None:
    found = cases_of(run_of(tool, result_pointer="/data/7/id"))
    assert found["Reachable"][0] is True
    assert found["Result"][0] is False
    assert "/data/7" in found["Result"][1]
    found = cases_of(run_of(tool, parameter_defaults={"of": "nowhere"}))
    assert found["Reachable"][0] is False
    assert "404" in found["Reachable"][1]
    assert found["Result"] == (False, "Not tried: there is no answer.")
    tool.refresh_from_db()
    assert tool.check_ok is False


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_sends_nothing_that_may_change_something(
    tool: Tool, upstream: FakeUpstream, method: str
) -> None:
    run = run_of(tool, http_method=method)
    found = cases_of(run)
    message = f"Not sent: a {method} request may change something."
    assert found["Reachable"] == found["Result"] == (True, message)
    assert found["URL Allowed"][0] is True
    assert upstream.stats.of("models").requests == 0


def test_it_sends_nothing_without_arguments(tool: Tool, upstream: FakeUpstream) -> None:
    schema = {**tool.parameter_schema, "properties": {"of": {"type": "string"}}}
    found = cases_of(run_of(tool, parameter_schema=schema))
    assert found["Reachable"] == (True, "Not sent: no default and no example for: of")
    assert upstream.stats.of("models").requests == 0
    found = cases_of(run_of(tool, parameter_defaults={"of": "models"}))
    assert found["Result"] == (True, "Result: fake-model")


def test_it_reports_examples_that_do_not_fit(tool: Tool) -> None:
    found = cases_of(run_of(tool, parameter_defaults={"of": 7}))
    assert found["Parameters"][0] is False
    assert found["Reachable"][0] is False


def test_it_reports_an_address_that_nobody_allowed(tool: Tool, settings: Any) -> None:
    assert cases_of(run_of(tool))["URL Allowed"][0] is True
    settings.OUTBOUND_ALLOW = []
    found = cases_of(run_of(tool))
    assert found["URL Allowed"][0] is False
    assert "not a public address" in found["URL Allowed"][1]
    assert found["Reachable"][0] is False


class _Echo(BaseHTTPRequestHandler):
    """Answers with headers that it was sent."""

    def do_GET(self) -> None:
        names = ("X-Plain", "Authorization")
        body = json.dumps({name: self.headers[name] for name in names}).encode()
        self.send_response(200 if self.path.startswith("/fine") else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["fine", "failing"])
def test_it_shows_no_secret(tool: Tool, echo: str, path: str) -> None:
    headers = {"Authorization": "Bearer sk-very-secret-value", "X-Plain": "in view"}
    run = run_of(tool, http_headers=headers, http_url=f"{echo}/{path}", result_pointer="")
    found = cases_of(run)
    assert found["Reachable"][0] is (path == "fine"), found
    assert "in view" in str(run.cases)
    assert "very-secret" not in str(run.cases)
    tool.refresh_from_db()
    assert "very-secret" not in tool.check_message


def test_what_others_find_is_not_noted(tool: Tool, alice: User) -> None:
    Tool.objects.update(owner=None)
    run_now(Subject.TOOL, tool.pk, alice)
    tool.refresh_from_db()
    assert tool.check_ok is None


class TestBuiltins:
    @pytest.fixture(autouse=True)
    def rows(self, transactional_db: None) -> None:
        sync_builtin_tools()

    @pytest.mark.parametrize("tool_id", ["calculator", "current_time", "code_interpreter"])
    def test_it_calls_our_own_tools(self, tool_id: str) -> None:
        run = run_now(Subject.TOOL, tool_id)
        assert run.status == RunStatus.PASSED, run.cases
        assert list(cases_of(run)) == ["Tool Existence", "Parameters", "Call"]

    def test_it_says_that_a_service_is_not_configured(self) -> None:
        found = cases_of(run_now(Subject.TOOL, "search"))
        assert found["Call"][0] is False
        assert "not configured" in found["Call"][1]

    def test_it_calls_no_device_and_no_conversation(self) -> None:
        found = cases_of(run_now(Subject.TOOL, "turn_on_camera"))
        assert found["Call"] == (True, "Not called: it runs on the caller's device.")
        found = cases_of(run_now(Subject.TOOL, "knowledge"))
        assert found["Call"] == (True, "Not called: it works inside of a conversation only.")

    def test_the_examples_fit_the_tools(self) -> None:
        for tool_id, example in BUILTIN_EXAMPLES.items():
            schema = BUILTIN_TOOLS[tool_id].parameters("en")
            assert argument_problems(schema, example.arguments) is None


def test_it_takes_examples_from_the_schema() -> None:
    properties = {
        "a": {"example": 1},
        "b": {"examples": [2, 3]},
        "c": {"enum": ["x", "y"]},
        "d": {"const": 4},
        "e": {"default": 5},
        "f": {"type": "string"},
        "g": {"type": "string"},
        "h": True,
    }
    spec = ToolSpec(
        id="t",
        name="t",
        description="",
        parameters={"type": "object", "properties": properties, "required": ["a", "f", "h"]},
        defaults={"g": "set", "a": 0},
        executor="server",
        wait_for_response=True,
        timeout_ms=1000,
    )
    arguments, lacking = example_arguments(spec)
    assert arguments == {"a": 0, "b": 2, "c": "x", "d": 4, "e": 5, "g": "set"}
    assert lacking == ["f", "h"]
