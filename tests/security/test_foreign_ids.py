"""An id of somebody else is an unknown id: on every door, by every verb, in every body."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Model
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from providers.fakes import FakeUpstream
from providers.fakes.behaviour import KINDS
from providers.models import Asr, Llm, Voice
from tests.upstream import SECRET
from tooling.models import AutotestRun, McpServer, McpUserConfig, Scenario, Subject, Tool

pytestmark = pytest.mark.django_db

API = "/api/v1"
UNKNOWN = "000000000000"


@dataclasses.dataclass(frozen=True)
class Things:
    """Everything that alice has, at a vendor and a service that answer."""

    tool: Tool
    server: McpServer
    config: McpUserConfig
    llm: Llm
    asr: Asr
    voice: Voice
    embedder: Llm
    assistant: Assistant
    scenario: Scenario
    run: AutotestRun


@pytest.fixture
def things(alice: User, upstream: FakeUpstream) -> Things:
    vendor = {"vendor": "openai_compatible", "base_url": upstream.base_url, "api_key": SECRET}
    model = {"owner": alice, "name": "Mine", "model_name": "fake-model", **vendor}
    tool = Tool.objects.create(
        owner=alice, name="Orders", function_name="orders", category="query",
        http_url=upstream.base_url, http_headers={"Authorization": "Bearer of-alice-0123"},
    )  # fmt: skip
    server = McpServer.objects.create(
        owner=alice, name="Shop", prefix="shop", url=upstream.base_url,
        config_fields=[{"key": "X-Key", "label": "Key", "target": "header", "required": False}],
    )  # fmt: skip
    llm = Llm.objects.create(**model)
    assistant = Assistant.objects.create(owner=alice, name="Ada", llm=llm, language="en")
    steps = [{"say": "Hello", "expect_words": [], "forbid_words": [], "expect_tools": []}]
    return Things(
        tool=tool,
        server=server,
        config=McpUserConfig.objects.create(
            owner=alice, server=server, values={"X-Key": "of-alice-4567"}
        ),
        llm=llm,
        asr=Asr.objects.create(**model),
        voice=Voice.objects.create(
            owner=alice, name="V", language="en", voice_key="alloy", model="fake-model", **vendor
        ),
        embedder=Llm.objects.create(**model, type="embedding"),
        assistant=assistant,
        scenario=Scenario.objects.create(
            owner=alice, name="S", assistant_id=assistant.pk, steps=steps
        ),
        run=AutotestRun.objects.create(
            owner=alice, subject=Subject.LLM, subject_id=llm.pk, trigger="api", status="passed"
        ),
    )


# Verb, path and body of a request that names one thing of alice's; `{}` is its id.
Door = tuple[str, str, str, dict[str, Any] | None]

DOORS: list[Door] = [
    ("tool", "get", "/tools/resources/{}", None),
    ("tool", "put", "/tools/resources/{}", {"name": "Changed"}),
    ("tool", "patch", "/tools/resources/{}", {"name": "Changed"}),
    ("tool", "delete", "/tools/resources/{}", None),
    ("tool", "put", "/tool/update", {"tool_id": "{}", "zh_name": "Changed"}),
    ("tool", "delete", "/tool/delete", {"tool_id": "{}"}),
    ("tool", "delete", "/tool/delete?tool_id={}", None),
    ("tool", "post", "/tools/autotest/tool/{}", None),
    ("tool", "post", "/assistants", {"name": "Thief", "tools": ["{}"]}),
    ("server", "put", "/mcp_server", {"server_id": "{}", "server_name": "Changed"}),
    ("server", "delete", "/mcp_server", {"server_id": "{}"}),
    ("server", "delete", "/mcp_server?server_id={}", None),
    ("server", "get", "/mcp_tools?server_id={}", None),
    ("server", "post", "/mcp_tools/refresh", {"server_id": "{}"}),
    ("server", "post", "/mcp_tools/approve", {"server_id": "{}"}),
    ("server", "get", "/mcp_user_config?server_id={}", None),
    ("server", "post", "/mcp_user_config/create",
     {"mcp_server_id": "{}", "config": {"X-Key": "mine"}}),
    ("server", "put", "/mcp_user_config/update", {"server_id": "{}", "config": {"X-Key": "mine"}}),
    ("server", "post", "/tools/autotest/mcp/{}", None),
    ("server", "post", "/assistants", {"name": "Thief", "mcpServerIds": ["{}"]}),
    ("config", "get", "/mcp_user_config/{}", None),
    ("config", "delete", "/mcp_user_config/delete", {"config_id": "{}"}),
    ("llm", "post", "/tools/autotest/llm/{}", None),
    ("llm", "post", "/tools/autotest?llm_model_id={}", None),
    ("llm", "post", "/tools/test-message?llm_model_id={}", None),
    ("asr", "post", "/tools/autotest/asr/{}", None),
    ("asr", "post", "/tools/autotest?asr_model_id={}", None),
    ("voice", "post", "/tools/autotest/voice/{}", None),
    ("embedder", "post", "/tools/autotest/embedder/{}", None),
    ("assistant", "post", "/tools/autotest/assistant/{}", None),
    ("assistant", "post", "/tools/autotest/scenarios",
     {"name": "S", "assistant_id": "{}", "steps": [{"say": "Hello"}]}),
    ("scenario", "get", "/tools/autotest/scenarios/{}", None),
    ("scenario", "put", "/tools/autotest/scenarios/{}", {"name": "Changed"}),
    ("scenario", "patch", "/tools/autotest/scenarios/{}", {"name": "Changed"}),
    ("scenario", "delete", "/tools/autotest/scenarios/{}", None),
    ("run", "get", "/tools/autotest/runs/{}", None),
]  # fmt: skip


def ask(client: APIClient, door: Door, row_id: str) -> Any:
    _what, verb, path, body = door
    sent = json.loads(json.dumps(body).replace("{}", row_id))
    url = API + path.replace("{}", row_id)
    return getattr(client, verb)(url, sent, format="json") if body else getattr(client, verb)(url)


def plain(response: Any, row_id: str) -> str:
    """What an answer says, without the id that was sent and the times that it took."""
    body = copy.deepcopy(response.json())
    if isinstance(body, dict):
        for name in ("id", "started_at", "duration_ms"):
            body.pop(name, None)
        for case in body.get("tests", []):
            case.pop("duration_ms", None)
    return f"{response.status_code} {json.dumps(body, sort_keys=True)}".replace(row_id, "ID")


def is_success(response: Any) -> bool:
    body = response.json()
    code = body.get("status_code", 200) if isinstance(body, dict) else 200
    return response.status_code < 300 and code == 200


def rows() -> list[dict[str, Any]]:
    """All that bob could change, apart from the runs of tests."""
    kinds: list[type[Model]] = [Tool, McpServer, McpUserConfig, Scenario, Assistant, Llm]
    return [values for kind in kinds for values in kind._base_manager.order_by("pk").values()]


def marked(door: Door) -> Any:
    """The door as a parameter; what runs something reads the database in other threads."""
    runs = any(word in door[2] for word in ("/autotest", "/test-message", "/refresh"))
    marks = [pytest.mark.django_db(transaction=True)] if runs else []
    return pytest.param(door, id=f"{door[1]} {door[2]}", marks=marks)


@pytest.mark.parametrize("door", [marked(door) for door in DOORS])
def test_a_foreign_id_is_an_unknown_one(
    door: Door, things: Things, alice_api: APIClient, bob_api: APIClient, upstream: FakeUpstream
) -> None:
    row_id = str(getattr(things, door[0]).pk)
    before = rows()
    foreign = ask(bob_api, door, row_id)
    unknown = ask(bob_api, door, UNKNOWN)
    assert plain(foreign, row_id) == plain(unknown, UNKNOWN)
    is_report = foreign.status_code == 200 and "tests" in foreign.json()
    if is_report:
        # The whole autotest reports a missing model as its one failed case.
        assert [case["passed"] for case in foreign.json()["tests"]] == [False]
    else:
        assert not is_success(foreign)
    assert rows() == before
    assert sum(upstream.stats.of(kind).requests for kind in KINDS) == 0
    assert is_success(ask(alice_api, door, row_id))


LISTS = [
    "/tools/resources", "/tool/all", "/mcp_server", "/tools/autotest/runs",
    "/tools/autotest/scenarios",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_no_list_shows_what_is_foreign(
    path: str, things: Things, alice_api: APIClient, bob_api: APIClient
) -> None:
    ids = [row.pk for row in (things.tool, things.server, things.scenario, things.run)]
    for client, expected in ((bob_api, 0), (alice_api, 1)):
        text = json.dumps(client.get(API + path).json())
        assert sum(row_id in text for row_id in ids) == expected


@pytest.mark.parametrize("path", ["/tool/own", "/tool/visible"])
def test_no_posted_list_shows_what_is_foreign(
    path: str, things: Things, alice_api: APIClient, bob_api: APIClient
) -> None:
    assert things.tool.pk not in json.dumps(bob_api.post(API + path).json())
    assert things.tool.pk in json.dumps(alice_api.post(API + path).json())


@pytest.mark.parametrize(("field", "what"), [("tools", "tool"), ("mcpServerIds", "server")])
@pytest.mark.parametrize("verb", ["put", "patch"])
def test_no_assistant_takes_up_what_is_foreign(
    field: str, what: str, verb: str, things: Things, bob: User, alice: User,
    alice_api: APIClient, bob_api: APIClient,
) -> None:  # fmt: skip
    row_id = getattr(things, what).pk
    for owner, client, status in ((bob, bob_api, 400), (alice, alice_api, 200)):
        assistant = Assistant.objects.create(owner=owner, name="A")
        url = f"{API}/assistants/{assistant.pk}"
        response = getattr(client, verb)(url, {field: [row_id]}, format="json")
        assert response.status_code == status, response.content
        has_taken = row_id in json.dumps(client.get(url).json())
        assert has_taken is (status == 200)


def test_an_operator_sees_the_settings_of_no_user(
    things: Things, carol_api: APIClient, alice_api: APIClient
) -> None:
    url = f"{API}/mcp_user_config/{things.config.pk}"
    assert not is_success(carol_api.get(url))
    assert is_success(alice_api.get(url))
    # Whoever they ask for: an operator has settings of their own for a server, or none.
    own = carol_api.get(f"{API}/mcp_user_config?server_id={things.server.pk}")
    assert "4567" not in own.content.decode()
    assert "4567" in alice_api.get(url).content.decode()


@pytest.mark.parametrize("row_id", ["'", "%00", "..%2f..%2fetc", "%2e%2e", "a" * 5000, "%ff", "-1"])
@pytest.mark.parametrize(
    "path",
    [
        "/tools/resources/{}", "/tools/autotest/runs/{}", "/tools/autotest/scenarios/{}",
        "/mcp_user_config/{}", "/mcp_tools?server_id={}", "/mcp_user_config?server_id={}",
    ],
)  # fmt: skip
def test_hostile_ids_are_unknown(
    path: str, row_id: str, alice_api: APIClient, ids: Callable[[str], str]
) -> None:
    response = alice_api.get(API + path.replace("{}", row_id))
    assert not is_success(response)
    assert response.status_code < 500
    assert is_success(alice_api.get(API + path.replace("{}", ids(path))))


@pytest.fixture
def ids(things: Things) -> Callable[[str], str]:
    """The id of the thing of alice's that a path asks for."""
    words = {"resources": "tool", "runs": "run", "scenarios": "scenario", "config/": "config"}

    def own_id(path: str) -> str:
        word = next((what for part, what in words.items() if part in path), "server")
        return str(getattr(things, word).pk)

    return own_id
