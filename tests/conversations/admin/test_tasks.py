"""Tasks in the console: the list, each with its course, live; and how they are stopped."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from conversations.encoders.tasks import failed
from conversations.models import Run, RunEvent, RunKind, RunStatus
from conversations.runs import store
from conversations.runs.steps import MAX_CHARS, ending, said_so_far, steps_of
from conversations.runs.types import Claim, NewEvent
from tests.conversations.admin.pages import queries_of, raw, text_of
from tests.conversations.made import asked, chunk, claimed, conversation, new_run

pytestmark = pytest.mark.django_db

LIST = "/admin/conversations/run/"
LIVE = "/admin/conversations/run/live/"


def page_of(claim: Claim) -> str:
    return reverse("admin:conversations_run_change", args=[claim.run_id])


def stop(operator: Client, *claims: Claim, **more: str) -> Any:
    selected = [str(claim.run_id) for claim in claims]
    return operator.post(LIST, {"action": "stop", "_selected_action": selected, **more})


def status_of(claim: Claim) -> str:
    return Run.objects.get(pk=claim.run_id).status


def test_it_stops_what_is_selected_once_that_is_confirmed(
    operator: Client, alice: User, bob: User
) -> None:
    first, second = claimed(conversation(alice)), claimed(conversation(bob), "Second task")
    page = text_of(stop(operator, first, second))
    assert "Second task" in page
    assert "bob" in page
    assert status_of(first) == RunStatus.RUNNING
    assert stop(operator, first, second, confirmed="yes").url == LIST
    assert status_of(first) == status_of(second) == RunStatus.CANCEL_REQUESTED


def test_it_stops_a_waiting_task_at_once_and_leaves_what_is_over(
    operator: Client, alice: User, bob: User
) -> None:
    waiting = store.start_task(new_run(conversation(alice)))
    over = claimed(conversation(bob))
    store.finish(over, failed("Broken.", code="x", turn=None))
    selected = {"action": "stop", "_selected_action": [str(waiting.pk), str(over.run_id)]}
    page = operator.post(LIST, {**selected, "confirmed": "yes"}, follow=True)
    assert "1 task is being stopped." in raw(page)
    assert RunEvent.objects.filter(run=waiting).last().type == "task_stopped"  # type: ignore[union-attr]  # it has events
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.CANCELED
    assert status_of(over) == RunStatus.FAILED
    page = operator.post(LIST, {**selected, "confirmed": "yes"}, follow=True)
    assert "Nothing of it is going on any more." in raw(page)


def test_only_operators_stop(operator: Client, alice: User, bob: User) -> None:
    claim = claimed(conversation(alice))
    for user in (alice, bob):
        client = Client()
        client.force_login(user)
        assert stop(client, claim, confirmed="yes").status_code == 302
        assert status_of(claim) == RunStatus.RUNNING
        for url in (LIST, LIVE, page_of(claim)):
            assert "/login/" in client.get(url)["Location"]
    assert operator.get(f"{LIST}?action=stop&confirmed=yes").status_code in (200, 302)
    assert status_of(claim) == RunStatus.RUNNING
    assert stop(operator, claim, confirmed="yes").url == page_of(claim)
    assert status_of(claim) == RunStatus.CANCEL_REQUESTED


def test_a_running_task_is_stopped_before_it_is_deleted(operator: Client, alice: User) -> None:
    claim = claimed(conversation(alice))
    url = reverse("admin:conversations_run_delete", args=[claim.run_id])
    assert operator.post(url, {"post": "yes"}).status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [str(claim.run_id)], "post": "yes"}
    operator.post(LIST, bulk)
    assert status_of(claim) == RunStatus.RUNNING
    store.finish(claim, failed("Broken.", code="x", turn=None))
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not Run.objects.exists()


def test_a_page_shows_the_request_the_error_and_no_secrets(operator: Client, alice: User) -> None:
    request = asked(
        "Tell me",
        prompt="Be brief.",
        run_mode="deep",
        personalization={"tone": "dry", "considerations": ["metric units"], "enabled": True},
    )
    claim = claimed(conversation(alice, title="Units"), request=request)
    page = text_of(operator.get(page_of(claim)))
    for shown in ("Tell me", "Be brief.", "Deep", "Tone: dry", "Always mind: metric units"):
        assert shown in page, shown
    assert f'data-live="steps:{claim.run_id}"' in page
    assert 'name="_selected_action"' in page
    store.finish(claim, failed("The vendor is away.", code="llm.failed", turn=None))
    over = text_of(operator.get(page_of(claim)))
    assert "The vendor is away." in over
    assert "llm.failed" in over
    assert 'name="_selected_action"' not in over
    assert "data-open" not in over


def test_it_is_refreshed_while_it_goes_on(operator: Client, alice: User) -> None:
    claim = claimed(conversation(alice))
    store.append(claim, [NewEvent("ai_message_start"), NewEvent("text_start"), chunk("Three eu")])
    keys = [f"{kind}:{claim.run_id}" for kind in ("task", "steps", "words", "figures")]
    drawings = operator.get(LIVE, {"key": keys}).json()
    assert set(drawings) == set(keys)
    assert all("data-open" in drawing for drawing in drawings.values())
    assert "Three eu" in drawings[keys[2]]
    store.append(claim, [chunk("ros.")])
    assert "Three euros." in operator.get(LIVE, {"key": keys}).json()[keys[2]]
    store.finish(claim, failed("Broken.", code="x", turn=None))
    drawings = operator.get(LIVE, {"key": keys}).json()
    assert not any("data-open" in drawing for drawing in drawings.values())
    assert "Broken." in drawings[keys[0]]


def test_nonsense_keys_are_missing_in_the_answer(operator: Client) -> None:
    keys = ["task:x", "task:", "run:1", f"task:{'0' * 32}", ":", "words:é"]
    assert operator.get(LIVE, {"key": keys}).json() == {}


def test_only_the_text_that_is_open_is_shown(alice: User) -> None:
    claim = claimed(conversation(alice))
    assert said_so_far(claim.run_id) == ""
    store.append(
        claim,
        [
            NewEvent("text_start"),
            chunk("Void. "),
            NewEvent("stream_reset"),
            NewEvent("text_start"),
            chunk("Three "),
            NewEvent("thinking_chunk", {"content": "Hm."}),
            chunk("euros."),
        ],
    )
    assert said_so_far(claim.run_id) == "Three euros."
    store.append(claim, [NewEvent("text_start"), chunk("words upon words " * 900)])
    said = said_so_far(claim.run_id)
    assert len(said) < 5_000
    assert said.startswith(("… words ", "… upon "))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one two", "one two"),
        ("one two three", "… three"),
        ("one tw three", "… three"),
        ("one two 3 four", "… 3 four"),
        # Scripts without spaces are cut where there is no room for more.
        ("博物馆十点开门，周一闭馆。" * 20, f"… {('博物馆十点开门，周一闭馆。' * 20)[-7:]}"),
    ],
)
def test_what_is_cut_begins_with_a_word_and_says_so(text: str, shown: str) -> None:
    assert ending(text, 7) == shown


def test_steps_are_read_without_pieces_of_text_and_long_results(alice: User, bob: User) -> None:
    claim, other = claimed(conversation(alice)), claimed(conversation(bob))
    pieces = [chunk("word ") for _number in range(300)]
    done = {"id": "t", "status": "completed", "result": "x" * 100_000, "code": "odd"}
    store.append(claim, [*pieces, NewEvent("update_action", done)])
    store.append(claim, [NewEvent("text_end", {"full_content": "y" * 100_000})])
    store.append(other, [NewEvent("notice", {"message": str(number)}) for number in range(9)])
    found = steps_of([claim.run_id, other.run_id], most=4)
    steps = found[claim.run_id]
    assert [event.type for event in steps.events] == ["user_message", "update_action", "text_end"]
    assert steps.events[1].code is None
    assert len(steps.events[2].text) == MAX_CHARS
    assert not steps.is_cut
    assert [event.message for event in found[other.run_id].events] == ["5", "6", "7", "8"]
    assert found[other.run_id].is_cut


def test_thousands_of_events_cost_a_page_no_more_queries(
    operator: Client, alice: User, bob: User
) -> None:
    short, long = claimed(conversation(alice)), claimed(conversation(bob))
    store.append(long, [NewEvent("notice", {"message": str(n)}) for n in range(3_000)])
    page = operator.get(page_of(long))
    assert raw(page).count('class="course-row ') == 1_000
    assert "Only the latest 1000 steps are shown." in raw(page)
    assert queries_of(operator, page_of(short)) == queries_of(operator, page_of(long))


def test_the_list_finds_by_state_kind_and_user_with_as_many_queries(
    operator: Client, alice: User, bob: User
) -> None:
    going_on = claimed(conversation(alice))
    few = queries_of(operator, LIST)
    over = claimed(conversation(bob, title="Tour"))
    store.finish(over, failed("Broken.", code="x", turn=None))
    chat = claimed(conversation(bob))
    Run.objects.filter(pk=chat.run_id).update(kind=RunKind.CHAT)
    for query, found in (
        ("", [going_on, over, chat]),
        ("state=open", [going_on, chat]),
        ("state=failed", [over]),
        ("kind__exact=chat", [chat]),
        (f"owner__id__exact={bob.pk}", [over, chat]),
        ("q=Tour", [over]),
        (f"q={going_on.run_id}", [going_on]),
    ):
        listed = operator.get(f"{LIST}?{query}").context["cl"].result_list
        assert {row.pk for row in listed} == {claim.run_id for claim in found}, query
    assert queries_of(operator, LIST) == few


def test_home_tells_of_running_waiting_and_failed_tasks(
    operator: Client, alice: User, bob: User
) -> None:
    quiet = text_of(operator.get("/admin/"))
    assert "Tasks going on" not in quiet
    claimed(conversation(alice, title="Tour of the museum"))
    over = claimed(conversation(bob))
    store.finish(over, failed("Broken.", code="x", turn=None))
    page = text_of(operator.get("/admin/"))
    assert "Tour of the museum" in page
    assert "1 going on, 1 failed" in page
    # Once, and why.
    assert page.count("failed in the last 24 hours") == 1
    assert "1 task failed in the last 24 hours: Broken." in page
    waiting = store.start_task(new_run(conversation(bob)))
    assert "waits too long" not in text_of(operator.get("/admin/"))
    Run.objects.filter(pk=waiting.pk).update(created_at="2026-01-01T00:00:00Z")
    assert "1 task waits too long" in text_of(operator.get("/admin/"))
