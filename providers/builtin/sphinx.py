"""The built-in recogniser: pocketsphinx in worker processes, English only, and limited.

It decodes while the user speaks. Free speech comes out with errors in every other sentence; short
questions and commands mostly right. A hotword is preferred when the whole utterance sounds like it,
so that an assistant's commands belong there as phrases ("turn up the volume"); words inside longer
sentences are not influenced.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.utils.translation import gettext as _

from core.errors import ProviderError
from providers.builtin import pipe
from providers.builtin.workers import Line, WorkerDied, WorkerPool
from providers.types import AsrSpec, Transcript

# Workers take 110 MB each and start when needed; more speakers at once than this wait buffered.
WORKERS = WorkerPool("providers.builtin.sphinx_worker", limit=max(2, 2 * (os.cpu_count() or 1)))
MAX_UTTERANCE_S = 60
_MAX_BYTES = MAX_UTTERANCE_S * 32_000
_FINISH_TIMEOUT_S = 30.0


class SphinxRecogniser:
    """Recogniser over the worker pool."""

    def __init__(self, spec: AsrSpec) -> None:
        self._request = json.dumps({"hotwords": list(spec.hotwords)}).encode()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[SphinxUtterance]:
        """Begins one utterance; leaving gives the worker back, finished or not."""
        utterance = SphinxUtterance(self._request)
        try:
            yield utterance
        finally:
            await utterance.close()


class SphinxUtterance:
    """Audio on its way to a worker. All of it is kept, so that another worker can start over."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._pcm = bytearray()
        self._line: Line | None = None
        self._turn = asyncio.Lock()
        self._closing = asyncio.Event()
        self._holder = asyncio.create_task(self._hold())
        self._has_line = asyncio.Event()

    def feed(self, pcm: bytes) -> None:
        """Adds audio; what comes after the first minute is not heard."""
        pcm = pcm[: max(0, _MAX_BYTES - len(self._pcm))]
        self._pcm += pcm
        if self._line is not None:
            self._line.send(pipe.FEED, pcm)

    async def partial(self) -> str:
        """The text so far; "" while no worker is free."""
        async with self._turn:
            line = self._line
            if line is None or line.unsent_bytes:
                return ""
            line.send(pipe.PARTIAL)
            try:
                _kind, payload = await line.receive()
            except WorkerDied:
                return ""
            return payload.decode()

    async def finish(self) -> Transcript:
        """The final text. A worker that dies is replaced. Raises ProviderError."""
        async with self._turn:
            try:
                async with asyncio.timeout(_FINISH_TIMEOUT_S):
                    return Transcript(await self._final_text(), "en")
            except TimeoutError:
                raise ProviderError(
                    _("The built-in recogniser is too busy."), is_permanent=False
                ) from None
            except WorkerDied:
                raise ProviderError(
                    _("The built-in recogniser stopped unexpectedly."), is_permanent=False
                ) from None

    async def close(self) -> None:
        """Gives the worker back."""
        self._closing.set()
        if self._line is None:
            self._holder.cancel()
        await asyncio.wait([self._holder])

    async def _final_text(self) -> str:
        await self._line_or_failure()
        assert self._line is not None
        try:
            return await self._ask_final(self._line)
        except WorkerDied:
            return await self._start_over()

    async def _start_over(self) -> str:
        """The text from another worker; each that was idle may turn out to be dead, too."""
        for attempts_left in range(WORKERS.limit, -1, -1):
            try:
                async with WORKERS.lease() as line:
                    self._begin(line)
                    return await self._ask_final(line)
            except WorkerDied:
                if not attempts_left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _ask_final(self, line: Line) -> str:
        line.send(pipe.FINISH)
        while True:
            kind, payload = await line.receive()
            if kind == pipe.END:
                return payload.decode()

    async def _line_or_failure(self) -> None:
        """Waits for a worker; raises WorkerDied where none can be started."""
        waiting = asyncio.create_task(self._has_line.wait())
        try:
            await asyncio.wait([waiting, self._holder], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._line is None:
            raise WorkerDied("no worker could be had")

    async def _hold(self) -> None:
        """Has a worker for as long as the utterance lasts."""
        try:
            async with WORKERS.lease() as line:
                self._begin(line)
                self._line = line
                self._has_line.set()
                await self._closing.wait()
        except WorkerDied:
            return

    def _begin(self, line: Line) -> None:
        line.send(pipe.BEGIN, self._request)
        if self._pcm:
            line.send(pipe.FEED, bytes(self._pcm))


def from_spec(spec: AsrSpec) -> SphinxRecogniser:
    """The recogniser with the row's hotwords."""
    return SphinxRecogniser(spec)
