"""The pulse of runs: says that they live, and hears that they are to end.

One per event loop. Twice a second it asks Postgres how all runs of its loop stand; every few
seconds it writes their sign of life. Nothing else is needed for a run to be stopped: the task that
works on it is cancelled, which closes whatever it reads from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

from django.db import Error as DatabaseFailure

from conversations.models import Run, RunStatus
from conversations.runs.types import Claim
from core.db import in_db
from core.loops import PerLoop
from core.statements import prepared_cursor

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
BEAT_EVERY_S = 5.0

# Whoever holds a row is writing it, and says thereby that the run lives.
_BEAT = """
update conversations_run set heartbeat_at = now() where id in (
  select id from conversations_run
  where id = any(%s) and status in ('running', 'cancel_requested')
  for no key update skip locked
)
"""

# Attempt and status of a run.
_State = tuple[int, str]


class Guard:
    """What the pulse has heard about one run."""

    def __init__(self, claim: Claim, task: asyncio.Task[object]) -> None:
        self.claim = claim
        self.is_cancel_requested = False
        self.is_lost = False
        self._task = task
        self._cancelling = task.cancelling()
        self._has_cancelled = False

    def hear(self, state: _State | None) -> None:
        """Stops the work where the run is to end, or is somebody else's by now."""
        attempt, status = state or (0, "")
        if attempt != self.claim.attempt or status not in RunStatus.owned():
            self.is_lost = True
        elif status == RunStatus.CANCEL_REQUESTED:
            self.is_cancel_requested = True
        else:
            return
        if not self._has_cancelled:
            self._has_cancelled = True
            self._task.cancel()

    def takes_back(self) -> bool:
        """Whether the task was cancelled by this guard and nobody else; it then goes on."""
        return self._has_cancelled and self._task.uncancel() <= self._cancelling


class _Pulse:
    """The guards of one event loop and the task that serves them."""

    def __init__(self) -> None:
        self._guards: dict[UUID, Guard] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_away = False

    def add(self, guard: Guard) -> None:
        self._guards[guard.claim.run_id] = guard
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="pulse")

    def remove(self, guard: Guard) -> None:
        if self._guards.get(guard.claim.run_id) is guard:
            del self._guards[guard.claim.run_id]

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        next_beat = clock() + BEAT_EVERY_S
        while self._guards:
            await asyncio.sleep(LOOK_EVERY_S)
            # After an outage first of all: by then the sweeper may count them as lost.
            is_due = self._is_away or clock() >= next_beat
            try:
                await self._look(with_beat=is_due)
            except DatabaseFailure as error:
                if not self._is_away:
                    logger.warning("The pulse cannot reach the database: %s", error)
                self._is_away = True
                continue
            self._is_away = False
            if is_due:
                next_beat = clock() + BEAT_EVERY_S

    async def _look(self, *, with_beat: bool) -> None:
        asked = dict(self._guards)
        states = await in_db(_states, tuple(asked), with_beat=with_beat)
        for run_id, guard in asked.items():
            # One that ended meanwhile needs no telling.
            if self._guards.get(run_id) is guard:
                guard.hear(states.get(run_id))

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


_PULSES: PerLoop[_Pulse] = PerLoop(_Pulse, _Pulse.end)


@asynccontextmanager
async def beating(claim: Claim) -> AsyncGenerator[Guard, None]:
    """Says that the run lives as long as the context does, and leaves it when it has to stop.

    What runs inside is cancelled within a second when the user wants the run to end or the attempt
    is lost; the context then ends without an exception, and the guard says which it was.
    """
    task = asyncio.current_task()
    assert task is not None
    guard = Guard(claim, task)
    pulse = _PULSES.get()
    pulse.add(guard)
    try:
        yield guard
    except asyncio.CancelledError:
        if not guard.takes_back():
            raise
    except BaseException:
        guard.takes_back()
        raise
    else:
        guard.takes_back()
    finally:
        pulse.remove(guard)


def _states(run_ids: Iterable[UUID], *, with_beat: bool) -> dict[UUID, _State]:
    ids = list(run_ids)
    if with_beat:
        with prepared_cursor() as cursor:
            cursor.execute(_BEAT, [ids])
    rows = Run.objects.filter(pk__in=ids).values_list("pk", "attempt", "status")
    return {pk: (attempt, status) for pk, attempt, status in rows}
