"""Every error has its family's shape, whoever raised it and wherever."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.test import AsyncClient, Client

from core.families import AgentChat, Family, Gateway, Platform, Tasks, Tools, family_for
from core.logs import RequestIdFilter
from tests.core.urls import PREFIXES, SECRET

pytestmark = [pytest.mark.urls("tests.core.urls"), pytest.mark.django_db]

Shape = Callable[[dict[str, Any]], str]


def platform_message(body: dict[str, Any]) -> str:
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}
    return str(body["error"]["message"])


def tools_message(body: dict[str, Any]) -> str:
    assert set(body) == {"detail"}
    return str(body["detail"])


def agentchat_message(body: dict[str, Any]) -> str:
    assert set(body) == {"status_code", "status_message", "data", "detail"}
    assert body["data"] is None
    return str(body["status_message"])


def tasks_message(body: dict[str, Any]) -> str:
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    return str(body["error"])


def gateway_message(body: dict[str, Any]) -> str:
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message", "param", "code"}
    assert body["request_id"].startswith("req_")
    return str(body["error"]["message"])


SHAPES: dict[str, Shape] = {
    "platform": platform_message,
    "tools": tools_message,
    "agentchat": agentchat_message,
    "tasks": tasks_message,
    "gateway": gateway_message,
}
FAMILIES = sorted(SHAPES)


@pytest.fixture
def client() -> Client:
    """Answers 500 like a real server instead of raising."""
    return Client(raise_request_exception=False)


def message_of(response: Any, family: str, status: int) -> str:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert response["X-Request-Id"].startswith("req_")
    message = SHAPES[family](response.json())
    assert message
    return message


def expected_status(family: str, status: int) -> int:
    """Business errors are HTTP 200 in the agentchat family, invalid fields 422."""
    if family == "agentchat":
        return {400: 422, 403: 200, 404: 200, 409: 200, 502: 200}.get(status, status)
    return status


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid", 400),
        ("unauthenticated", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("conflict", 409),
        ("rate_limited", 429),
        ("throttled", 429),
        ("provider", 502),
        ("unavailable", 503),
        ("http404", 404),
        ("denied", 403),
        ("suspicious", 400),
        ("data", 400),
        ("database", 503),
        ("bug", 500),
    ],
)
def test_it_shapes_errors_of_views(client: Client, family: str, kind: str, status: int) -> None:
    response = client.get(f"{PREFIXES[family]}/{kind}")
    message_of(response, family, expected_status(family, status))
    assert SECRET not in response.content.decode()
    assert client.get(f"{PREFIXES[family]}/fine").json() == {"ok": True}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "status"),
    [("invalid", 400), ("conflict", 409), ("http404", 404), ("denied", 403), ("suspicious", 400),
     ("database", 503), ("bug", 500)],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["-plain", "-async"])
def test_it_shapes_errors_of_plain_views(
    client: Client, family: str, kind: str, status: int, ending: str
) -> None:
    response = client.get(f"{PREFIXES[family]}{ending}/{kind}")
    message_of(response, family, expected_status(family, status))
    assert SECRET not in response.content.decode()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_shapes_errors_under_asgi(client: Client, family: str) -> None:
    async def ask(kind: str) -> Any:
        asynchronous = AsyncClient(raise_request_exception=False)
        return await asynchronous.get(f"{PREFIXES[family]}-async/{kind}")

    message_of(async_to_sync(ask)("conflict"), family, expected_status(family, 409))
    message_of(async_to_sync(ask)("bug"), family, 500)
    assert async_to_sync(ask)("fine").status_code == 200


@pytest.mark.parametrize("family", FAMILIES)
def test_it_shapes_errors_before_any_view(client: Client, family: str, settings: Any) -> None:
    here = PREFIXES[family]
    unknown = client.get(f"{here}-unknown")
    message = message_of(unknown, family, 404)
    assert message == "There is no such path in this API."
    message_of(client.get(f"{here}/%00"), family, 404)
    message_of(client.get(f"{here}/fine?x=%00"), family, expected_status(family, 400))

    wrong_method = client.delete(f"{here}/fine")
    message_of(wrong_method, family, 405)
    assert "GET" in wrong_method["Allow"]
    message_of(client.post(f"{here}-plain/fine"), family, 405)

    text = client.post(f"{here}/fine", "name=x", content_type="text/plain")
    message_of(text, family, 415)

    for body in (b"{", b"\xff", b'{"wish": "\\u0000"}', b'{"wish": "\\ud800"}', b"[" * 100_000):
        refused = client.post(f"{here}/fine", body, content_type="application/json")
        message_of(refused, family, expected_status(family, 400))
        # What can be read and cannot be stored is said of its field.
        assert (b"wish" in refused.content) is (b"wish" in body)
    fine = client.post(
        f"{here}/fine", b'{"name": "\\ud83d\\ude00"}', content_type="application/json"
    )
    assert fine.json() == {"ok": True}

    host = client.get(f"{here}/fine", HTTP_HOST="evil.example")
    message_of(host, family, expected_status(family, 400))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_refuses_large_bodies_before_reading_them(client: Client, family: str) -> None:
    def status(size: int, content_type: str) -> int:
        response = client.post(
            f"{PREFIXES[family]}/fine", b"{}", content_type=content_type, CONTENT_LENGTH=str(size)
        )
        if response.status_code == 413:
            message_of(response, family, 413)
        return response.status_code

    limit = 50 * 2**20 if family == "gateway" else 10 * 2**20
    assert status(limit + 1, "application/json") == 413
    assert status(2, "application/json") == expected_status(family, 400)
    multipart = "multipart/form-data; boundary=x"
    assert status(51 * 2**20, multipart) == 413
    assert status(limit + 1, multipart) == 413


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/upload",
        "/api/v1/upload/",
        "/api/v1/asr/1/transcribe",
        "/api/v1/knowledge-bases/1/documents",
    ],
)
def test_it_takes_large_files_where_files_belong(client: Client, path: str) -> None:
    def status(size: int, content_type: str) -> int:
        return client.post(
            path, b"{}", content_type=content_type, CONTENT_LENGTH=str(size)
        ).status_code

    multipart = "multipart/form-data; boundary=x"
    most = 50 * 2**20 + 64 * 1024
    assert status(most + 1, multipart) == 413
    assert status(most, multipart) == 401
    assert status(most, "application/json") == 413
    assert status(10 * 2**20, "application/json") == 401


async def test_it_reads_bodies_of_unannounced_size(settings: Any) -> None:
    async def post(*pieces: bytes) -> tuple[int, Any]:
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"{PREFIXES['platform']}/fine",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"transfer-encoding", b"chunked"),
            ],
        }
        client: Any = ApplicationCommunicator(  # type: ignore[no-untyped-call]  # asgiref's
            get_asgi_application(), scope
        )
        for piece in pieces:
            await client.send_input({"type": "http.request", "body": piece, "more_body": True})
        await client.send_input({"type": "http.request", "body": b""})
        start = await client.receive_output()
        body = await client.receive_output()
        await client.wait()
        return start["status"], json.loads(body["body"])

    assert await post(b'{"name":', b' "x"}') == (200, {"ok": True})
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    status, body = await post(b'{"name": "', b"x" * 100, b'"}')
    assert status == 413
    assert body["error"]["code"] == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize("family", FAMILIES)
def test_it_names_wrong_fields(client: Client, family: str) -> None:
    response = client.post(
        f"{PREFIXES[family]}/fine",
        {"name": "much too long", "parts": [1, "x"]},
        content_type="application/json",
    )
    status = expected_status(family, 400)
    message = message_of(response, family, status)
    body = response.json()
    if family == "platform":
        assert body["error"]["code"] == "VALIDATION_ERROR"
        assert set(body["error"]["details"]) == {"name", "parts.1"}
    elif family == "agentchat":
        assert [entry["loc"] for entry in body["detail"]] == [
            ["body", "name"],
            ["body", "parts", "1"],
        ]
    elif family == "gateway":
        assert body["error"]["param"] == "name"
        assert body["error"]["type"] == "invalid_request_error"
    else:
        assert message.startswith("name: ")


def test_it_tells_an_unknown_route_from_an_unknown_id(client: Client) -> None:
    def code(path: str) -> str:
        return str(client.get(path).json()["error"]["code"])

    assert code(f"{PREFIXES['platform']}-unknown") == "ROUTE_NOT_FOUND"
    assert code("/api/v2/assistants") == "ROUTE_NOT_FOUND"
    assert code(f"{PREFIXES['platform']}/http404") == "NOT_FOUND"
    assert code(f"{PREFIXES['platform']}-plain/http404") == "NOT_FOUND"
    assert code(f"{PREFIXES['platform']}/not_found") == "THING_NOT_FOUND"


@pytest.mark.parametrize("family", FAMILIES)
def test_it_logs_a_failure_under_the_id_that_the_client_sees(
    client: Client, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.get(f"{PREFIXES[family]}/bug")
    assert response["X-Request-Id"] in message_of(response, family, 500)
    (record,) = [record for record in caplog.records if record.exc_info]
    RequestIdFilter().filter(record)
    formatter = logging.Formatter(django_settings.LOGGING["formatters"]["line"]["format"])
    line = formatter.format(record)
    assert response["X-Request-Id"] in line
    assert SECRET in line


@pytest.mark.parametrize("family", FAMILIES)
def test_it_tells_when_to_come_back_and_how_to_sign_in(client: Client, family: str) -> None:
    assert client.get(f"{PREFIXES[family]}/rate_limited")["Retry-After"] == "7"
    assert client.get(f"{PREFIXES[family]}/unauthenticated")["WWW-Authenticate"] == "Bearer"


def test_it_answers_a_disabled_key_as_each_family_does(client: Client) -> None:
    statuses = {name: client.get(f"{PREFIXES[name]}/unusable").status_code for name in FAMILIES}
    assert statuses == {**dict.fromkeys(FAMILIES, 401), "gateway": 403}
    body = client.get(f"{PREFIXES['gateway']}/unusable").json()
    assert body["error"]["type"] == "permission_error"


@pytest.mark.parametrize(
    ("kind", "kind_of_error"),
    [("invalid", "invalid_request_error"), ("unauthenticated", "authentication_error"),
     ("forbidden", "permission_error"), ("not_found", "not_found_error"),
     ("rate_limited", "rate_limit_error"), ("bug", "api_error"), ("provider", "upstream_error"),
     ("unavailable", "overloaded_error")],
)  # fmt: skip
def test_it_names_the_kinds_that_client_libraries_know(
    client: Client, kind: str, kind_of_error: str
) -> None:
    response = client.get(f"/v1/testing/x/{kind}")
    assert response.json()["error"]["type"] == kind_of_error
    assert response["request-id"] == response["X-Request-Id"] == response.json()["request_id"]


def test_it_accepts_a_trailing_slash(client: Client) -> None:
    for prefix in PREFIXES.values():
        assert client.get(f"{prefix}/fine/").json() == {"ok": True}


def test_it_leaves_pages_for_people_alone(client: Client) -> None:
    for path, status in (("/nowhere", 404), ("/people/bug", 500), ("/people/denied", 403)):
        response = client.get(path)
        assert response.status_code == status
        assert response["Content-Type"].startswith("text/html")


def test_it_answers_json_whatever_a_client_accepts(client: Client) -> None:
    for accept in ("text/event-stream", "text/html", "application/xml", "nonsense"):
        assert client.get("/api/v1/tools/testing/x/fine", HTTP_ACCEPT=accept).json() == {"ok": True}
    assert client.get("/api/v1/tools/testing/x/fine?format=xml").json() == {"ok": True}


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/api/v1/assistants", Platform),
        ("/api/v1/llm", Platform),
        ("/api/v1/llm/abc/test", Platform),
        ("/api/v1/llm/create", AgentChat),
        ("/api/v1/llm/visible/", AgentChat),
        ("/api/v1/agent", AgentChat),
        ("/api/v1/agents", Platform),
        ("/api/v1/agent/models", AgentChat),
        ("/api/v1/history/stats", Platform),
        ("/api/v1/usage_count", AgentChat),
        ("/api/v1/usage/models_list", AgentChat),
        ("/api/v1/knowledge/create", AgentChat),
        ("/api/v1/knowledge-bases", Platform),
        ("/api/v1/tool/all", AgentChat),
        ("/api/v1/tools/list", Tools),
        ("/api/v1/message/like", AgentChat),
        ("/api/v1/messages", Tasks),
        ("/api/v1/models", Tasks),
        ("/api/v1/health", Tasks),
        ("/api/v1/gateway/keys", Platform),
        ("/v1/models", Gateway),
        ("/v1", Gateway),
        ("/api/schema", Platform),
        ("/api/v1", Platform),
    ],
)
def test_it_chooses_the_family_by_url(path: str, family: type[Family]) -> None:
    assert family_for(path) is family


def test_it_tells_the_two_histories_apart() -> None:
    assert family_for("/api/v1/history", {"dialog_id": "x"}) is AgentChat
    assert family_for("/api/v1/history", {"page": "1"}) is Platform
    assert family_for("/api/v1/history/abc", {"dialog_id": "x"}) is Platform


def test_it_wraps_successes_and_lists() -> None:
    page = {"total": 3, "page": 2, "page_size": 1}
    assert Platform.success({"a": 1}) == {"success": True, "data": {"a": 1}}
    assert Platform.page([1], **page) == {"success": True, "data": {"items": [1], **page}}
    assert Tools.success({"a": 1}) == {"a": 1}
    assert Tools.page([1], **page) == {"total": 3, "page": 2, "limit": 1, "list": [1]}
    assert AgentChat.success(None) == {
        "status_code": 200, "status_message": "SUCCESS", "data": None,
    }  # fmt: skip
    assert Tasks.success({"task_id": "x"}) == {"success": True, "task_id": "x"}
    assert Gateway.success({"id": "x"}) == {"id": "x"}


@pytest.mark.parametrize("language", ["zh-CN", "zh", "zh-hans", "zh;q=0.9, en;q=0.1"])
def test_it_speaks_the_clients_language(client: Client, language: str) -> None:
    def message(accepted: str) -> str:
        response = client.post(
            f"{PREFIXES['platform']}/fine",
            {},
            content_type="application/json",
            HTTP_ACCEPT_LANGUAGE=accepted,
        )
        return message_of(response, "platform", 400)

    assert message(language) == "该字段是必填项。"
    assert message("en") == "This field is required."
    assert message("tlh") == "This field is required."


def test_it_says_why_an_unknown_host_name_is_refused(client: Client) -> None:
    known = client.get("/api/v1/assistants", headers={"host": "localhost"})
    assert known.status_code == 401
    unknown = client.get("/api/v1/assistants", headers={"host": "evil.example"})
    assert unknown.status_code == 400
    assert unknown.json()["error"]["code"] == "UNKNOWN_HOST"
    assert "ALLOWED_HOSTS" in unknown.json()["error"]["message"]
