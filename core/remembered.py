"""What was read from the database, kept in an event loop's memory for as long as it holds.

While word of changes comes (`core.changes`), a value holds until word takes it away or casts doubt
on it. Without word it holds for `FRESH_S`. While the database is away altogether, what is known is
given on: once a second it is looked whether it is back, and nobody waits for that.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext_lazy as _

from core import changes
from core.db import in_db
from core.errors import AppError, Unavailable

logger = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# For how long a value is believed where no word of changes comes; a refusal, in any case.
FRESH_S = 2.0
# A database that does not answer within this is taken for away, where a value is known.
_PATIENCE_S = 0.5
# How long whoever asks for what is not known waits at most.
_LONGEST_WAIT_S = 5.0
_REST_S = 1.0
# What is not known is asked for no more often at once, while the database is away.
_MOST_WAITING = 100


@dataclasses.dataclass(slots=True)
class _Held(Generic[V]):
    value: V
    read_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    error: AppError
    until: float


class Remembered(Generic[K, V]):
    """Values of one kind by key, the latest used of them.

    `read` is a unit of database work; an AppError that it raises is an answer, which is kept for a
    moment. One of these belongs to one loop, where its owner subscribes it to changes.
    """

    def __init__(
        self, read: Callable[[K], V], *, kind: str, most: int = 10_000, most_refused: int = 1_000
    ) -> None:
        self._read, self._kind = read, kind
        self._most, self._most_refused = most, most_refused
        self._known: OrderedDict[K, _Held[V]] = OrderedDict()
        self._refused: OrderedDict[K, _Refusal] = OrderedDict()
        self._reading: dict[K, asyncio.Task[_Held[V] | Exception]] = {}
        # What was read before may have changed without word.
        self._doubted_at = 0.0
        # Until when the database is not asked for what is known.
        self._away_until = 0.0
        self._is_away = False
        self._listener = changes.listener()

    def peek(self, key: K) -> V | None:
        """The value if it is known and holds."""
        held = self._known.get(key)
        if held is None:
            return None
        if not self._listener.is_listening or held.read_at < self._doubted_at:
            now = time.monotonic()
            is_fresh = held.read_at >= max(now - FRESH_S, self._doubted_at)
            if not is_fresh and now >= self._away_until:
                return None
        self._known.move_to_end(key)
        return held.value

    async def get(self, key: K) -> V:
        """The value, from memory or read now. Raises what `read` raises, and Unavailable."""
        value = self.peek(key)
        if value is not None:
            return value
        refusal = self._refused.get(key)
        if refusal is not None and time.monotonic() < refusal.until:
            raise copy.copy(refusal.error)
        known = self._known.get(key)
        if known and self._is_away:
            self._away_until = time.monotonic() + _REST_S
        outcome = await self._outcome(key, patience_s=self._patience_s(is_known=known is not None))
        if isinstance(outcome, _Held):
            return outcome.value
        if isinstance(outcome, AppError):
            raise copy.copy(outcome)
        self._report(outcome)
        if known is None:
            raise Unavailable(_("The database is away; try again later."), retry_after=1)
        return known.value

    def forget(self, key: K) -> None:
        """The key's value has changed: what is known of it holds no more, whatever happens."""
        self._known.pop(key, None)
        self._refused.pop(key, None)
        self._reading.pop(key, None)

    def forget_where(self, is_concerned: Callable[[V], bool]) -> None:
        """The values concerned have changed; refusals may have, too."""
        for key in [key for key, held in self._known.items() if is_concerned(held.value)]:
            del self._known[key]
        self._refused.clear()
        self._reading.clear()

    def doubt_all(self) -> None:
        """Anything may have changed: it is read again, and kept for the case that this fails."""
        self._doubted_at = time.monotonic()
        self._refused.clear()
        self._reading.clear()

    async def close(self) -> None:
        """Ends what is being read."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _patience_s(self, *, is_known: bool) -> float:
        if is_known:
            return 0.0 if self._is_away else _PATIENCE_S
        return _PATIENCE_S if self._is_away else _LONGEST_WAIT_S

    async def _outcome(self, key: K, *, patience_s: float) -> _Held[V] | Exception:
        """What reading gave, once for all who ask at the same time; errors are returned."""
        task = self._reading.get(key)
        if task is None:
            if self._is_away and len(self._reading) >= _MOST_WAITING:
                return TimeoutError()
            task = asyncio.get_running_loop().create_task(self._read_now(key))
            self._reading[key] = task
        await asyncio.wait((task,), timeout=patience_s)
        return task.result() if task.done() else TimeoutError()

    async def _read_now(self, key: K) -> _Held[V] | Exception:
        # Before the database looks: word of what it does not see yet will come later.
        began_at = time.monotonic()
        outcome: _Held[V] | Exception | None = None
        try:
            outcome = _Held(await in_db(self._read, key), began_at)
        except (AppError, DatabaseError, InterfaceError) as error:
            outcome = error
        finally:
            # Not if word of a change came meanwhile: this may be what was there before.
            if self._reading.get(key) is asyncio.current_task():
                del self._reading[key]
                self._keep(key, outcome)
        return outcome

    def _keep(self, key: K, outcome: _Held[V] | Exception | None) -> None:
        if isinstance(outcome, _Held):
            self._refused.pop(key, None)
            self._known[key] = outcome
            _bound(self._known, self._most)
        elif isinstance(outcome, AppError):
            self._known.pop(key, None)
            self._refused[key] = _Refusal(outcome, time.monotonic() + FRESH_S)
            _bound(self._refused, self._most_refused)
        else:
            return
        self._is_away, self._away_until = False, 0.0

    def _report(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _REST_S
        if not self._is_away:
            self._is_away = True
            logger.error("%s cannot be read; what is known is used on: %r", self._kind, error)


def _bound(held: OrderedDict[Any, Any], most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)
