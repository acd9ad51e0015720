from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Call, CallStatus, Channel, Conversation, Message

NOON = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


def make_call(
    owner: User | None,
    assistant: Assistant | None = None,
    *,
    seconds: int | None = 65,
    **fields: Any,
) -> Call:
    conversation = Conversation.objects.create(
        owner=owner,
        assistant=assistant,
        assistant_key=assistant.pk if assistant else "gone",
        assistant_name=assistant.name if assistant else "Gone",
        channel=Channel.VOICE,
    )
    started_at = fields.setdefault("started_at", NOON)
    if seconds is not None:
        fields["ended_at"] = started_at + datetime.timedelta(seconds=seconds)
    return Call.objects.create(
        conversation=conversation, status=fields.pop("status", "connected"), **fields
    )


def talk(call: Call) -> None:
    """A question, a tool, an interrupted answer."""
    common: dict[str, Any] = {"conversation": call.conversation, "turn": 1, "created_at": NOON}
    rows = [
        Message(
            seq=1, role="user", text="6*7?", confidence=0.9, start_ms=100, end_ms=900, **common
        ),
        Message(
            seq=2,
            role="assistant",
            tool_calls=[{"id": "c", "name": "calculator", "arguments": "{}"}],
            **common,
        ),
        Message(seq=3, role="tool", text="42", tool_result={"call_id": "c", "code": 200}, **common),
        Message(
            seq=4,
            role="assistant",
            text="It is",
            generated_text="It is 42.",
            is_interrupted=True,
            metrics={"v2v_ms": 500},
            **common,
        ),
    ]
    Message.objects.bulk_create(rows)


def ids(response: Any) -> set[str]:
    assert response.status_code == 200, response.json()
    return {item["id"] for item in response.json()["data"]["items"]}


def test_it_lists_ones_own_calls(alice_api: APIClient, alice: User, ada: Assistant) -> None:
    call = make_call(alice, ada, source="debug", metadata={"k": "v"})
    body = alice_api.get("/api/v1/history").json()
    assert body["success"] is True
    assert {key: body["data"][key] for key in ("total", "page", "page_size")} == {
        "total": 1,
        "page": 1,
        "page_size": 20,
    }
    (item,) = body["data"]["items"]
    created_at = item.pop("created_at")
    assert datetime.datetime.fromisoformat(created_at) == call.conversation.created_at
    assert item == {
        "id": call.pk,
        "user_id": alice.pk,
        "assistant_id": ada.pk,
        "assistant_name": "Ada",
        "source": "debug",
        "status": "connected",
        "started_at": "2026-05-01T12:00:00Z",
        "ended_at": "2026-05-01T12:01:05Z",
        "duration_seconds": 65,
        "summary": "",
        "cost": 0.0,
        "metadata": {"k": "v"},
        "error_code": "",
        "error_message": "",
    }


def test_it_shows_what_was_said(alice_api: APIClient, alice: User, ada: Assistant) -> None:
    call = make_call(alice, ada)
    talk(call)
    data = alice_api.get(f"/api/v1/history/{call.pk}").json()["data"]
    assert data["id"] == call.pk
    human, machine = data["transcripts"]
    assert human == {
        "turn_index": 0,
        "turn": 1,
        "speaker": "human",
        "content": "6*7?",
        "generated_content": None,
        "is_interrupted": False,
        "confidence": 0.9,
        "start_ms": 100,
        "end_ms": 900,
        "duration_ms": 800,
        "audio_url": None,
        "emotion": None,
        "metrics": {},
        "citations": [],
        "knowledge_note": "",
    }
    assert (machine["speaker"], machine["turn_index"], machine["duration_ms"]) == ("ai", 1, None)
    assert (machine["content"], machine["generated_content"]) == ("It is", "It is 42.")
    assert machine["is_interrupted"] is True
    assert [detail["role"] for detail in data["details"]] == [
        *("user", "assistant", "tool", "assistant")
    ]
    assert data["details"][0] == {
        "role": "user",
        "content": "6*7?",
        "audio_url": None,
        "image_urls": [],
        "timestamp": "2026-05-01T12:00:00Z",
        "tool_calls": [],
        "tool_result": None,
        "citations": [],
        "knowledge_note": "",
        "error": "",
    }


def test_it_shows_what_an_answer_rests_on(
    alice_api: APIClient, alice: User, ada: Assistant
) -> None:
    call = make_call(alice, ada)
    talk(call)
    source = {
        "index": 1,
        "document": "价目表.pdf",
        "page": 2,
        "text": "咖啡三十元。",
        "score": None,
        "knowledge_base_id": "kb1",
        "document_id": "doc1",
        "chunk_id": "42",
    }
    last = Message.objects.filter(conversation_id=call.pk, role="assistant").latest("seq")
    last.citations, last.knowledge_note = [source], "Searched by words only."
    last.save()
    data = alice_api.get(f"/api/v1/history/{call.pk}").json()["data"]
    for shown in (data["transcripts"][-1], data["details"][-1]):
        assert shown["citations"] == [source]
        assert shown["knowledge_note"] == "Searched by words only."


def test_it_shows_a_call_that_goes_on(alice_api: APIClient, alice: User) -> None:
    call = make_call(alice, seconds=None)
    data = alice_api.get(f"/api/v1/history/{call.pk}").json()["data"]
    assert (data["ended_at"], data["duration_seconds"]) == (None, None)
    assert (data["transcripts"], data["details"]) == ([], [])


def test_it_deletes_a_call_with_its_messages(alice_api: APIClient, alice: User) -> None:
    call, other = make_call(alice), make_call(alice)
    talk(call)
    response = alice_api.delete(f"/api/v1/history/{call.pk}")
    assert response.status_code == 200
    assert response.json() == {"success": True, "data": {"id": call.pk, "deleted": True}}
    assert list(Conversation.objects.values_list("pk", flat=True)) == [other.pk]
    assert not Message.objects.exists()
    assert alice_api.get(f"/api/v1/history/{call.pk}").status_code == 404


def test_it_hides_the_calls_of_others(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, alice: User
) -> None:
    call, anonymous = make_call(alice), make_call(None)
    assert ids(alice_api.get("/api/v1/history")) == {call.pk}
    assert ids(bob_api.get("/api/v1/history")) == set()
    assert ids(carol_api.get("/api/v1/history")) == {call.pk, anonymous.pk}
    for method in ("get", "delete"):
        foreign = getattr(bob_api, method)(f"/api/v1/history/{call.pk}")
        unknown = getattr(bob_api, method)("/api/v1/history/nowhere")
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json() == unknown.json()
        assert foreign.json()["error"]["code"] == "CALL_NOT_FOUND"
    assert alice_api.get(f"/api/v1/history/{call.pk}").status_code == 200
    assert carol_api.delete(f"/api/v1/history/{call.pk}").status_code == 200


def test_it_needs_a_credential(anonymous_api: APIClient) -> None:
    for path in ("/api/v1/history", "/api/v1/history/stats", "/api/v1/history/x"):
        assert anonymous_api.get(path).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_it_lets_nobody_write_history(alice_api: APIClient, alice: User, method: str) -> None:
    path = "/api/v1/history" if method == "post" else f"/api/v1/history/{make_call(alice).pk}"
    assert getattr(alice_api, method)(path, {}, format="json").status_code == 405


# --- Filters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"may", "june", "missed"}),
        ("status=missed", {"missed"}),
        ("status=", {"may", "june", "missed"}),
        ("source=debug", {"june"}),
        ("status=connected&source=external", {"may"}),
        ("start_date=2026-05-02", {"june", "missed"}),
        ("start_date=2026-05-01&end_date=2026-05-01", {"may"}),
        ("end_date=2026-05-01T12:00:00Z", {"may"}),
        ("end_date=2026-05-01T11:59:59Z", set()),
        ("start_date=2026-06-01T12:00:00%2B00:00", {"june", "missed"}),
    ],
)
def test_it_filters(alice_api: APIClient, alice: User, query: str, found: set[str]) -> None:
    june = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.UTC)
    names = {
        make_call(alice).pk: "may",
        make_call(alice, started_at=june, source="debug").pk: "june",
        make_call(alice, started_at=june, status="missed", source="external").pk: "missed",
    }
    Call.objects.exclude(source="debug").update(source="external")
    assert {names[pk] for pk in ids(alice_api.get(f"/api/v1/history?{query}"))} == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("source=phone", "source"),
        ("start_date=yesterday", "start_date"),
        ("end_date=2026-13-01", "end_date"),
        ("page=0", "page"),
    ],
)
def test_it_names_a_wrong_filter(alice_api: APIClient, query: str, field: str) -> None:
    response = alice_api.get(f"/api/v1/history?{query}")
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]


def test_it_filters_by_assistant_as_long_as_there_are_calls(
    alice_api: APIClient, bob_api: APIClient, alice: User, ada: Assistant
) -> None:
    call, gone = make_call(alice, ada), make_call(alice)
    assert ids(alice_api.get(f"/api/v1/history?assistant_id={ada.pk}")) == {call.pk}
    assert ids(alice_api.get("/api/v1/history?assistant_id=gone")) == {gone.pk}
    call.conversation.delete()
    assert ids(alice_api.get(f"/api/v1/history?assistant_id={ada.pk}")) == set()
    foreign = bob_api.get(f"/api/v1/history?assistant_id={ada.pk}")
    unknown = alice_api.get("/api/v1/history?assistant_id=nowhere")
    assert (foreign.status_code, foreign.json()) == (404, unknown.json())
    assert foreign.json()["error"]["code"] == "ASSISTANT_NOT_FOUND"


def test_it_pages(alice_api: APIClient, alice: User) -> None:
    calls = [
        make_call(alice, started_at=NOON + datetime.timedelta(minutes=minute)).pk
        for minute in range(5)
    ]
    data = alice_api.get("/api/v1/history?page=2&limit=2").json()["data"]
    assert [item["id"] for item in data["items"]] == [calls[2], calls[1]]
    assert (data["total"], data["page"], data["page_size"]) == (5, 2, 2)


# --- Cost ----------------------------------------------------------------------------------------


def queries(client: APIClient, path: str) -> int:
    client.get(path)  # the first request of a minute notes the key's use
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_it_asks_as_often_for_many_calls_as_for_one(
    alice_api: APIClient, alice: User, ada: Assistant
) -> None:
    talk(make_call(alice, ada))
    listing, stats = (
        queries(alice_api, "/api/v1/history"),
        queries(alice_api, "/api/v1/history/stats"),
    )
    for _ in range(4):
        talk(make_call(alice, ada))
    assert queries(alice_api, "/api/v1/history") == listing
    assert queries(alice_api, "/api/v1/history/stats") == stats


def test_it_asks_as_often_for_long_calls_as_for_short(alice_api: APIClient, alice: User) -> None:
    short, long = make_call(alice), make_call(alice)
    talk(long)
    assert queries(alice_api, f"/api/v1/history/{short.pk}") == queries(
        alice_api, f"/api/v1/history/{long.pk}"
    )


# --- Figures -------------------------------------------------------------------------------------


def test_it_counts_nothing_as_zero(alice_api: APIClient, bob: User) -> None:
    make_call(bob)
    assert alice_api.get("/api/v1/history/stats").json() == {
        "success": True,
        "data": {
            "total_calls": 0,
            "connected": 0,
            "missed": 0,
            "failed": 0,
            "answer_rate": 0.0,
            "total_duration_seconds": 0,
            "avg_duration_seconds": 0.0,
            "total_cost": 0.0,
            "trend": [],
            "by_assistant": [],
        },
    }


def test_it_counts_ones_own_calls(
    alice_api: APIClient, carol_api: APIClient, alice: User, bob: User, ada: Assistant
) -> None:
    next_day = NOON + datetime.timedelta(days=1)
    make_call(alice, ada, seconds=10, cost="0.25")
    make_call(alice, ada, seconds=21, started_at=next_day, cost="0.5")
    make_call(alice, seconds=1, started_at=next_day, status=CallStatus.MISSED)
    make_call(alice, seconds=None, started_at=next_day, status=CallStatus.CONNECTED)
    make_call(bob)
    data = alice_api.get("/api/v1/history/stats").json()["data"]
    assert data == {
        "total_calls": 4,
        "connected": 3,
        "missed": 1,
        "failed": 0,
        "answer_rate": 0.75,
        "total_duration_seconds": 31,
        "avg_duration_seconds": 15.5,
        "total_cost": 0.75,
        "trend": [
            {"date": "2026-05-01", "calls": 1, "connected": 1},
            {"date": "2026-05-02", "calls": 3, "connected": 2},
        ],
        "by_assistant": [
            {"assistant_id": ada.pk, "name": "Ada", "calls": 2},
            {"assistant_id": "gone", "name": "Gone", "calls": 2},
        ],
    }
    assert carol_api.get("/api/v1/history/stats").json()["data"]["total_calls"] == 5


def test_it_counts_only_what_is_asked_for(
    alice_api: APIClient, alice: User, ada: Assistant
) -> None:
    make_call(alice, ada)
    make_call(alice, started_at=timezone.now())
    for query in (f"assistant_id={ada.pk}", "end_date=2026-05-01"):
        data = alice_api.get(f"/api/v1/history/stats?{query}").json()["data"]
        assert (data["total_calls"], len(data["trend"])) == (1, 1)
    assert alice_api.get("/api/v1/history/stats?assistant_id=nowhere").status_code == 404
    assert alice_api.get("/api/v1/history/stats?start_date=x").status_code == 400


def test_it_accepts_a_trailing_slash(alice_api: APIClient, alice: User) -> None:
    call = make_call(alice)
    for path in ("", "/stats", f"/{call.pk}"):
        assert alice_api.get(f"/api/v1/history{path}/").status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/history", "/api/v1/history/stats"])
@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31T23:59:59.999999"])
def test_it_refuses_an_end_after_which_no_day_comes(
    alice_api: APIClient, path: str, end: str
) -> None:
    refused = alice_api.get(path, {"end_date": end})
    assert refused.status_code == 400
    assert list(refused.json()["error"]["details"]) == ["end_date"]
    assert alice_api.get(path, {"end_date": "9999-12-30"}).status_code == 200
    assert alice_api.get(path, {"start_date": "0001-01-01"}).status_code == 200
