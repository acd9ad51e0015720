"""A recogniser that says how much it heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from providers.interfaces import Utterance
from providers.types import Transcript


class Parrot:
    """Keeps the audio of each utterance; its text is the number of bytes."""

    def __init__(self) -> None:
        self.heard: list[bytearray] = []

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Utterance]:
        audio = bytearray()
        self.heard.append(audio)
        yield _Heard(audio)


class _Heard:
    def __init__(self, audio: bytearray) -> None:
        self._audio = audio

    def feed(self, pcm: bytes) -> None:
        self._audio += pcm

    async def partial(self) -> str:
        return f"hearing {len(self._audio)}"

    async def finish(self) -> Transcript:
        return Transcript(f"heard {len(self._audio)}")
