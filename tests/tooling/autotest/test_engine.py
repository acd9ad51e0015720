from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone
from django.utils.translation import get_language

from accounts.models import User
from core.db import in_db
from core.errors import Conflict, ProviderError
from core.loops import wait_for
from core.redis import redis_sync
from providers import registry
from tests.knowledge.threads import elsewhere
from tests.tooling.autotest.conftest import cases_of, run_now
from tooling import tasks
from tooling.autotest import engine, runs
from tooling.autotest.cases import MAX_MESSAGE_CHARS, Asker, CheckFailed, Prepared
from tooling.mcp import client
from tooling.models import AutotestRun, RunStatus, Subject, Trigger

pytestmark = pytest.mark.django_db(transaction=True)

SetChecks = Callable[..., list[tuple[bool, str]]]


async def fine() -> str:
    return "fine"


def start(owner: User | None = None, trigger: Trigger = Trigger.CONSOLE) -> AutotestRun:
    return engine.start(Subject.LLM, "thing", owner_id=owner.pk if owner else None, trigger=trigger)


def stored(run: AutotestRun) -> AutotestRun:
    return AutotestRun.objects.get(pk=run.pk)


def queued_messages() -> int:
    return int(redis_sync().llen("chat"))


class TestRunning:
    def test_it_stores_each_case_and_sums_up(self, tested: SetChecks) -> None:
        noted = tested(fine, fine)
        run = run_now(Subject.LLM, "thing")
        assert (run.status, run.passed, run.failed) == (RunStatus.PASSED, 3, 0)
        assert (run.subject_name, run.cases_expected) == ("Thing", 3)
        assert cases_of(run) == {
            "Existence": (True, "Found it"),
            "Check 1": (True, "fine"),
            "Check 2": (True, "fine"),
        }
        assert run.pk.startswith("llm_test_")
        assert run.started_at
        assert run.finished_at
        assert run.started_at <= run.finished_at
        assert run.duration_ms is not None
        assert noted == [(True, "3 tests passed.")]

    def test_it_stops_at_what_does_not_exist(self, tested: SetChecks) -> None:
        noted = tested(fine)
        run = run_now(Subject.LLM, "gone")
        assert cases_of(run) == {"Existence": (False, "Not found")}
        assert (run.status, noted) == (RunStatus.FAILED, [])

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (ProviderError("Refused.", is_permanent=True), "Refused."),
            (CheckFailed("Too low."), "Too low."),
            (ZeroDivisionError("secret"), "The check itself failed; the server's log says why."),
        ],
    )
    def test_it_goes_on_after_a_failed_check(
        self, tested: SetChecks, error: Exception, message: str
    ) -> None:
        async def fails() -> str:
            raise error

        noted = tested(fails, fine)
        run = run_now(Subject.LLM, "thing")
        assert cases_of(run)["Check 1"] == (False, message)
        assert cases_of(run)["Check 2"] == (True, "fine")
        assert (run.status, run.passed, run.failed) == (RunStatus.FAILED, 2, 1)
        assert noted == [(False, f"Check 1: {message}")]

    def test_it_ends_a_check_that_hangs(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hangs() -> str:
            await asyncio.Event().wait()
            return ""

        tested(hangs, fine)
        monkeypatch.setattr(engine, "RUN_LIMIT_S", 0.2)
        run = run_now(Subject.LLM, "thing")
        assert list(cases_of(run)) == ["Existence", "Time Limit"]
        assert run.status == RunStatus.FAILED

    def test_a_failure_of_the_test_itself_leaves_no_run_open(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noted = tested(fine)
        working = engine.TESTERS[Subject.LLM]

        def prepare(subject_id: str, asker: Asker) -> Prepared | None:
            raise ZeroDivisionError("secret")

        broken = dataclasses.replace(working, prepare=prepare)
        monkeypatch.setitem(engine.TESTERS, Subject.LLM, broken)
        run = run_now(Subject.LLM, "thing")
        assert (run.status, run.error) == (RunStatus.BROKEN, runs.FAILED_MESSAGE)
        assert run.finished_at
        assert noted == []
        monkeypatch.setitem(engine.TESTERS, Subject.LLM, working)
        assert run_now(Subject.LLM, "thing").status == RunStatus.PASSED

    def test_it_stores_no_text_that_cannot_be_stored(self, tested: SetChecks) -> None:
        async def strange() -> str:
            return "a\0b\ud83d" + "c" * 1000

        tested(strange)
        message = cases_of(run_now(Subject.LLM, "thing"))["Check 1"][1]
        assert message.startswith("ab?c")
        assert len(message) == MAX_MESSAGE_CHARS

    def test_its_cases_grow_while_it_runs(self, tested: SetChecks) -> None:
        seen: list[tuple[str, int, int]] = []

        async def looks() -> str:
            run = await in_db(AutotestRun.objects.get)
            seen.append((run.status, len(run.cases), run.cases_expected))
            return ""

        tested(looks, looks)
        run_now(Subject.LLM, "thing")
        assert seen == [(RunStatus.RUNNING, 1, 3), (RunStatus.RUNNING, 2, 3)]

    def test_it_gives_signs_of_life_during_a_long_check(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "HEARTBEAT_S", 0.001)

        async def waits_for_a_beat() -> str:
            first = (await in_db(AutotestRun.objects.get)).heartbeat_at
            while (await in_db(AutotestRun.objects.get)).heartbeat_at == first:
                await asyncio.sleep(0)
            return "beaten"

        tested(waits_for_a_beat)
        assert cases_of(run_now(Subject.LLM, "thing"))["Check 1"] == (True, "beaten")

    def test_a_beat_that_fails_is_not_the_last(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "HEARTBEAT_S", 0.001)
        beats: list[str] = []
        beat = runs.beat

        def fails_once(run_id: str) -> bool:
            beats.append(run_id)
            if len(beats) == 1:
                raise OperationalError("the database is away")
            return beat(run_id)

        monkeypatch.setattr(runs, "beat", fails_once)

        async def waits_for_two() -> str:
            while len(beats) < 2:
                await asyncio.sleep(0)
            return "beaten"

        tested(waits_for_two)
        assert cases_of(run_now(Subject.LLM, "thing"))["Check 1"] == (True, "beaten")

    def test_what_others_find_is_not_noted_on_the_row(
        self, tested: SetChecks, alice: User, bob: User
    ) -> None:
        noted = tested(fine, owner_id=alice.pk)
        run_now(Subject.LLM, "thing", bob)
        assert noted == []
        run_now(Subject.LLM, "thing", alice)
        assert len(noted) == 1
        tasks.autotest(start(bob).pk)  # from the console: bob would be an operator
        assert len(noted) == 2


class TestStarting:
    def test_it_is_taken_up_by_a_worker(self, tested: SetChecks) -> None:
        tested(fine)
        run = start()
        assert (run.status, queued_messages()) == (RunStatus.QUEUED, 1)
        tasks.autotest(run.pk, "en")
        assert stored(run).status == RunStatus.PASSED

    def test_clients_are_loaded_before_anything_is_timed(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded: list[str] = []
        monkeypatch.setattr(registry, "warm_up", lambda *args, **kwargs: loaded.append("models"))
        monkeypatch.setattr(client, "warm_up", lambda: loaded.append("mcp"))

        async def says() -> str:
            return " ".join(loaded)

        tested(says)
        run = start()
        tasks.autotest(run.pk)
        assert cases_of(stored(run))["Check 1"] == (True, "models mcp")

    def test_it_speaks_the_language_of_who_asked(self, tested: SetChecks) -> None:
        async def says() -> str:
            return str(get_language())

        tested(says)
        run = start()
        tasks.autotest(run.pk, "zh-hans")
        assert cases_of(stored(run))["Check 1"] == (True, "zh-hans")

    def test_it_wakes_nobody_before_the_row_can_be_seen(self, tested: SetChecks) -> None:
        tested(fine)
        with transaction.atomic():
            start()
            assert queued_messages() == 0
        assert queued_messages() == 1

    def test_it_joins_the_run_that_is_under_way(self, tested: SetChecks, carol: User) -> None:
        tested(fine)
        first = start()
        assert start().pk == first.pk
        assert start(carol).pk == first.pk
        assert start(trigger=Trigger.SCHEDULE).pk == first.pk
        assert queued_messages() == 1
        tasks.autotest(first.pk)
        assert start().pk != first.pk

    def test_users_do_not_wait_for_each_other(
        self, tested: SetChecks, alice: User, bob: User
    ) -> None:
        tested(fine)
        waiting = start(alice, Trigger.API)
        assert start(bob, Trigger.API).pk != waiting.pk
        assert start(alice, Trigger.API).pk == waiting.pk

    def test_the_database_holds_one_open_run(self, alice: User) -> None:
        fields = {"subject": "llm", "subject_id": "x", "owner": alice, "trigger": "api"}
        done = AutotestRun.objects.create(**fields, status=RunStatus.PASSED)
        AutotestRun.objects.create(**fields)
        with pytest.raises(IntegrityError):
            AutotestRun.objects.filter(pk=done.pk).update(status=RunStatus.RUNNING)

    def test_a_message_that_comes_twice_runs_once(self, tested: SetChecks) -> None:
        ran: list[int] = []

        async def counts() -> str:
            ran.append(1)
            return ""

        tested(counts)
        run = start()
        tasks.autotest(run.pk)
        tasks.autotest(run.pk)
        tasks.autotest("unknown")
        assert ran == [1]

    def test_a_waiting_run_is_taken_over_by_who_cannot_wait(self, tested: SetChecks) -> None:
        tested(fine)
        waiting = start()
        run = run_now(Subject.LLM, "thing")
        assert (run.pk, run.status) == (waiting.pk, RunStatus.PASSED)

    def test_a_second_run_at_the_same_time_is_refused(self, tested: SetChecks) -> None:
        refused: list[str] = []

        def second() -> None:
            with pytest.raises(Conflict) as caught:
                run_now(Subject.LLM, "thing")
            refused.append(caught.value.error_code)

        async def is_run_again_meanwhile() -> str:
            await asyncio.to_thread(elsewhere, second)
            return ""

        tested(is_run_again_meanwhile)
        run = run_now(Subject.LLM, "thing")
        assert (run.status, refused) == (RunStatus.PASSED, ["AUTOTEST_RUNNING"])
        assert AutotestRun.objects.count() == 1


class TestSweeping:
    def age(self, run: AutotestRun, seconds: float, **fields: Any) -> None:
        at = timezone.now() - dt.timedelta(seconds=seconds)
        AutotestRun.objects.filter(pk=run.pk).update(
            **{"created_at": at, "heartbeat_at": at, **fields}
        )

    def test_it_breaks_off_what_a_dead_worker_left(self, tested: SetChecks, alice: User) -> None:
        tested(fine)
        lost, living = start(), start(alice, Trigger.API)
        assert runs.claim(lost.pk)
        assert runs.claim(living.pk)
        self.age(lost, runs.LOST_AFTER.total_seconds() + 1)
        tasks.sweep()
        assert stored(living).status == RunStatus.RUNNING
        broken = stored(lost)
        assert (broken.status, broken.error) == (RunStatus.BROKEN, runs.LOST_MESSAGE)
        assert broken.finished_at == broken.heartbeat_at
        assert start().pk != lost.pk

    def test_who_was_taken_for_dead_writes_no_more(self, tested: SetChecks) -> None:
        async def is_swept() -> str:
            await in_db(AutotestRun.objects.update, status=RunStatus.BROKEN)
            return "too late"

        noted = tested(is_swept, fine)
        run = start()
        job = runs.claim(run.pk)
        assert job is not None
        wait_for(engine.execute(job))
        assert (stored(run).status, list(cases_of(stored(run)))) == (
            RunStatus.BROKEN,
            ["Existence"],
        )
        assert noted == []

    def test_who_was_taken_for_dead_at_the_end_notes_nothing(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noted = tested(fine)
        finish = runs.finish

        def swept_before(run_id: str, **ending: Any) -> bool:
            AutotestRun.objects.update(status=RunStatus.BROKEN)
            return finish(run_id, **ending)

        monkeypatch.setattr(runs, "finish", swept_before)
        assert run_now(Subject.LLM, "thing").status == RunStatus.BROKEN
        assert noted == []
        monkeypatch.setattr(runs, "finish", finish)
        assert run_now(Subject.LLM, "thing").status == RunStatus.PASSED
        assert len(noted) == 1

    def test_it_announces_a_forgotten_run_once_a_minute(self, tested: SetChecks) -> None:
        tested(fine)
        run = start()
        redis_sync().flushdb()  # the message is lost
        tasks.sweep()
        assert queued_messages() == 0
        self.age(run, runs.WOKEN_AGAIN_AFTER.total_seconds() + 1, heartbeat_at=None)
        tasks.sweep()
        tasks.sweep()
        assert queued_messages() == 1
        tasks.autotest(run.pk)
        assert stored(run).status == RunStatus.PASSED

    def test_it_removes_what_is_very_old(self, tested: SetChecks) -> None:
        tested(fine)
        old, recent = run_now(Subject.LLM, "thing"), run_now(Subject.LLM, "thing")
        self.age(old, runs.KEPT_FOR.total_seconds() + 60)
        tasks.sweep()
        assert list(AutotestRun.objects.all()) == [recent]

    def test_it_keeps_a_number_of_runs_of_each_thing_and_owner(
        self, tested: SetChecks, monkeypatch: pytest.MonkeyPatch, alice: User, bob: User
    ) -> None:
        tested(fine)
        monkeypatch.setattr(runs, "KEPT_RUNS", 2)
        others = run_now(Subject.LLM, "thing", bob)
        made = [run_now(Subject.LLM, "thing", alice) for _number in range(4)]
        left = AutotestRun.objects.filter(owner=alice).order_by("created_at")
        assert list(left) == made[2:]
        assert stored(others).status == RunStatus.PASSED
