"""Word that the process is about to stop, for what would otherwise go on for as long as it may.

A server that stops waits for its open answers. Streams and requests that wait for news therefore
ask to be told, and come to their end by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.loops import PerLoop


class _Leave:
    def __init__(self) -> None:
        self.is_near = False
        self.to_be_told: dict[object, Callable[[], None]] = {}


async def _nothing_to_close(leave: _Leave) -> None:
    leave.to_be_told.clear()


_LEAVES: PerLoop[_Leave] = PerLoop(_Leave, _nothing_to_close)


def tell() -> None:
    """Tells everything on the running loop that asked for it. Returns at once."""
    leave = _LEAVES.get()
    leave.is_near = True
    for callback in list(leave.to_be_told.values()):
        callback()


def is_near() -> bool:
    """Whether the running loop has been told to stop."""
    return _LEAVES.get().is_near


@contextmanager
def told(callback: Callable[[], None]) -> Iterator[None]:
    """Has the callback called on this loop when it is told to stop; at once where it has been."""
    leave, key = _LEAVES.get(), object()
    leave.to_be_told[key] = callback
    if leave.is_near:
        callback()
    try:
        yield
    finally:
        leave.to_be_told.pop(key, None)
