"""What takes many megabytes or a second to load, and what not every process needs.

It is loaded once a process, when it is first asked for or ahead of that: in a thread, so that an
event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Python would hand out a half loaded module where two threads import what imports one another.
_LOADING = threading.RLock()


class Late(Generic[T]):
    """One `T` per process, loaded when it is first wanted. Of any thread and loop."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._loaded: list[T] = []

    @property
    def is_loaded(self) -> bool:
        """Whether to ask for it costs nothing any more."""
        return bool(self._loaded)

    def load(self) -> T:
        """It, loaded. Blocks up to a second or two: call it off the event loop."""
        with _LOADING:
            if not self._loaded:
                self._loaded.append(self._load())
                if gc.get_freeze_count():
                    # The process has put aside what it began with, for the garbage collector not
                    # to look through it; what comes later is of that kind.
                    gc.freeze()
            return self._loaded[0]

    async def get(self) -> T:
        """It, loaded in a thread where it was not yet."""
        return self._loaded[0] if self._loaded else await asyncio.to_thread(self.load)
