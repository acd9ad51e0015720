"""Keeps the searches of conversations for the console, after the answer and never in its way."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from django.db import Error

from core.db import in_db
from core.loops import PerLoop
from knowledge.models import SearchSource
from knowledge.search import record_search
from knowledge.types import SearchOutcome, SearchRequest

logger = logging.getLogger(__name__)

# Records are for looking at: of too many at once, the oldest are dropped.
MAX_WAITING = 200
FLUSH_WAIT_S = 2.0

Made = tuple[SearchRequest, SearchOutcome]


class _Keeper:
    """Writes what was handed in, one after another."""

    def __init__(self) -> None:
        self._waiting: deque[Made] = deque(maxlen=MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    def add(self, made: Iterable[Made]) -> None:
        self._waiting.extend(made)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="searches")

    async def flush(self) -> None:
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=FLUSH_WAIT_S)

    async def _run(self) -> None:
        while self._waiting:
            request, outcome = self._waiting.popleft()
            try:
                await in_db(record_search, request, outcome, SearchSource.CONVERSATION)
            except Error as error:
                # The base was deleted meanwhile, or the database is away.
                logger.info("a search was not recorded: %s", error)
            except Exception:  # the outer edge of a record: the others are kept
                logger.exception("a search was not recorded")


_KEEPERS: PerLoop[_Keeper] = PerLoop(_Keeper, _Keeper.flush)


def keep(made: Iterable[Made]) -> None:
    """Hands searches over to be recorded. Returns at once; must be called on an event loop."""
    made = list(made)
    if made:
        _KEEPERS.get().add(made)


async def flush() -> None:
    """Waits until the searches of this event loop are recorded, as far as a moment allows."""
    await _KEEPERS.get().flush()
