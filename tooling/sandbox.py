"""Runs Python that a model wrote, in an interpreter of its own that can reach nothing.

The interpreter (pydantic-monty) is a worker process without files, network, environment or other
processes; time, memory, sleep, recursion and output are bounded. Where it cannot be started, no
code is run at all: there is no other way.

Workers are started at the first call of an event loop, and end with the loop. A process that was
forked from one that ran code already runs none: the interpreter's threads stayed behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from django.utils.translation import gettext as _
from pydantic_monty import (
    AsyncMonty,
    MontyClassProxy,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
    ResourceLimits,
)

from core.errors import Unavailable
from core.loops import PerLoop

logger = logging.getLogger(__name__)

MAX_CODE_CHARS = 32_000
MAX_PRINTED_CHARS = 20_000
MAX_VALUE_CHARS = 8_000
MAX_VALUE_LEVELS = 20
MAX_ERROR_CHARS = 2_000
MAX_MEMORY_BYTES = 32 * 2**20
MAX_SLEEP_S = 0.5
MAX_RECURSION = 500
# What an interpreter asks of us: files, names that it does not know. It gets none of them.
MAX_REQUESTS = 100
MAX_AT_ONCE = 2
# How long a call waits for its turn, and how much longer than its own limit we let a worker be.
QUEUE_S = 3.0
GRACE_S = 1.0
RUNS_OF_A_WORKER = 100

# How the pool says that it could not even hand the code over.
_NOT_SENT = "while sending"

_is_used = False
_is_forked_too_late = False


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxResult:
    """What code printed, the value of its last line as text (None: none), and how it failed."""

    stdout: str
    value: str | None = None
    error: str | None = None


class SandboxUnavailable(Unavailable):
    """No code was run: the interpreter cannot be started, or all of them are busy."""


async def run_code(code: str, *, timeout_s: float = 5) -> SandboxResult:
    """Runs the code to its end or to a limit. Raises SandboxUnavailable."""
    if len(code) > MAX_CODE_CHARS:
        return SandboxResult("", error=f"The code is longer than {MAX_CODE_CHARS} characters.")
    if _is_forked_too_late:
        raise SandboxUnavailable(_("Code cannot be run in this process."))
    # Half characters cannot be handed over.
    text = code.encode(errors="replace").decode()
    return await _INTERPRETERS.get().run(text, timeout_s=timeout_s)


async def close() -> None:
    """Ends this event loop's workers now. The next call starts new ones."""
    await _INTERPRETERS.get().close()


class _DiedBefore(OSError):
    """The worker was dead before it was given the code."""


class _Interpreters:
    """The worker processes of one event loop."""

    def __init__(self) -> None:
        self._pool: AsyncMonty | None = None
        self._starting = asyncio.Lock()
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    async def run(self, code: str, *, timeout_s: float) -> SandboxResult:
        try:
            async with asyncio.timeout(QUEUE_S):
                await self._places.acquire()
        except TimeoutError:
            raise SandboxUnavailable(_("All interpreters are busy. Try again later.")) from None
        try:
            pool = await self._started()
            # Any of them may have died since its last call.
            for _worker in range(MAX_AT_ONCE):
                with contextlib.suppress(_DiedBefore):
                    return await _run(pool, code, timeout_s)
            return await _run(pool, code, timeout_s)
        except (OSError, RuntimeError) as error:
            logger.exception("code cannot be run")
            await self.close()
            raise SandboxUnavailable(_("Code cannot be run on this server.")) from error
        finally:
            self._places.release()

    async def _started(self) -> AsyncMonty:
        global _is_used
        async with self._starting:
            if self._pool is None:
                _is_used = True
                pool = AsyncMonty(
                    max_processes=MAX_AT_ONCE,
                    checkout_timeout=QUEUE_S,
                    max_checkouts_per_worker=RUNS_OF_A_WORKER,
                    feed_duration_limit_grace=GRACE_S,
                )
                self._pool = await pool.__aenter__()
            return self._pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)


_INTERPRETERS: PerLoop[_Interpreters] = PerLoop(_Interpreters, _Interpreters.close)


class _Printed:
    """What code prints, as much of it as is kept; too much of it stops the code."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._pieces: list[str] = []
        self._room = MAX_PRINTED_CHARS
        self.is_too_much = False

    def __call__(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        if self.is_too_much:
            return
        self._pieces.append(text[: self._room])
        self._room -= len(text)
        if self._room < 0:
            self.is_too_much = True
            self._stop()

    @property
    def text(self) -> str:
        return "".join(self._pieces)


async def _run(pool: AsyncMonty, code: str, timeout_s: float) -> SandboxResult:
    loop = asyncio.get_running_loop()
    limits = ResourceLimits(
        max_feed_duration_secs=timeout_s,
        max_total_sleep_secs=MAX_SLEEP_S,
        max_memory=MAX_MEMORY_BYTES,
        max_recursion_depth=MAX_RECURSION,
        max_suspensions=MAX_REQUESTS,
    )
    # The worker keeps to its limits by itself. Should it not: leaving a running call kills it.
    deadline = asyncio.timeout(timeout_s + MAX_SLEEP_S + 2 * GRACE_S)
    printed = _Printed(lambda: loop.call_soon_threadsafe(_expire, deadline))
    value: str | None = None
    error: str | None = None
    try:
        async with deadline, pool.checkout(limits=limits) as session:
            returned = await session.feed_run(code, print_callback=printed)
        value = None if returned is None else shown(returned)
    except (MontyRuntimeError, MontySyntaxError) as raised:
        error = _cut_front(raised.display("traceback").strip())
    except MontyCrashedError as crash:
        if _NOT_SENT in str(crash):
            raise _DiedBefore from crash
        logger.warning("code ended its interpreter: %s", crash)
        error = "The code was stopped: it took too much time or memory."
    except MontyError as refused:
        error = str(refused)[:MAX_ERROR_CHARS]
    except (ValueError, OverflowError):
        # Such as a number of more digits than Python writes.
        error = "The value of the last line cannot be shown. Print the part of it that matters."
    except TimeoutError:
        if not deadline.expired():
            raise
        error = f"The code did not end within {timeout_s:g} s."
    if printed.is_too_much:
        error = f"The code was stopped: it printed more than {MAX_PRINTED_CHARS} characters."
    return SandboxResult(printed.text, value, error)


def _expire(deadline: asyncio.Timeout) -> None:
    """Ends what runs under the deadline, unless it has just ended by itself."""
    with contextlib.suppress(RuntimeError):
        deadline.reschedule(0)


def _cut_front(traceback: str) -> str:
    """The end of a traceback, which says what was wrong."""
    return traceback if len(traceback) <= MAX_ERROR_CHARS else "…" + traceback[-MAX_ERROR_CHARS:]


# --- Values --------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """The value as Python would show it, cut where it is long or deep. Takes bounded time.

    Raises ValueError for a number of thousands of digits.
    A list may hold itself a thousand times over: `repr` would never end.
    """
    text, room = [], MAX_VALUE_CHARS
    for piece in _pieces(value, MAX_VALUE_LEVELS):
        text.append(piece[:room])
        room -= len(piece)
        if room < 0:
            return "".join(text) + "…"
    return "".join(text)


def _pieces(value: object, levels: int) -> Iterator[str]:
    if levels == 0:
        yield "…"
        return
    match value:
        case str() | bytes():
            yield repr(value[: MAX_VALUE_CHARS + 1])
        case dict():
            yield from _listed("{", (_entry(pair, levels) for pair in value.items()), "}")
        case list():
            yield from _listed("[", (_pieces(item, levels - 1) for item in value), "]")
        case tuple():
            closing = ",)" if len(value) == 1 else ")"
            yield from _listed("(", (_pieces(item, levels - 1) for item in value), closing)
        case set() | frozenset() if value:
            yield from _listed("{", (_pieces(item, levels - 1) for item in value), "}")
        case MontyClassProxy():
            attributes = value.attributes.items()
            yield value.name
            yield from _listed("(", (_attribute(pair, levels) for pair in attributes), ")")
        case _:
            # Numbers, dates, names: nothing else holds anything.
            yield repr(value)


def _entry(pair: tuple[object, object], levels: int) -> Iterator[str]:
    yield from _pieces(pair[0], levels - 1)
    yield ": "
    yield from _pieces(pair[1], levels - 1)


def _attribute(pair: tuple[str, object], levels: int) -> Iterator[str]:
    yield f"{pair[0]}="
    yield from _pieces(pair[1], levels - 1)


def _listed(opening: str, items: Iterable[Iterator[str]], closing: str) -> Iterator[str]:
    yield opening
    for number, item in enumerate(items):
        if number:
            yield ", "
        yield from item
    yield closing


# --- Forks ---------------------------------------------------------------------------------------


def _note_fork() -> None:
    global _is_forked_too_late
    _is_forked_too_late = _is_used


os.register_at_fork(after_in_child=_note_fork)
