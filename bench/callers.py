"""The load: N callers who talk in real time over real sockets. A process of its own.

Reads one JSON job from standard input and prints two lines: `connected`, then the findings. Each
caller sends a 20 ms frame every 20 ms on an absolute clock, silence while it says nothing.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gc
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

BYTES_PER_S = 32_000
FRAME_BYTES = 640
FRAME_S = 0.02
SILENCE = bytes(FRAME_BYTES)
VOICED_PEAK = 300
STAGGER_S = 4.0
START_WITHIN_S = 60.0
ANSWER_WITHIN_S = 10.0
ANSWER_ENDS_WITHIN_S = 30.0
INTERRUPT_AFTER_S = 0.4
PAUSE_S = 0.3


@dataclasses.dataclass(frozen=True)
class Job:
    """What the callers do."""

    url: str
    key: str
    speech_base64: str
    calls: int
    turns: int
    interruptions: int


@dataclasses.dataclass
class Findings:
    """What all callers saw; times in milliseconds."""

    attempted: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    voice_to_voice: list[float] = dataclasses.field(default_factory=list)
    to_silence: list[float] = dataclasses.field(default_factory=list)
    send_lag: list[float] = dataclasses.field(default_factory=list)
    stages: dict[str, list[float]] = dataclasses.field(default_factory=dict)


class TurnFailed(Exception):
    """The turn did not go as it should; the message says how."""


@dataclasses.dataclass(frozen=True)
class Speech:
    """An utterance in frames, and those in which its voice starts and ends."""

    frames: tuple[bytes, ...]
    first_voiced: int
    last_voiced: int

    @classmethod
    def from_pcm(cls, pcm: bytes) -> Speech:
        pcm += bytes(-len(pcm) % FRAME_BYTES)
        loud = np.flatnonzero(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)) > VOICED_PEAK)
        frames = tuple(pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm), FRAME_BYTES))
        return cls(frames, int(loud[0]) * 2 // FRAME_BYTES, int(loud[-1]) * 2 // FRAME_BYTES)


@dataclasses.dataclass
class Saying:
    """When the voice of one's own utterance began and ended."""

    began_at: float = 0.0
    ended_at: float = 0.0


@dataclasses.dataclass
class Answer:
    """The sound of one response, from output.audio.start on. Times are 0 until they happen."""

    first_audio_at: float = 0.0
    audio_bytes: int = 0
    cleared_at: float = 0.0
    ended_at: float = 0.0


class Caller:
    """One call."""

    def __init__(self, job: Job, speech: Speech, findings: Findings) -> None:
        self._job = job
        self._speech = speech
        self._findings = findings
        self._is_started = False
        self._to_say: deque[tuple[int, bytes]] = deque()
        self._saying = Saying()
        self._answers: list[Answer] = []
        self._changed = asyncio.Event()
        self._error = ""

    async def run(self, everybody: asyncio.Barrier, delay_s: float) -> None:
        """The whole call: connects, waits for everybody, converses, hangs up."""
        try:
            async with connect(
                self._job.url,
                additional_headers={"Authorization": f"Bearer {self._job.key}"},
                compression=None,
                ping_interval=None,
                max_queue=None,
                open_timeout=START_WITHIN_S,
            ) as socket:
                await self._call(socket, everybody, delay_s)
        except (WebSocketException, OSError, TurnFailed) as error:
            self._findings.failures.append(str(error) or type(error).__name__)

    async def _call(
        self, socket: ClientConnection, everybody: asyncio.Barrier, delay_s: float
    ) -> None:
        tasks = [asyncio.create_task(self._listen(socket))]
        try:
            await socket.send(json.dumps({"type": "session.start"}))
            await self._until(lambda: self._is_started, START_WITHIN_S, "session.started")
            await everybody.wait()
            tasks.append(asyncio.create_task(self._talk(socket, delay_s)))
            await asyncio.sleep(delay_s + 0.5)
            await self._converse()
            await socket.send(json.dumps({"type": "session.stop"}))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self) -> None:
        """Turns that are heard out, then a long answer that is interrupted again and again."""
        for _ in range(self._job.turns):
            await self._hear_out(await self._ask())
        if self._job.interruptions:
            answer = await self._ask()
        for _ in range(self._job.interruptions):
            await _sleep_until(answer.first_audio_at + INTERRUPT_AFTER_S)
            answer = await self._ask(over=answer)

    async def _hear_out(self, answer: Answer) -> None:
        await self._until(lambda: answer.ended_at > 0, ANSWER_ENDS_WITHIN_S, "the answer's end")
        await _sleep_until(answer.first_audio_at + answer.audio_bytes / BYTES_PER_S + PAUSE_S)

    async def _ask(self, *, over: Answer | None = None) -> Answer:
        """Says the utterance, maybe over an answer that must stop; its own answer."""
        self._findings.attempted += 1
        before = len(self._answers)
        self._saying = saying = Saying()
        self._to_say.extend(enumerate(self._speech.frames))
        await self._until(lambda: saying.ended_at > 0, 60, "the own voice")
        if over is not None:
            if not over.cleared_at:
                raise TurnFailed("speaking over the answer did not stop it")
            self._findings.to_silence.append((over.cleared_at - saying.began_at) * 1000)
        if len(self._answers) > before:
            raise TurnFailed("it was answered before the question had ended")
        return await self._answer(saying, before)

    async def _answer(self, saying: Saying, before: int) -> Answer:
        def is_heard() -> bool:
            return len(self._answers) > before and self._answers[before].first_audio_at > 0

        await self._until(is_heard, ANSWER_WITHIN_S, "an answer")
        answer = self._answers[before]
        self._findings.voice_to_voice.append((answer.first_audio_at - saying.ended_at) * 1000)
        return answer

    async def _talk(self, socket: ClientConnection, delay_s: float) -> None:
        start = time.perf_counter() + delay_s
        for number in itertools.count():
            due = start + number * FRAME_S
            await _sleep_until(due)
            index, frame = self._to_say.popleft() if self._to_say else (-1, SILENCE)
            await socket.send(frame)
            if index == self._speech.first_voiced:
                self._saying.began_at = time.perf_counter()
            if index == self._speech.last_voiced:
                self._saying.ended_at = time.perf_counter()
                self._findings.send_lag.append((self._saying.ended_at - due) * 1000)
                self._changed.set()

    async def _listen(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                if isinstance(message, bytes):
                    self._on_audio(message)
                else:
                    self._on_event(json.loads(message))
        except WebSocketException as error:
            self._fail(f"connection lost: {error}")
        else:
            self._fail("the server hung up")

    def _on_audio(self, pcm: bytes) -> None:
        if not self._answers or self._answers[-1].ended_at or self._answers[-1].cleared_at:
            self._fail("audio outside of an answer")
            return
        answer = self._answers[-1]
        answer.audio_bytes += len(pcm)
        if not answer.first_audio_at:
            answer.first_audio_at = time.perf_counter()
            self._changed.set()

    def _on_event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.started":
            self._is_started = True
        elif kind == "output.audio.start":
            self._answers.append(Answer())
        elif kind == "output.audio.end":
            self._answers[-1].ended_at = time.perf_counter()
        elif kind == "output.audio.clear":
            self._answers[-1].cleared_at = time.perf_counter()
        elif kind == "metrics.turn":
            self._note_stages(event["data"])
        elif kind == "error":
            self._fail(f"{event.get('code')}: {event.get('message')}")
        self._changed.set()

    def _note_stages(self, data: dict[str, Any]) -> None:
        for name, value in data.items():
            if name.endswith("_ms") and value is not None:
                self._findings.stages.setdefault(name, []).append(value)

    def _fail(self, error: str) -> None:
        self._error = self._error or error
        self._changed.set()

    async def _until(self, is_met: Callable[[], bool], timeout_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not is_met():
                    if self._error:
                        raise TurnFailed(self._error)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TurnFailed(f"waited {timeout_s:.0f} s for {what}") from None


async def _sleep_until(at: float) -> None:
    delay_s = at - time.perf_counter()
    if delay_s > 0:
        await asyncio.sleep(delay_s)


async def run(job: Job) -> Findings:
    """All callers, spread over a few seconds, until the last has hung up."""
    speech, findings = Speech.from_pcm(base64.b64decode(job.speech_base64)), Findings()
    everybody = asyncio.Barrier(job.calls + 1)
    spread = random.Random(job.calls)
    async with asyncio.TaskGroup() as calls:
        for number in range(job.calls):
            caller = Caller(job, speech, findings)
            delay_s = spread.random() * STAGGER_S if job.calls > 1 else 0.0
            calls.create_task(caller.run(everybody, delay_s), name=f"caller {number}")
        async with asyncio.timeout(START_WITHIN_S):
            await everybody.wait()
        print("connected", flush=True)
    return findings


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    # A collection of the load's own garbage would look like a delay of the product.
    gc.freeze()
    gc.disable()
    findings = uvloop.run(run(job))
    print(json.dumps(dataclasses.asdict(findings)), flush=True)


if __name__ == "__main__":
    main()
