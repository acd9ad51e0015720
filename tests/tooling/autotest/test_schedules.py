from __future__ import annotations

import json

import pytest
from django.test import TestCase
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from accounts.models import User
from core.redis import redis_sync
from providers.models import Llm
from tooling import tasks
from tooling.autotest import schedules
from tooling.autotest.history import latest
from tooling.models import AutotestRun, AutotestSchedule, RunStatus, Subject, Trigger


@pytest.fixture
def llm(alice: User) -> Llm:
    return Llm.objects.create(owner=alice, name="Model", vendor="builtin", model_name="demo")


@pytest.fixture
def schedule(llm: Llm) -> AutotestSchedule:
    return schedules.store(
        AutotestSchedule(subject=Subject.LLM, subject_id=llm.pk, every_minutes=60)
    )


def task_of(schedule: AutotestSchedule) -> PeriodicTask:
    task = AutotestSchedule.objects.get(pk=schedule.pk).periodic_task
    assert task is not None
    return task


class TestTheSchedulersSide:
    def test_it_has_a_periodic_task(self, schedule: AutotestSchedule) -> None:
        task = task_of(schedule)
        assert (task.task, json.loads(task.args)) == ("tooling.run_schedule", [schedule.pk])
        assert (task.interval.every, task.interval.period) == (60, "minutes")
        assert task.enabled
        # It waits for its first time, and is not run at once.
        assert task.last_run_at is not None

    def test_it_follows_every_change(self, schedule: AutotestSchedule) -> None:
        first, changed_at = task_of(schedule), PeriodicTasks.last_change()
        schedule.every_minutes, schedule.is_enabled = 15, False
        schedules.store(schedule)
        task = task_of(schedule)
        assert (task.pk, task.interval.every, task.enabled) == (first.pk, 15, False)
        # What tells a running scheduler.
        assert PeriodicTasks.last_change() > changed_at

    def test_schedules_share_their_intervals(self, schedule: AutotestSchedule) -> None:
        other = AutotestSchedule(subject=Subject.LLM, subject_id="other", every_minutes=60)
        assert task_of(schedules.store(other)).interval == task_of(schedule).interval
        assert IntervalSchedule.objects.filter(every=60).count() == 1

    def test_it_goes_with_the_schedule(self, schedule: AutotestSchedule) -> None:
        kept = PeriodicTask.objects.create(
            name="other", task="knowledge.tidy", interval=task_of(schedule).interval
        )
        schedules.delete(AutotestSchedule.objects.all())
        assert not AutotestSchedule.objects.exists()
        assert list(PeriodicTask.objects.all()) == [kept]

    def test_the_sweeper_mends_what_went_out_of_step(self, schedule: AutotestSchedule) -> None:
        tasks.sweep()
        assert schedules.reconcile() == 0
        PeriodicTask.objects.all().delete()
        assert schedules.reconcile() == 1
        task = task_of(schedule)
        assert task.enabled
        AutotestSchedule.objects.update(every_minutes=15)
        assert schedules.reconcile() == 1
        assert task_of(schedule).interval.every == 15
        AutotestSchedule.objects.all().delete()
        tasks.sweep()
        assert not PeriodicTask.objects.exists()


class TestRunning:
    def test_it_starts_a_run_in_the_owners_history(
        self, schedule: AutotestSchedule, llm: Llm
    ) -> None:
        with TestCase.captureOnCommitCallbacks(execute=True):
            tasks.run_schedule(schedule.pk)
        run = AutotestRun.objects.get()
        assert (run.subject_id, run.owner_id) == (llm.pk, llm.owner_id)
        assert (run.trigger, run.status) == (Trigger.SCHEDULE, RunStatus.QUEUED)
        assert int(redis_sync().llen("chat")) == 1
        tasks.run_schedule(schedule.pk)
        assert AutotestRun.objects.count() == 1

    def test_it_does_nothing_while_disabled_or_gone(self, schedule: AutotestSchedule) -> None:
        schedules.disable(schedule)
        tasks.run_schedule(schedule.pk)
        tasks.run_schedule(0)
        assert not AutotestRun.objects.exists()

    def test_it_is_disabled_once_its_thing_is_gone(
        self, schedule: AutotestSchedule, llm: Llm
    ) -> None:
        llm.delete()
        tasks.run_schedule(schedule.pk)
        schedule.refresh_from_db()
        assert (schedule.is_enabled, task_of(schedule).enabled) == (False, False)
        assert not AutotestRun.objects.exists()


class TestHistory:
    def make(self, subject_id: str, status: RunStatus, **fields: object) -> AutotestRun:
        return AutotestRun.objects.create(
            subject=Subject.LLM, subject_id=subject_id, trigger="api", status=status, **fields
        )

    def test_it_finds_the_latest_of_many(self, alice: User, bob: User) -> None:
        self.make("a", RunStatus.FAILED, owner=alice)
        second = self.make("a", RunStatus.PASSED, owner=bob)
        other = self.make("b", RunStatus.FAILED)
        self.make("c", RunStatus.FAILED)
        AutotestRun.objects.create(subject="asr", subject_id="a", trigger="api")
        assert latest(Subject.LLM, ["a", "b", "d"]) == {"a": second, "b": other}
