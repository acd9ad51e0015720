"""The log of a run as its worker writes it and as a reader waits for it.

What happens is put down at once, in memory; one writer per event loop brings it to Postgres, for
all runs of the loop in one statement. While the database is away nothing is lost as long as the
process lives, up to a bound, beyond which the run is given up. A write whose answer never came is
tried again, and counts once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from conversations.models import RunKind
from conversations.runs import hints, store
from conversations.runs.store import Batch
from conversations.runs.types import Appended, Claim, NewEvent, Outcome, Page
from core import leaving
from core.db import in_db
from core.loops import PerLoop

logger = logging.getLogger(__name__)

# Deltas that are put together until there is this much, or until they are written.
_DELTAS = frozenset({"text_chunk", "thinking_chunk"})
CHUNK_CHARS_PER_S = 64 / 0.05
# Logs that have to be written within this time are written together.
TOGETHER_S = 0.01
# Logs that nobody reads along are written with others up to this share of their time earlier.
EARLY_SHARE = 0.25
# For so long after a write, logs gather for the next; an idle writer writes at once.
REST_S = 0.02
MAX_WAITING_CHARS = 8_000_000
_EVENT_CHARS = 200
RETRY_FIRST_S = 0.1
RETRY_LONGEST_S = 2.0
END_WITHIN_S = 5.0
# Between two looks of a reader: where hints arrive, and where none do.
LOOK_WITH_HINTS_S = 1.0
LOOK_EVERY_S = 0.3

_AWAY = (OperationalError, InterfaceError)
# What Postgres refuses however often it is asked.
_REFUSED = (DatabaseError, TypeError, ValueError)


class LostRun(Exception):
    """The run is somebody else's or over by now: nothing more of this attempt is kept."""


class RunLog:
    """The log of one run, for whoever claimed it. Belongs to the event loop that made it.

    Tasks are followed by readers, who are told of what is new. What a chat says its reader gets
    otherwise: nothing hurries, and what is short is written with its end, in one statement.

    Every method raises LostRun once the attempt is lost.
    """

    def __init__(self, claim: Claim, *, flush_every_s: float = 0.05) -> None:
        self.claim = claim
        self.is_followed = claim.kind is RunKind.TASK
        # By how much it may be written earlier, where others are.
        self.early_s = 0.0 if self.is_followed else flush_every_s * EARLY_SHARE
        self._flush_every_s = flush_every_s
        self._chunk_chars = int(CHUNK_CHARS_PER_S * flush_every_s)
        self._clock = asyncio.get_running_loop().time
        self._writer = _WRITERS.get()
        self._next_seq = claim.next_seq
        self._waiting: list[_Entry] = []
        self._waiting_chars = 0
        # What was taken to be written, until it is known what became of it.
        self._batch: Batch | None = None
        self._is_acting = False
        self._is_written = asyncio.Event()
        self._is_written.set()
        # At once where nothing was written for a while; then so often and no oftener.
        self._written_at = float("-inf") if self.is_followed else self._clock()
        self._error: Exception | None = None
        # The text that is open: how many pieces it has, and when it began.
        self._pieces = 0
        self._text_began = self._clock()

    def add(self, event: NewEvent) -> None:
        """Puts an event down. Returns at once; it is written with the others of a moment."""
        self._check()
        size = _size(event)
        if self._waiting_chars + size > MAX_WAITING_CHARS:
            logger.error("Run %s is given up: its log cannot be written", self.claim.run_id)
            self.fail(LostRun())
            self._check()
        self._waiting_chars += size
        self._put_down(event)
        # Where something waits already, the writer knows.
        if self._is_written.is_set():
            self._is_written.clear()
            since_s = self._clock() - self._written_at
            self._writer.note(self, within_s=max(0.0, self._flush_every_s - since_s))

    async def flush(self) -> None:
        """Waits until everything is written, however long the database is away."""
        while not self._is_written.is_set():
            self._writer.note(self, within_s=0)
            await self._is_written.wait()
        self._check()

    async def acting(self) -> None:
        """Writes everything, and that from now on something may have been changed."""
        self._check()
        self._is_acting = True
        self._is_written.clear()
        await self.flush()

    async def finish(self, outcome: Outcome) -> None:
        """Ends the run, however long the database is away; nothing can be added any more."""
        # After any error but a loss the log stands where it was last written.
        if self._error is None or isinstance(self._error, LostRun):
            outcome = await self._with_the_rest(outcome)
        pause_s = RETRY_FIRST_S
        while True:
            try:
                has_ended = await in_db(store.finish, self.claim, outcome, first=self._next_seq)
                break
            except _AWAY as error:
                logger.warning("Run %s waits for the database to end: %s", self.claim.run_id, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_LONGEST_S)
        self._error = LostRun()
        if not has_ended:
            raise LostRun
        self.tell()

    def tell(self) -> None:
        """Has those look who read along."""
        if self.is_followed:
            hints.tell(self.claim.run_id)

    async def _with_the_rest(self, outcome: Outcome) -> Outcome:
        """The outcome with the events that wait, where nothing else is on its way any more."""
        if self._batch is not None or self._is_acting:
            await self.flush()
        self._check()
        waiting = tuple(entry.event() for entry in self._waiting)
        self._waiting, self._waiting_chars = [], 0
        self._is_written.set()
        return dataclasses.replace(outcome, events_before=(*waiting, *outcome.events_before))

    def take(self) -> Batch | None:
        """For the writer: what is to be written next, the same until `written` or `fail`."""
        if self._batch is None and (self._waiting or self._is_acting):
            events = tuple(entry.event() for entry in self._waiting)
            self._batch = Batch(self.claim, events, self._next_seq, has_acted=self._is_acting)
            self._waiting, self._is_acting, self._waiting_chars = [], False, 0
            self._written_at = self._clock()
        return self._batch

    def written(self, appended: Appended | None) -> None:
        """For the writer: what became of it."""
        if appended is None:
            self.fail(LostRun())
            return
        self._batch, self._next_seq = None, appended.next_seq
        if self._waiting or self._is_acting:
            self._writer.note(self, within_s=self._flush_every_s)
        else:
            self._is_written.set()

    def fail(self, error: Exception) -> None:
        """From now on every call raises the error."""
        self._error = self._error or error
        self._batch, self._waiting, self._waiting_chars, self._is_acting = None, [], 0, False
        self._is_written.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _put_down(self, event: NewEvent) -> None:
        """Adds the event; a delta joins the one before it, if that waits too and is short."""
        if event.type in _DELTAS:
            text = event.data["content"]
            last = self._waiting[-1] if self._waiting else None
            if last is not None and last.type == event.type and last.chars < self._chunk_chars:
                last.texts.append(text)
                last.chars += len(text)
            else:
                at = event.at or timezone.now()
                self._waiting.append(_Entry(event.type, self._place(event), at, [text], len(text)))
            return
        if event.type == "text_start":
            self._pieces, self._text_began = 0, self._clock()
        self._waiting.append(_Entry(event.type, event.data, event.at or timezone.now()))

    def _place(self, event: NewEvent) -> dict[str, Any]:
        """The data of a piece of text, with its place in the text."""
        if event.type != "text_chunk":
            return event.data
        elapsed = round(self._clock() - self._text_began, 3)
        self._pieces += 1
        return {**event.data, "index": self._pieces - 1, "elapsed": elapsed}


@dataclasses.dataclass(slots=True)
class _Entry:
    """An event that waits to be written; of deltas that were put together, their texts."""

    type: str
    data: dict[str, Any]
    at: datetime.datetime
    texts: list[str] = dataclasses.field(default_factory=list)
    chars: int = 0

    def event(self) -> NewEvent:
        if not self.texts:
            return NewEvent(self.type, self.data, self.at)
        return NewEvent(self.type, {**self.data, "content": "".join(self.texts)}, self.at)


def _size(event: NewEvent) -> int:
    if event.type in _DELTAS:
        return _EVENT_CHARS + len(event.data["content"])
    return _EVENT_CHARS + sum(len(str(value)) for value in event.data.values())


class _Writer:
    """Writes for all logs of one event loop; each as soon as it asked for, those due together."""

    def __init__(self) -> None:
        self._due: dict[RunLog, float] = {}
        self._sooner = asyncio.Event()
        self._rests_until = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def note(self, log: RunLog, *, within_s: float) -> None:
        """Has the log written by then."""
        due = asyncio.get_running_loop().time() + within_s
        if due < self._due.get(log, float("inf")):
            self._due[log] = due
            self._sooner.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="run log")

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._due:
            if (rest_s := self._rests_until - clock()) > 0:
                await asyncio.sleep(rest_s)
            soon = clock() + TOGETHER_S
            if min(self._due.values()) <= soon:
                await self._write(
                    [log for log, at in self._due.items() if at - log.early_s <= soon]
                )
                self._rests_until = clock() + REST_S
                continue
            self._sooner.clear()
            try:
                async with asyncio.timeout_at(min(self._due.values())):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    async def _write(self, logs: Sequence[RunLog]) -> None:
        for log in logs:
            del self._due[log]
        taken = [(log, batch) for log in logs if (batch := log.take()) is not None]
        if not taken:
            return
        try:
            answers = await _written([batch for _log, batch in taken])
        except _REFUSED:
            # What is wrong with one log must not take the others with it.
            await self._write_singly(taken)
            return
        except asyncio.CancelledError:
            # Whether it was written is not known; written again, it counts once.
            self._due.update((log, 0.0) for log, _batch in taken)
            raise
        for (log, batch), answer in zip(taken, answers, strict=True):
            _tell(log, batch, answer)

    async def _write_singly(self, taken: Sequence[tuple[RunLog, Batch]]) -> None:
        for log, batch in taken:
            try:
                (answer,) = await _written([batch])
            except _REFUSED as error:
                logger.exception("The log of run %s was refused", log.claim.run_id)
                log.fail(error)
            else:
                _tell(log, batch, answer)

    async def end(self) -> None:
        """Writes what is left, as far as a few seconds allow: the event loop shuts down."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            async with asyncio.timeout(END_WITHIN_S):
                while self._due:
                    await self._write(list(self._due))
        except TimeoutError:
            logger.error("The logs of %d runs end unwritten", len(self._due))


async def _written(batches: Sequence[Batch]) -> list[Appended | None]:
    """Writes, however long the database is away. Raises what it refuses."""
    pause_s = RETRY_FIRST_S
    while True:
        try:
            return await in_db(store.append_all, batches)
        except _AWAY as error:
            logger.warning("The logs of runs cannot reach the database: %s", error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_LONGEST_S)


def _tell(log: RunLog, batch: Batch, answer: Appended | None) -> None:
    log.written(answer)
    if answer is not None and batch.events:
        log.tell()


_WRITERS: PerLoop[_Writer] = PerLoop(_Writer, _Writer.end)


async def follow(run_id: UUID, *, first: int, wait_s: float) -> Page:
    """The events from `first` on; where there are none yet, waits for some, or for the end.

    Waits no longer when the process is told to stop. Raises NotFound. Who may read is not asked.
    """
    page = await in_db(store.read, run_id, first=first)
    if page.events or page.is_last or wait_s <= 0:
        return page
    clock = asyncio.get_running_loop().time
    until = clock() + wait_s
    listener = hints.listener()
    with listener.listening(run_id) as news, leaving.told(news.set):
        if listener.hears(run_id):
            # What came since the page was read was told to others only.
            news.set()
        while not (page.events or page.is_last or leaving.is_near()) and clock() < until:
            pause_s = LOOK_WITH_HINTS_S if listener.hears(run_id) else LOOK_EVERY_S
            try:
                async with asyncio.timeout_at(min(until, clock() + pause_s)):
                    await news.wait()
            except TimeoutError:
                pass
            news.clear()
            page = await in_db(store.read, run_id, first=first)
    return page
