"""Autotests in the console: started, watched, scheduled, and told of on the home page."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts.models import User
from assistants.models import Assistant
from providers.models import Asr, Llm, Voice
from tests.tooling.admin.conftest import queries_of, rows, text_of
from tooling.admin import subjects
from tooling.admin.links import link_to
from tooling.autotest import engine, schedules
from tooling.models import (
    AutotestRun,
    AutotestSchedule,
    McpServer,
    RunStatus,
    Scenario,
    Subject,
    Tool,
    Trigger,
)

pytestmark = pytest.mark.django_db

RUNS = "/admin/tooling/autotestrun/"
START = f"{RUNS}start/"
SCHEDULES = "/admin/tooling/autotestschedule/"
SCENARIOS = "/admin/tooling/scenario/"


@pytest.fixture
def llm(alice: User) -> Llm:
    return Llm.objects.create(name="Brain", vendor="openai", owner=alice, model_name="m")


@pytest.fixture
def assistant(alice: User) -> Assistant:
    return Assistant.objects.create(name="Guide", owner=alice)


def run_of(row: Any, subject: Subject = Subject.LLM, **fields: Any) -> AutotestRun:
    values = {"name": "API Connection", "message": "Latency: 150ms", "duration_ms": 150}
    is_ok = fields.get("status", RunStatus.PASSED) == RunStatus.PASSED
    ended: dict[str, Any] = {
        "status": RunStatus.PASSED,
        "cases": [{**values, "passed": is_ok}],
        "cases_expected": 1,
        "passed": int(is_ok),
        "failed": int(not is_ok),
        "duration_ms": 150,
        "trigger": Trigger.SCHEDULE,
        **fields,
    }
    return AutotestRun.objects.create(
        subject=subject, subject_id=row.pk, subject_name=str(row), **ended
    )


def page_of(run: AutotestRun) -> str:
    return link_to("tooling_autotestrun_change", run.pk)


# --- Starting ------------------------------------------------------------------------------------
def test_a_button_starts_a_test_and_leads_to_its_page(
    operator: Client, llm: Llm, carol: User
) -> None:
    page = text_of(operator.get(reverse("admin:providers_llm_change", args=[llm.pk])))
    assert "No autotest has been run yet." in page
    response = operator.post(START, {"subject": "llm", "subject_id": llm.pk})
    run = AutotestRun.objects.get()
    assert response["Location"] == page_of(run)
    assert (run.owner, run.trigger, run.status) == (carol, "console", "queued")
    assert "Waiting" in text_of(operator.get(page_of(run)))


@pytest.mark.parametrize(
    "sent",
    [
        {"subject": "llm", "subject_id": "nobody"},
        {"subject": "nothing", "subject_id": "x"},
        {},
    ],
)
def test_what_is_not_there_is_not_tested(operator: Client, llm: Llm, sent: dict[str, str]) -> None:
    assert operator.post(START, sent).status_code == 404
    assert not AutotestRun.objects.exists()
    assert operator.post(START, {"subject": "llm", "subject_id": llm.pk}).status_code == 302


def test_a_mere_link_starts_nothing(operator: Client, llm: Llm, bob: User) -> None:
    sent = {"subject": "llm", "subject_id": llm.pk}
    assert operator.get(START, sent).status_code == 405
    client = Client()
    client.force_login(bob)
    assert client.post(START, sent)["Location"].startswith("/admin/login/")
    assert not AutotestRun.objects.exists()
    assert operator.post(START, sent)["Location"].startswith(RUNS)


def test_the_action_is_there_for_everything_that_can_be_tested(
    operator: Client, llm: Llm, assistant: Assistant
) -> None:
    rows_of = {
        Subject.LLM: llm,
        Subject.EMBEDDER: Llm.objects.create(name="E", vendor="openai", type="embedding"),
        Subject.RERANKER: Llm.objects.create(name="R", vendor="cohere", type="rerank"),
        Subject.ASR: Asr.objects.create(name="Ear", vendor="openai", language="en"),
        Subject.VOICE: Voice.objects.create(name="Mouth", vendor="openai", language="en"),
        Subject.TOOL: Tool.objects.get(pk="calculator"),
        Subject.MCP: McpServer.objects.create(name="Orders", prefix="orders"),
        Subject.ASSISTANT: assistant,
    }
    assert set(rows_of) == set(Subject)
    assert set(engine.TESTERS) == set(Subject)
    lists = {
        Subject.EMBEDDER: "providers_embedder",
        Subject.RERANKER: "providers_reranker",
        Subject.MCP: "tooling_mcpserver",
    }
    for subject, row in rows_of.items():
        opts = row._meta
        name = lists.get(subject, f"{opts.app_label}_{opts.model_name}")
        url = reverse(f"admin:{name}_changelist")
        response = operator.post(url, {"action": "run_autotests", "_selected_action": [row.pk]})
        assert response["Location"] == RUNS, subject
        assert AutotestRun.objects.get(subject=subject).subject_id == row.pk
        page = text_of(operator.get(link_to(f"{name}_change", row.pk)))
        assert "Run autotest now" in page


def test_it_starts_no_more_at_once_than_a_worker_can_do(operator: Client, alice: User) -> None:
    models = [Llm.objects.create(name=f"M{n}", vendor="openai", owner=alice) for n in range(21)]
    url = reverse("admin:providers_llm_changelist")
    chosen = [model.pk for model in models]
    operator.post(url, {"action": "run_autotests", "_selected_action": chosen})
    assert not AutotestRun.objects.exists()
    operator.post(url, {"action": "run_autotests", "_selected_action": chosen[:20]})
    assert AutotestRun.objects.count() == 20


# --- Watching ------------------------------------------------------------------------------------
def test_a_run_shows_its_cases_its_history_and_what_went_wrong(operator: Client, llm: Llm) -> None:
    earlier = run_of(llm, created_at=timezone.now() - dt.timedelta(days=1))
    case = {"name": "Streaming <b>", "passed": False, "message": "<i>odd</i>", "duration_ms": 3}
    run = run_of(llm, status=RunStatus.FAILED, cases=[case], error="Took too long.")
    response = operator.get(page_of(run))
    page = text_of(response)
    assert "Streaming <b>" in page
    assert "Took too long." in page
    assert "<i>odd</i>" not in response.content.decode()
    chart = response.context["chart"]
    assert [bar.point.run_id for bar in chart.bars] == [earlier.pk, run.pk]
    assert [bar.point.outcome for bar in chart.bars] == ["passed", "failed"]
    assert page_of(earlier) in page
    assert reverse("admin:providers_llm_change", args=[llm.pk]) in page


def test_the_history_of_what_is_gone_stays_readable(operator: Client, llm: Llm) -> None:
    run = run_of(llm)
    llm.delete()
    page = text_of(operator.get(page_of(run)))
    assert "Brain" in page
    assert "deleted" in page
    assert "Run again" not in page


def test_a_page_follows_a_run_until_it_has_ended(operator: Client, llm: Llm) -> None:
    run = run_of(llm, status=RunStatus.RUNNING, cases=[], cases_expected=4, duration_ms=None)
    keys = {"key": [f"run:{run.pk}", f"cases:{run.pk}", "run:nobody", "odd:x"]}

    def drawn() -> dict[str, str]:
        drawings: dict[str, str] = operator.get(f"{RUNS}live/", keys).json()
        return drawings

    assert drawn().keys() == {f"run:{run.pk}", f"cases:{run.pk}"}
    assert all("data-open" in drawing for drawing in drawn().values())
    assert "0 / 4" in drawn()[f"run:{run.pk}"]
    case = {"name": "API Connection", "passed": True, "message": "", "duration_ms": 1}
    AutotestRun.objects.filter(pk=run.pk).update(cases=[case, case])
    assert "2 / 4" in drawn()[f"run:{run.pk}"]
    assert "API Connection" in drawn()[f"cases:{run.pk}"]
    AutotestRun.objects.filter(pk=run.pk).update(status=RunStatus.PASSED)
    assert not any("data-open" in drawing for drawing in drawn().values())


def test_it_finds_runs_by_what_was_tested_and_how_it_went(operator: Client, llm: Llm) -> None:
    good = run_of(llm)
    bad = run_of(llm, status=RunStatus.FAILED)
    for query, found in (
        ("state=failed", {bad}),
        ("state=passed", {good}),
        ("state=open", set()),
        ("subject__exact=llm", {good, bad}),
        ("subject__exact=tool", set()),
        ("q=Brain", {good, bad}),
        ("q=nobody", set()),
    ):
        listed = operator.get(f"{RUNS}?{query}").context["cl"].result_list
        assert set(listed) == found, query


def test_runs_are_neither_made_nor_changed_by_hand(operator: Client, llm: Llm) -> None:
    run = run_of(llm)
    assert operator.get(f"{RUNS}add/").status_code == 403
    assert operator.post(page_of(run), {"status": "failed"}).status_code == 403
    url = link_to("tooling_autotestrun_delete", run.pk)
    assert operator.post(url, {"post": "yes"}).status_code == 302


# --- Schedules -----------------------------------------------------------------------------------
def schedule_form(what: str, **fields: str) -> dict[str, str]:
    return {"what": what, "every_minutes": "60", "is_enabled": "on", **fields}


def test_a_schedule_is_known_to_the_scheduler(operator: Client, llm: Llm) -> None:
    add = f"{SCHEDULES}add/"
    assert "Brain" in text_of(operator.get(f"{add}?what=llm:{llm.pk}"))
    assert operator.post(add, schedule_form(f"llm:{llm.pk}")).status_code == 302
    row = AutotestSchedule.objects.get()
    assert (row.subject, row.subject_id, row.every_minutes) == ("llm", llm.pk, 60)
    assert row.periodic_task is not None
    assert row.periodic_task.enabled
    page = text_of(operator.get(SCHEDULES))
    assert "Brain" in page
    assert "59\xa0minutes" in page or "1\xa0hour" in page

    url = link_to("tooling_autotestschedule_change", str(row.pk))
    sent = schedule_form("tool:calculator", is_enabled="", every_minutes="1440")
    assert operator.post(url, sent).status_code == 302
    row.refresh_from_db()
    # What it tests stays what it is.
    assert (row.subject, row.is_enabled, row.every_minutes) == ("llm", False, 1440)
    row.periodic_task.refresh_from_db()
    assert not row.periodic_task.enabled

    url = link_to("tooling_autotestschedule_delete", str(row.pk))
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not PeriodicTask.objects.filter(task=schedules.TASK).exists()


def test_a_thing_has_one_schedule(operator: Client, llm: Llm) -> None:
    add = f"{SCHEDULES}add/"
    for what, status in ((f"llm:{llm.pk}", 302), (f"llm:{llm.pk}", 200), ("tool:search", 302)):
        assert operator.post(add, schedule_form(what)).status_code == status
    refused = operator.post(add, schedule_form("llm:nobody"))
    assert "what" in refused.context["adminform"].form.errors
    assert AutotestSchedule.objects.count() == 2


def test_what_many_others_hide_can_still_be_tested_regularly(
    operator: Client, llm: Llm, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, what = f"{SCHEDULES}add/", f"llm:{llm.pk}"
    monkeypatch.setattr(subjects, "MAX_CHOICES", 0)
    assert what not in text_of(operator.get(add))
    assert f'value="{what}" selected' in text_of(operator.get(f"{add}?what={what}"))
    assert operator.post(add, schedule_form("llm:nobody")).status_code == 200
    assert operator.post(add, schedule_form(what)).status_code == 302


def scheduled(subject: Subject, row: Any) -> AutotestSchedule:
    return schedules.store(
        AutotestSchedule(subject=subject, subject_id=str(row.pk), every_minutes=60)
    )


def test_what_is_scheduled_can_be_tested_without_waiting(
    operator: Client, llm: Llm, assistant: Assistant
) -> None:
    chosen = [scheduled(Subject.LLM, llm).pk, scheduled(Subject.ASSISTANT, assistant).pk]
    operator.post(SCHEDULES, {"action": "run_autotests", "_selected_action": chosen})
    assert set(AutotestRun.objects.values_list("subject", "subject_id")) == {
        ("llm", llm.pk),
        ("assistant", assistant.pk),
    }


# --- Scenarios -----------------------------------------------------------------------------------
def scenario_form(assistant: Assistant, *steps: dict[str, str]) -> dict[str, Any]:
    return {"name": "Hours", "assistant_id": assistant.pk, **rows("steps", steps)}


def test_a_scripted_conversation_is_edited_as_rows(operator: Client, assistant: Assistant) -> None:
    steps = (
        {"say": "When do you open?", "expect_words": "nine|9, Monday", "forbid_words": "sorry"},
        {"say": "What is 12 times 12?", "expect_words": "144", "expect_tools": "calculator"},
    )
    add = f"{SCENARIOS}add/"
    refused = operator.post(add, scenario_form(assistant, {"say": "", "expect_words": "x"}))
    assert refused.context["adminform"].form.errors.keys() == {"steps"}
    empty = operator.post(add, scenario_form(assistant))
    assert empty.context["adminform"].form.errors["steps"] == ["A test needs at least one step."]
    assert operator.post(add, scenario_form(assistant, *steps)).status_code == 302
    row = Scenario.objects.get()
    assert row.steps == [
        {
            "say": "When do you open?",
            "expect_words": ["nine|9", "Monday"],
            "forbid_words": ["sorry"],
            "expect_tools": [],
        },
        {
            "say": "What is 12 times 12?",
            "expect_words": ["144"],
            "forbid_words": [],
            "expect_tools": ["calculator"],
        },
    ]
    page = text_of(operator.get(link_to("tooling_scenario_change", row.pk)))
    assert "nine|9, Monday" in page
    assert "Run autotest now" in page
    assert "Guide" in text_of(operator.get(SCENARIOS))
    operator.post(SCENARIOS, {"action": "run_autotests", "_selected_action": [row.pk]})
    assert AutotestRun.objects.get().subject_id == assistant.pk


# --- Home ----------------------------------------------------------------------------------------
def test_the_home_page_tells_of_regular_tests_and_of_what_fails(
    operator: Client, llm: Llm, assistant: Assistant
) -> None:
    assert "Regular tests" not in text_of(operator.get("/admin/"))
    scheduled(Subject.LLM, llm)
    scheduled(Subject.ASSISTANT, assistant)
    tool = Tool.objects.get(pk="calculator")
    scheduled(Subject.TOOL, tool)
    run_of(llm)
    failed = run_of(assistant, Subject.ASSISTANT, status=RunStatus.FAILED)
    McpServer.objects.create(
        name="Orders", prefix="o", check_ok=False, check_message="Out of order."
    )
    broken = run_of(tool, Subject.TOOL, status=RunStatus.BROKEN)
    page = text_of(operator.get("/admin/"))
    assert "Regular tests" in page
    # Nothing is noted on a tool of a test that broke off.
    assert "The autotest of Calculator failed." in page
    assert page_of(broken) in page
    assert "The autotest of Guide failed." in page
    assert page_of(failed) in page
    assert "The last test of Orders failed: Out of order." in page
    assert "The autotest of Brain failed." not in page


# --- Cost ----------------------------------------------------------------------------------------
def test_pages_ask_the_database_as_often_for_many_rows_as_for_few(
    operator: Client, alice: User, bob: User
) -> None:
    def make(number: int) -> None:
        owner = (alice, bob)[number % 2]
        llm = Llm.objects.create(name=f"M{number}", vendor="openai", owner=owner)
        assistant = Assistant.objects.create(name=f"A{number}", owner=owner)
        for subject, row in ((Subject.LLM, llm), (Subject.ASSISTANT, assistant)):
            scheduled(subject, row)
            run_of(row, subject, owner=owner)
            run_of(row, subject, owner=owner, status=RunStatus.FAILED)
        Scenario.objects.create(owner=owner, name="S", assistant_id=assistant.pk, steps=[])

    for number in range(2):
        make(number)
    latest = AutotestRun.objects.filter(subject="llm").latest("created_at")
    urls = [
        RUNS,
        page_of(latest),
        SCHEDULES,
        f"{SCHEDULES}add/",
        SCENARIOS,
        f"{SCENARIOS}add/",
        "/admin/",
        reverse("admin:providers_llm_changelist"),
        reverse("admin:assistants_assistant_changelist"),
    ]
    few = {url: queries_of(operator, url) for url in urls}
    for number in range(2, 9):
        make(number)
    for _ in range(5):
        run_of(Llm.objects.get(pk=latest.subject_id))
    assert {url: queries_of(operator, url) for url in urls} == few
