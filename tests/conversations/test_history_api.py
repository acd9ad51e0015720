from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from conversations import access
from conversations.models import Call, CallStatus, Channel, Conversation, Message

PATH = "/api/v1/history"
NOON = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


def make_call(
    owner: User | None,
    assistant: Assistant | None = None,
    *,
    seconds: int | None = 65,
    channel: Channel = Channel.VOICE,
    title: str = "",
    **fields: Any,
) -> Call:
    key = assistant.pk if assistant else "gone"
    conversation = Conversation.objects.create(
        owner=owner,
        assistant=assistant,
        assistant_key=key,
        assistant_name=assistant.name if assistant else "Gone",
        channel=channel,
        title=title,
    )
    fields |= {"owner": owner, "assistant_key": key, "channel": channel}
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
        "channel": "voice",
        "title": "",
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
        "attachments": [],
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


@pytest.mark.parametrize("channel", list(Channel))
def test_it_hides_the_conversations_of_others(
    alice_api: APIClient,
    bob_api: APIClient,
    carol_api: APIClient,
    alice: User,
    channel: Channel,
) -> None:
    call, anonymous = make_call(alice, channel=channel, title="Mine"), make_call(None)
    assert ids(alice_api.get(PATH)) == {call.pk}
    assert ids(bob_api.get(PATH)) == set()
    assert ids(carol_api.get(PATH)) == {call.pk, anonymous.pk}
    for query in (f"channel={channel}", "keyword=Mine"):
        found = [ids(api.get(f"{PATH}?{query}")) for api in (alice_api, bob_api)]
        assert found == [{call.pk}, set()]
    counted = [api.get(f"{PATH}/stats").json()["data"] for api in (alice_api, bob_api, carol_api)]
    assert [data["total_calls"] for data in counted] == [1, 0, 2]
    assert [len(data["by_assistant"]) for data in counted] == [1, 0, 1]
    for method in ("get", "put", "patch", "delete"):
        foreign = getattr(bob_api, method)(f"{PATH}/{call.pk}", {"title": "Stolen"})
        unknown = getattr(bob_api, method)(f"{PATH}/nowhere", {"title": "Stolen"})
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.json() == unknown.json()
        assert foreign.json()["error"]["code"] == "CALL_NOT_FOUND"
    assert alice_api.get(f"{PATH}/{call.pk}").json()["data"]["title"] == "Mine"
    assert carol_api.patch(f"{PATH}/{call.pk}", {"title": "Seen"}).status_code == 200
    assert carol_api.delete(f"{PATH}/{call.pk}").status_code == 200


@pytest.mark.parametrize("method", ["put", "patch"])
def test_it_keeps_notes(alice_api: APIClient, alice: User, method: str) -> None:
    call = make_call(alice, title="Old")
    path = f"{PATH}/{call.pk}"
    before = alice_api.get(path).json()["data"]
    send = getattr(alice_api, method)
    noted = send(path, {"title": "New", "status": "failed", "owner": 0, "id": "x"}).json()["data"]
    assert noted["title"] == "New"
    assert send(path, {"summary": "Short."}).json()["data"]["summary"] == "Short."
    after = alice_api.get(path).json()["data"]
    assert after == {**before, "title": "New", "summary": "Short."}
    assert send(path, {"title": ""}).json()["data"]["title"] == ""
    assert send(path, {}).status_code == 200


@pytest.mark.parametrize("body", [{"title": "x" * 201}, {"title": None}, {"summary": "\0"}, []])
def test_it_refuses_notes_that_are_none(alice_api: APIClient, alice: User, body: Any) -> None:
    path = f"{PATH}/{make_call(alice).pk}"
    assert alice_api.patch(path, body, format="json").status_code == 400
    assert alice_api.patch(path, {"title": "x" * 200}, format="json").status_code == 200


def test_it_needs_a_credential(anonymous_api: APIClient) -> None:
    for path in ("/api/v1/history", "/api/v1/history/stats", "/api/v1/history/x"):
        assert anonymous_api.get(path).status_code == 401


def test_it_lets_nobody_write_history(alice_api: APIClient, alice: User) -> None:
    call = make_call(alice)
    for path in ("/api/v1/history", "/api/v1/history/stats", f"/api/v1/history/{call.pk}"):
        assert alice_api.post(path, {}, format="json").status_code == 405


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
        ("channel=fax", "channel"),
        ("keyword=" + "x" * 201, "keyword"),
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


def test_it_filters_by_channel(alice_api: APIClient, alice: User) -> None:
    made = {channel: make_call(alice, channel=channel).pk for channel in Channel}
    for channel, pk in made.items():
        assert ids(alice_api.get(f"/api/v1/history?channel={channel}")) == {pk}
    assert ids(alice_api.get("/api/v1/history")) == set(made.values())


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("RIVER", {"title"}),
        ("ada", {"assistant"}),
        ("boat", {"summary"}),
        ("100%", {"percent"}),
        ("_", set()),
        ("大河", {"chinese"}),
        ("said", set()),
    ],
)
@pytest.mark.parametrize(("name", "few"), [("keyword", 0), ("q", 1000)])
def test_it_searches(
    alice_api: APIClient,
    alice: User,
    ada: Assistant,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    few: int,
    keyword: str,
    found: set[str],
) -> None:
    monkeypatch.setattr(access, "FEW", few)
    rows = {
        make_call(alice, title="About the river").pk: "title",
        make_call(alice, ada).pk: "assistant",
        make_call(alice).pk: "summary",
        make_call(alice, title="100% of 1000").pk: "percent",
        make_call(alice, title="1000 words").pk: "thousand",
        make_call(alice, title="关于大河").pk: "chinese",
    }
    summarised = next(pk for pk, what in rows.items() if what == "summary")
    Conversation.objects.filter(pk=summarised).update(summary="A boat was asked for.")
    Message.objects.create(conversation_id=summarised, turn=1, seq=1, role="user", text="I said")
    answer = alice_api.get("/api/v1/history", {name: keyword})
    assert {rows[pk] for pk in ids(answer)} == found
    assert answer.json()["data"]["total"] == len(found)


def test_it_pages_exactly_where_many_began_at_once(alice_api: APIClient, alice: User) -> None:
    made = {make_call(alice).pk for _ in range(7)}
    pages = [
        [
            item["id"]
            for item in alice_api.get(f"{PATH}?page={page}&limit=3").json()["data"]["items"]
        ]
        for page in (1, 2, 3, 4)
    ]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert {pk for page in pages for pk in page} == made


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


NOTHING = {
    "total_calls": 0,
    "connected": 0,
    "missed": 0,
    "failed": 0,
    "answer_rate": 0.0,
    "total_duration_seconds": 0,
    "avg_duration_seconds": 0.0,
    "total_cost": 0.0,
}


def test_it_counts_nothing_as_zero(alice_api: APIClient, bob: User) -> None:
    make_call(bob)
    assert alice_api.get("/api/v1/history/stats").json() == {
        "success": True,
        "data": {
            **NOTHING,
            "trend": [],
            "by_channel": [{"channel": name, **NOTHING} for name in ("voice", "chat", "task")],
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
    totals = {
        "total_calls": 4,
        "connected": 3,
        "missed": 1,
        "failed": 0,
        "answer_rate": 0.75,
        "total_duration_seconds": 31,
        "avg_duration_seconds": 15.5,
        "total_cost": 0.75,
    }
    assert data == {
        **totals,
        "by_channel": [
            {"channel": "voice", **totals},
            {"channel": "chat", **NOTHING},
            {"channel": "task", **NOTHING},
        ],
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


def test_it_counts_each_channel_apart(alice_api: APIClient, alice: User) -> None:
    make_call(alice, seconds=10)
    make_call(alice, seconds=20, channel=Channel.CHAT)
    make_call(alice, seconds=50, channel=Channel.TASK, cost="2")
    make_call(alice, seconds=90, channel=Channel.TASK, status=CallStatus.FAILED)
    data = alice_api.get("/api/v1/history/stats").json()["data"]
    assert (data["total_calls"], data["total_duration_seconds"]) == (4, 80)
    names = ("channel", "total_calls", "failed", "answer_rate", "avg_duration_seconds")
    assert [tuple(each[name] for name in names) for each in data["by_channel"]] == [
        ("voice", 1, 0, 1.0, 10.0),
        ("chat", 1, 0, 1.0, 20.0),
        ("task", 2, 1, 0.5, 50.0),
    ]
    only = alice_api.get("/api/v1/history/stats?channel=task").json()["data"]
    assert (only["total_calls"], only["total_cost"]) == (2, 2.0)
    assert [each["total_calls"] for each in only["by_channel"]] == [0, 0, 2]


def test_it_leaves_no_day_out_between_calls(alice_api: APIClient, alice: User) -> None:
    make_call(alice)
    make_call(alice, started_at=NOON + datetime.timedelta(days=3), status=CallStatus.FAILED)
    trend = alice_api.get("/api/v1/history/stats?start_date=0001-01-01").json()["data"]["trend"]
    assert [(day["date"], day["calls"], day["connected"]) for day in trend] == [
        ("2026-05-01", 1, 1),
        ("2026-05-02", 0, 0),
        ("2026-05-03", 0, 0),
        ("2026-05-04", 1, 0),
    ]


def test_its_days_are_those_of_the_products_time_zone(
    alice_api: APIClient, alice: User, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    before = datetime.datetime(2026, 5, 1, 15, 59, 59, tzinfo=datetime.UTC)
    make_call(alice, started_at=before)
    make_call(alice, started_at=before + datetime.timedelta(seconds=1))
    path = "/api/v1/history/stats"
    trend = alice_api.get(path).json()["data"]["trend"]
    assert [(day["date"], day["calls"]) for day in trend] == [("2026-05-01", 1), ("2026-05-02", 1)]
    for day in ("2026-05-01", "2026-05-02"):
        only = alice_api.get(f"{path}?start_date={day}&end_date={day}").json()["data"]
        assert [each["date"] for each in only["trend"]] == [day]


def test_it_calls_an_assistant_as_it_was_called_last(
    alice_api: APIClient, alice: User, ada: Assistant
) -> None:
    later = NOON + datetime.timedelta(days=1)
    last = make_call(alice, ada, started_at=later)
    make_call(alice, ada)
    make_call(alice, started_at=NOON)
    Conversation.objects.filter(pk=last.pk).update(assistant_name="Aa")
    path = "/api/v1/history/stats"
    assert alice_api.get(path).json()["data"]["by_assistant"] == [
        {"assistant_id": ada.pk, "name": "Aa", "calls": 2},
        {"assistant_id": "gone", "name": "Gone", "calls": 1},
    ]
    earlier = alice_api.get(f"{path}?end_date=2026-05-01").json()["data"]["by_assistant"]
    assert {each["name"] for each in earlier} == {"Ada", "Gone"}


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
