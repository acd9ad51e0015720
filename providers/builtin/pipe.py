"""Frames on the socket between us and a worker process. Standard library only: workers load it.

A frame is: payload length (u32), kind (one byte), request number (u32), payload. The number tells
which request a frame belongs to: what is left of a cancelled one is dropped, not waited for.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator

HEADER = struct.Struct(">IcI")
# From us: a request begins (JSON); more audio; tell the text so far; finish; forget the request.
BEGIN, FEED, PARTIAL, FINISH, CANCEL = b"B", b"F", b"P", b"N", b"X"
# From the worker: ready to work; audio; text (JSON); the request ended; the request failed.
READY, AUDIO, TEXT, END, FAILED = b"R", b"A", b"T", b"E", b"!"
_PR_SET_PDEATHSIG = 1

Frame = tuple[bytes, int, bytes]


def pack(kind: bytes, number: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return HEADER.pack(len(payload), kind, number) + payload


class FrameReader:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            length, kind, number = HEADER.unpack_from(self._buffer, at)
            end = at + HEADER.size + length
            if len(self._buffer) < end:
                break
            yield kind, number, bytes(self._buffer[at + HEADER.size : end])
            at = end
        del self._buffer[:at]


class Pipe:
    """The worker's end: blocking, on the socket that is its standard input."""

    def __init__(self) -> None:
        die_with_parent(int(sys.argv[1]))
        self._socket = socket.socket(fileno=os.dup(0))
        # A library that prints must not write into the frames.
        os.dup2(2, 1)
        self._reader = FrameReader()

    def frames(self) -> Iterator[Frame]:
        """Every frame until the other side goes away."""
        while data := self._socket.recv(65536):
            yield from self._reader.push(data)

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        self._socket.sendall(pack(kind, number, payload))

    def has_news(self) -> bool:
        """Whether something waits to be read."""
        return bool(select.select([self._socket], [], [], 0)[0])


def die_with_parent(parent_pid: int) -> None:
    """From now on this process does not outlive the one that started it, even after kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")
