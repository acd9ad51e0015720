"""Runs the tests of one thing: check after check, each outcome stored as soon as it is known."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from celery import current_app
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from kombu.exceptions import OperationalError as BrokerAway

from core.db import in_db
from core.errors import AppError
from core.loops import wait_for
from tooling.autotest import runs
from tooling.autotest.cases import Case, Check, CheckFailed, Prepared, Tester
from tooling.autotest.runs import Job
from tooling.models import AutotestRun, RunStatus, Subject, Trigger

__all__ = ["TESTERS", "Case", "Tester", "execute", "register", "run_now", "start", "wake"]

logger = logging.getLogger(__name__)

TASK = "tooling.autotest"
HEARTBEAT_S = 5.0
# Of all checks together; a scripted conversation has many.
RUN_LIMIT_S = 900.0

# Each kind is registered by the app that knows its things.
TESTERS: dict[Subject, Tester] = {}


def register(subject: Subject, tester: Tester) -> None:
    """Has things of that kind tested so."""
    TESTERS[subject] = tester


# --- Starting ----------------------------------------------------------------------------------


def start(
    subject: Subject, subject_id: str, *, owner_id: int | None, trigger: Trigger
) -> AutotestRun:
    """A run that a worker takes up, or the one that is under way already. Returns at once.

    `owner_id` is in whose history it goes: that of the thing's owner, unless somebody else asked.
    """
    run, is_new = runs.open_run(subject, subject_id, owner_id=owner_id, trigger=trigger)
    if is_new:
        transaction.on_commit(partial(wake, run.pk))
    return run


def run_now(
    subject: Subject, subject_id: str, *, owner_id: int | None, trigger: Trigger = Trigger.API
) -> AutotestRun:
    """The finished run. Blocks as long as it takes. Raises Conflict while another is under way."""
    run, _is_new = runs.open_run(subject, subject_id, owner_id=owner_id, trigger=trigger)
    job = runs.claim(run.pk)
    if job is None:
        raise runs.being_tested()
    wait_for(execute(job))
    run.refresh_from_db()
    return run


def wake(run_id: str) -> None:
    """Has a worker take the run up; where the broker is away, the sweeper does it later."""
    try:
        # By its name: the task calls this module.
        current_app.send_task(TASK, [run_id, get_language()])
    except BrokerAway as error:
        logger.warning("Autotest %s waits for the sweeper: the broker is away (%s)", run_id, error)


# --- Running -----------------------------------------------------------------------------------


async def execute(job: Job) -> None:
    """Runs a claimed run to its end. What goes wrong with what is tested is a failed case."""
    run = _Run(job)
    try:
        async with _beating(job.run_id):
            await run.perform()
        await run.end()
    except _TakenAway:
        logger.warning("Autotest %s was ended by the sweeper while it ran", job.run_id)
    except Exception:  # the edge of a run: it must not stay open, and keep others from testing
        logger.exception("Autotest %s itself failed", job.run_id)
        await in_db(runs.break_off, job.run_id)


class _TakenAway(Exception):
    """The sweeper took this process for dead and ended the run."""


class _Run:
    """A run under way, and the cases so far."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started = time.monotonic()
        self._cases: list[Case] = []
        self._prepared: Prepared | None = None

    async def perform(self) -> None:
        """Adds case after case, all within the time limit."""
        try:
            async with asyncio.timeout(RUN_LIMIT_S) as limit:
                await self._add(await self._existence(TESTERS[self._job.subject]))
                for check in self._checks:
                    await self._add(await _outcome(check))
        except TimeoutError:
            if not limit.expired():
                raise
            text = _("The tests took longer than %(minutes)d minutes.")
            message = text % {"minutes": RUN_LIMIT_S // 60}
            await self._add(Case("Time Limit", False, message, round(RUN_LIMIT_S * 1000)))

    async def end(self) -> None:
        """Stores that it ended, and on the thing's row whether it works."""
        has_passed = all(case.passed for case in self._cases)
        is_ours = await in_db(
            runs.finish,
            self._job.run_id,
            status=RunStatus.PASSED if has_passed else RunStatus.FAILED,
            duration_ms=_since_ms(self._started),
        )
        if not is_ours:
            raise _TakenAway
        prepared = self._prepared
        if prepared and prepared.note and self._job.asker.speaks_for(prepared.owner_id):
            await in_db(prepared.note, has_passed, _summary(self._cases))

    @property
    def _checks(self) -> tuple[Check, ...]:
        return self._prepared.checks if self._prepared else ()

    async def _existence(self, tester: Tester) -> Case:
        started = time.monotonic()
        self._prepared = await in_db(tester.prepare, self._job.subject_id, self._job.asker)
        message = self._prepared.found if self._prepared else str(tester.missing)
        return Case(tester.existence, bool(self._prepared), message, _since_ms(started))

    async def _add(self, case: Case) -> None:
        self._cases.append(case)
        name = self._prepared.name if self._prepared else ""
        is_ours = await in_db(
            runs.record, self._job.run_id, self._cases, name=name, expected=len(self._checks) + 1
        )
        if not is_ours:
            raise _TakenAway


async def _outcome(check: Check) -> Case:
    started = time.monotonic()
    try:
        async with asyncio.timeout(check.limit_s):
            message, has_passed = await check.run(), True
    except (AppError, CheckFailed) as error:
        message, has_passed = str(error), False
    except TimeoutError:
        text = _("It did not finish within %(seconds)d seconds.")
        message, has_passed = text % {"seconds": check.limit_s}, False
    except Exception:  # the edge of one check: the others still tell something
        logger.exception("The check %r itself failed", check.name)
        message, has_passed = _("The check itself failed; the server's log says why."), False
    return Case(check.name, has_passed, message, _since_ms(started))


@asynccontextmanager
async def _beating(run_id: str) -> AsyncIterator[None]:
    """Gives signs of life while the body runs, also during a long check."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                await in_db(runs.beat, run_id)
            except DatabaseFailure:
                # One beat more or less: the next may come through in time.
                logger.warning("Autotest %s missed a heartbeat", run_id, exc_info=True)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        (ending,) = await asyncio.gather(beating, return_exceptions=True)
        if isinstance(ending, Exception):
            logger.error("Autotest %s had no heartbeat", run_id, exc_info=ending)


def _summary(cases: Sequence[Case]) -> str:
    for case in cases:
        if not case.passed:
            return f"{case.name}: {case.message}"
    return _("%(count)d tests passed.") % {"count": len(cases)}


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
