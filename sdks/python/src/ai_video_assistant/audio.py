"""Microphone and loudspeaker for conversations; needs `pip install "ai-video-assistant[audio]"`.

from ai_video_assistant.audio import play, record

async with client.connect(assistant_id) as conversation:
    async with play(conversation), record(conversation):
        async for event in conversation: ...
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from ai_video_assistant.errors import ConfigurationError, ConversationError
from ai_video_assistant.voice.conversation import Conversation
from ai_video_assistant.voice.events import (
    AudioChunk,
    AudioCleared,
    AudioPaused,
    AudioResumed,
    Event,
    Reconnected,
)
from ai_video_assistant.voice.protocol import FRAME_BYTES

SAMPLE_RATE_HZ = 16_000
BYTES_PER_MS = 2 * SAMPLE_RATE_HZ // 1000
REPORT_EVERY_S = 0.2
# Of sound that cannot be sent, as while the network is slow.
MAX_WAITING_FRAMES = 100


class Playback:
    """Sound on its way to the loudspeaker, whose thread takes it; and how much of it was taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: deque[tuple[str, bytes]] = deque()
        self._is_paused = False
        self._played: tuple[str, int] = ("", 0)
        # Bytes that come again behind a broken connection, and were played.
        self._skipped = 0

    def note(self, event: Event) -> None:
        """Does what an event asks of whoever plays the sound."""
        match event:
            case AudioChunk(pcm=pcm, tts_id=tts_id):
                with self._lock:
                    self._add(tts_id, pcm)
            case Reconnected(tts_id=tts_id, sound_offset_ms=float(offset_ms)):
                with self._lock:
                    self._go_on_at(tts_id, round(offset_ms * BYTES_PER_MS))
            case AudioCleared() | Reconnected(is_fresh=True):
                with self._lock:
                    self._pieces.clear()
                    self._is_paused, self._skipped = False, 0
            case AudioPaused() | AudioResumed():
                with self._lock:
                    self._is_paused = isinstance(event, AudioPaused)

    def take(self, size: int) -> bytes:
        """The next bytes; silence where there are not enough."""
        taken = bytearray()
        with self._lock:
            while self._pieces and len(taken) < size and not self._is_paused:
                tts_id, pcm = self._pieces.popleft()
                part, rest = pcm[: size - len(taken)], pcm[size - len(taken) :]
                if rest:
                    self._pieces.appendleft((tts_id, rest))
                before = self._played[1] if self._played[0] == tts_id else 0
                self._played = (tts_id, before + len(part))
                taken += part
        return bytes(taken.ljust(size, b"\0"))

    def _add(self, tts_id: str, pcm: bytes) -> None:
        again, self._skipped = pcm[: self._skipped], max(0, self._skipped - len(pcm))
        if fresh := pcm[len(again) :]:
            self._pieces.append((tts_id, fresh))

    def _go_on_at(self, tts_id: str, offset: int) -> None:
        """The next sound of this reply begins at `offset`: what lies behind it comes again."""
        played = self._played[1] if self._played[0] == tts_id else 0
        wanted = b"".join(pcm for kept_id, pcm in self._pieces if kept_id == tts_id)
        self._pieces.clear()
        self._skipped = max(0, played - offset)
        if kept := wanted[: max(0, offset - played)]:
            self._pieces.append((tts_id, kept))

    @property
    def played(self) -> tuple[str, float]:
        """Which reply's sound was taken last, and how many milliseconds of it."""
        with self._lock:
            return self._played[0], self._played[1] / BYTES_PER_MS

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        with self._lock:
            return not self._pieces


@asynccontextmanager
async def play(
    conversation: Conversation, *, device: int | str | None = None
) -> AsyncIterator[Playback]:
    """Plays what the assistant says, and falls silent when it is interrupted.

    Raises ConfigurationError where there is no loudspeaker.
    """
    playback = Playback()

    def fill(out: Any, _frames: int, _time: Any, _status: Any) -> None:
        out[:] = playback.take(len(out))

    # Subscribed before anything else, so that no sound is missed.
    events = conversation.events()
    with _stream("RawOutputStream", fill, device):
        tasks = [asyncio.create_task(_listen(events, playback))]
        if conversation.has_capability("playback_ack"):
            tasks.append(asyncio.create_task(_report(conversation, playback)))
        try:
            yield playback
        finally:
            await _end(tasks)


@asynccontextmanager
async def record(
    conversation: Conversation, *, device: int | str | None = None
) -> AsyncIterator[None]:
    """Sends what the microphone hears. Raises ConfigurationError where there is none."""
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[bytes](MAX_WAITING_FRAMES)

    def keep(pcm: bytes) -> None:
        if heard.full():
            heard.get_nowait()
        heard.put_nowait(pcm)

    def hear(data: Any, _frames: int, _time: Any, _status: Any) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))

    with _stream("RawInputStream", hear, device):
        task = asyncio.create_task(_speak(conversation, heard))
        try:
            yield
        finally:
            await _end([task])


async def _listen(events: AsyncIterator[Event], playback: Playback) -> None:
    try:
        async for event in events:
            playback.note(event)
    except ConversationError:
        return  # told to whoever reads the conversation


async def _report(conversation: Conversation, playback: Playback) -> None:
    reported: tuple[str, float] = ("", 0.0)
    try:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            if (played := playback.played) != reported:
                reported = played
                await conversation.report_played(*played)
    except ConversationError:
        return


async def _speak(conversation: Conversation, heard: asyncio.Queue[bytes]) -> None:
    try:
        while True:
            await conversation.send_audio(await heard.get())
    except ConversationError:
        return


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _stream(kind: str, callback: Any, device: int | str | None) -> Iterator[None]:
    """A stream of the sound card in the conversation's format."""
    try:
        library = importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: without PortAudio itself
        message = 'sound needs PortAudio and `pip install "ai-video-assistant[audio]"`'
        raise ConfigurationError(message) from error
    try:
        stream = getattr(library, kind)(
            samplerate=SAMPLE_RATE_HZ,
            blocksize=FRAME_BYTES // 2,
            channels=1,
            dtype="int16",
            device=device,
            callback=callback,
        )
    except (library.PortAudioError, ValueError) as error:
        raise ConfigurationError(f"no sound: {error}") from error
    with stream:
        yield
