"""Schedules and the scheduler's side of them: one periodic task each, kept in step."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tooling.models import AutotestSchedule

TASK = "tooling.run_schedule"
_NAME = "autotest "


@transaction.atomic
def store(schedule: AutotestSchedule) -> AutotestSchedule:
    """Saves the schedule, and its periodic task with it."""
    schedule.save()
    task = _task_of(schedule)
    if schedule.periodic_task_id != task.pk:
        schedule.periodic_task = task
        schedule.save(update_fields=["periodic_task", "updated_at"])
    return schedule


@transaction.atomic
def delete(schedules: Iterable[AutotestSchedule]) -> None:
    """Deletes the schedules and their periodic tasks."""
    for schedule in schedules:
        PeriodicTask.objects.filter(name=_name(schedule)).delete()
        schedule.delete()


def disable(schedule: AutotestSchedule) -> None:
    """Keeps the schedule, for its history's sake, but lets it do nothing."""
    schedule.is_enabled = False
    store(schedule)


@transaction.atomic
def reconcile() -> int:
    """Mends what went out of step, such as rows deleted past these functions; how many."""
    schedules = {_name(row): row for row in AutotestSchedule.objects.all()}
    tasks = {
        row.name: row for row in PeriodicTask.objects.filter(task=TASK).select_related("interval")
    }
    stray = [row for name, row in tasks.items() if name not in schedules]
    for row in stray:
        row.delete()
    lacking = [row for name, row in schedules.items() if not _is_in_step(row, tasks.get(name))]
    for schedule in lacking:
        store(schedule)
    return len(stray) + len(lacking)


def _name(schedule: AutotestSchedule) -> str:
    return f"{_NAME}{schedule.pk}"


def _is_in_step(schedule: AutotestSchedule, task: PeriodicTask | None) -> bool:
    if task is None or task.interval is None:
        return False
    every = (task.interval.every, task.interval.period)
    return (
        schedule.periodic_task_id == task.pk
        and task.enabled == schedule.is_enabled
        and every == (schedule.every_minutes, IntervalSchedule.MINUTES)
    )


def _task_of(schedule: AutotestSchedule) -> PeriodicTask:
    # Two of the same are possible: the library has no constraint.
    every = {"every": schedule.every_minutes, "period": IntervalSchedule.MINUTES}
    interval = IntervalSchedule.objects.filter(**every).first()
    task = PeriodicTask.objects.filter(name=_name(schedule)).first()
    task = task or PeriodicTask(name=_name(schedule), last_run_at=timezone.now())
    task.task = TASK
    task.interval = interval or IntervalSchedule.objects.create(**every)
    task.args = json.dumps([schedule.pk])
    task.enabled = schedule.is_enabled
    # A run that found no worker until the next one is due is superseded by it.
    task.expire_seconds = schedule.every_minutes * 60
    # Saving is what tells the scheduler of a change.
    task.save()
    return task
