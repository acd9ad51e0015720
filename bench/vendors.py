"""The fake vendors, with fixed delays, in a process of their own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import httpx

from bench.programs import running

ASR_MS = 50
LLM_FIRST_TOKEN_MS = 100
LLM_TOKEN_MS = 10
TTS_FIRST_BYTE_MS = 80
# How many times faster than real time a vendor makes speech.
TTS_SPEED = 4

FIRST_SENTENCE = "It is sunny in Berlin today. "
SECOND_SENTENCE = "There is no rain to expect. "
SHORT_ANSWER = FIRST_SENTENCE + SECOND_SENTENCE
# Still being written and spoken when somebody interrupts it.
LONG_ANSWER = FIRST_SENTENCE + SECOND_SENTENCE * 16


class Vendors:
    """The running vendors, as seen by the benchmark."""

    # From the end of speech, found at once, to the first sound that the vendors allow.
    floor_ms = (
        ASR_MS + LLM_FIRST_TOKEN_MS + LLM_TOKEN_MS * len(FIRST_SENTENCE.split()) + TTS_FIRST_BYTE_MS
    )

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._origin = base_url.removesuffix("/v1")

    def answer(self, text: str) -> None:
        """From now on the language model says this."""
        script = {"behaviour": {"reply": text}}
        httpx.post(f"{self._origin}/script", json=script, timeout=10).raise_for_status()

    def cancelled(self) -> tuple[int, int]:
        """Streams of language models and of voices that were closed before their end, so far."""
        stats: dict[str, Any] = httpx.get(f"{self._origin}/stats", timeout=10).json()
        return stats["chat"]["cancelled"], stats["speech"]["cancelled"]


@contextlib.contextmanager
def running_vendors() -> Iterator[Vendors]:
    """Starts the vendors and stops them again."""
    options = {
        "reply": SHORT_ANSWER,
        "transcript": "What is the weather in Berlin today?",
        "asr-ms": ASR_MS,
        "llm-first-ms": LLM_FIRST_TOKEN_MS,
        "llm-token-ms": LLM_TOKEN_MS,
        "tts-first-ms": TTS_FIRST_BYTE_MS,
        "tts-speed": TTS_SPEED,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with running([sys.executable, "-m", "providers.fakes", *arguments], until="ready") as fakes:
        yield Vendors(fakes.ready_line.split()[1])
