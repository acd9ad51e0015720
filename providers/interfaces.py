"""What every model client offers. `providers.registry` finds the client for a spec.

Audio is pcm_s16le, 16 000 Hz, mono, everywhere inside the product; clients convert at their edge.
Every failure is raised as `core.errors.ProviderError` (permanent or not), from wherever the stream
has come to. Closing a stream closes the request to the vendor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from providers.types import BrainPart, BrainRequest, ChatPart, ChatRequest, Transcript

SAMPLE_RATE_HZ = 16_000


class ChatModel(Protocol):
    """A language model."""

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatPart]]:
        """The answer as it is made; the last part is a ChatEnd. Leaving the context cancels."""
        ...


class Brain(Protocol):
    """A service that answers in the place of a model, and keeps the conversation."""

    def stream(
        self, request: BrainRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[BrainPart]]:
        """The answer as it is made; the last part is a ChatEnd. Leaving the context cancels."""
        ...


class Utterance(Protocol):
    """One stretch of speech being recognised."""

    def feed(self, pcm: bytes) -> None:
        """Adds audio. Never blocks and never awaits."""
        ...

    async def partial(self) -> str:
        """The text so far, or "" where the recogniser works on whole utterances."""
        ...

    async def finish(self) -> Transcript:
        """The final text of all audio that was fed. Silence gives an empty text."""
        ...


class Recogniser(Protocol):
    """A speech recogniser."""

    def listen(self) -> AbstractAsyncContextManager[Utterance]:
        """Begins one utterance. Leaving the context frees everything, finished or not."""
        ...


class Speaker(Protocol):
    """A voice."""

    def speak(self, text: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The spoken text as PCM pieces of whole samples. Leaving the context stops synthesis."""
        ...


class EmbeddingModel(Protocol):
    """An embedding model."""

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, shape (len(texts), dimensions)."""
        ...


class RerankModel(Protocol):
    """A model that judges how well texts answer a query."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in the order of the texts; higher is better, the scale is its own."""
        ...
