"""What workers do for tools. A message is only a wake-up: what is to be done is in Postgres."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import translation

from core.loops import wait_for
from providers import registry, specs
from tooling.autotest import engine, runs, schedules
from tooling.autotest.cases import Asker
from tooling.mcp import client, listing
from tooling.models import AutotestSchedule, Subject, Trigger

logger = logging.getLogger(__name__)

# Of one round; the next finds the rest.
_MOST_LISTED = 100


@shared_task(name=engine.TASK)
def autotest(run_id: str, language: str | None = None) -> None:
    """Runs a waiting autotest, in the language of who asked for it; nothing where it has begun."""
    job = runs.claim(run_id)
    if job is None:
        return
    # What a client takes to load, once a process, must not be read as the latency of a model.
    registry.warm_up(specs.in_use(), workers=False)
    client.warm_up()
    with translation.override(language):
        wait_for(engine.execute(job))


@shared_task(name=schedules.TASK)
def run_schedule(schedule_id: int) -> None:
    """Has the schedule's thing tested, unless a test of it is under way."""
    schedule = AutotestSchedule.objects.filter(pk=schedule_id, is_enabled=True).first()
    if schedule is None:
        return
    subject = Subject(schedule.subject)
    prepared = engine.TESTERS[subject].prepare(schedule.subject_id, Asker(None))
    if prepared is None:
        logger.warning("The schedule of %s was disabled: it is gone", schedule)
        schedules.disable(schedule)
        return
    engine.start(subject, schedule.subject_id, owner_id=prepared.owner_id, trigger=Trigger.SCHEDULE)


@shared_task(name="tooling.sweep")
def sweep() -> None:
    """Ends runs of dead processes, wakes workers for forgotten ones, and tidies up."""
    if broken := runs.break_off_lost():
        logger.warning("Broke off %d autotests whose process had died", broken)
    for run_id in runs.take_forgotten():
        engine.wake(run_id)
    runs.remove_old()
    if mended := schedules.reconcile():
        logger.info("Brought %d autotest schedules back in step", mended)


# --- MCP -----------------------------------------------------------------------------------------


@shared_task(name="tooling.refresh_mcp_lists")
def refresh_mcp_lists() -> None:
    """Has the servers whose lists are old asked for them, each by a task of its own."""
    for server_id in listing.due_for_listing().values_list("pk", flat=True)[:_MOST_LISTED]:
        refresh_mcp_list.delay(server_id)


@shared_task(name="tooling.refresh_mcp_list", expires=300)
def refresh_mcp_list(server_id: str) -> None:
    """Asks a server for its tools, unless somebody just did."""
    server = listing.due_for_listing().filter(pk=server_id).first()
    if server is not None:
        listing.refresh(server)
