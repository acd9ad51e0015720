"""Waiting for the documents of a knowledge base: what both clients have in common. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ai_video_assistant.errors import DocumentFailedError, WaitTimeoutError
from ai_video_assistant.models import Document

FIRST_LOOK_S = 0.2
LONGEST_LOOK_S = 2.0
_FAILED = {"failed", "cancelled"}


class Waiting:
    """One wait: how long until the next look, and when it is over."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s
        self._pause_s = FIRST_LOOK_S

    def next_look(self) -> float:
        """Seconds until the next look. Raises WaitTimeoutError."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise WaitTimeoutError(f"the documents were not ready within {self._timeout_s:g} s")
        pause_s, self._pause_s = self._pause_s, min(LONGEST_LOOK_S, self._pause_s * 1.5)
        return min(pause_s, left_s)


def are_ready(documents: Iterable[Document]) -> bool:
    """Whether all can be searched. Raises DocumentFailedError for one that never will be."""
    states = []
    for document in documents:
        if document.status in _FAILED:
            raise DocumentFailedError(document)
        states.append(document.status)
    return all(state == "completed" for state in states)
