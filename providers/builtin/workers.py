"""A bounded pool of worker processes behind sockets, usable from every event loop of the process.

`lease()` gives a Line to one worker, for one request. Sending never blocks; a line that is closed
early cancels the request and is free for the next one at once. Workers start on demand, are
replaced when they die, and die with this process.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import dataclasses
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from providers.builtin import pipe

logger = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent.parent
_START_TIMEOUT_S = 20.0
_READ_BYTES = 262_144
_LAST_KINDS = frozenset({pipe.END, pipe.FAILED})


class WorkerDied(Exception):
    """The worker process went away, or could not be started."""


@dataclasses.dataclass(eq=False)
class Worker:
    """A process, our end of its socket, and what was read of an unfinished frame."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    reader: pipe.FrameReader = dataclasses.field(default_factory=pipe.FrameReader)
    last_number: int = 0

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends the process now and reaps it."""
        self.socket.close()
        self.process.kill()
        self.process.wait()


def _start(module: str) -> Worker:
    """Starts a worker and waits until it is ready. Raises WorkerDied."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid())],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            start_new_session=True,
        )
    worker = Worker(process, ours)
    ours.settimeout(_START_TIMEOUT_S)
    if not _is_ready(worker):
        worker.kill()
        raise WorkerDied(f"{module} did not start (exit status {process.returncode})")
    ours.setblocking(False)
    return worker


def _is_ready(worker: Worker) -> bool:
    """Reads until the worker says so, or ends, or takes too long."""
    try:
        while data := worker.socket.recv(_READ_BYTES):
            if any(kind == pipe.READY for kind, _, _ in worker.reader.push(data)):
                return True
    except OSError:
        return False
    return False


class Line:
    """A worker for the length of one request, on the running loop."""

    def __init__(self, pool: WorkerPool, worker: Worker) -> None:
        self._pool = pool
        self._worker: Worker | None = worker
        worker.last_number += 1
        self._number = worker.last_number
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._frames: collections.deque[tuple[bytes, bytes]] = collections.deque()
        self._has_died = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop.add_reader(worker.socket, self._read)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Queues a frame; nothing happens on a line whose worker is gone or has finished."""
        if self._worker is None:
            return
        self._unsent += pipe.pack(kind, self._number, payload)
        self._write()

    @property
    def unsent_bytes(self) -> int:
        """How much waits because the worker is busy."""
        return len(self._unsent)

    async def receive(self) -> tuple[bytes, bytes]:
        """The next frame: kind and payload. Raises WorkerDied."""
        while not self._frames:
            if self._has_died or self._worker is None:
                raise WorkerDied("the worker process ended")
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._frames.popleft()

    def close(self) -> None:
        """Cancels what still runs and gives the worker back; awaits nothing."""
        if self._worker is not None:
            self.send(pipe.CANCEL)
        self._detach()

    def _read(self) -> None:
        worker = self._worker
        if worker is None:
            return
        try:
            data = worker.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        for kind, number, payload in worker.reader.push(data):
            if number == self._number:
                self._frames.append((kind, payload))
        self._wake()
        if self._frames and self._frames[-1][0] in _LAST_KINDS:
            # Free for the next caller while this one still plays what was made.
            self._detach()

    def _write(self) -> None:
        worker = self._worker
        if worker is None:
            return
        try:
            sent = worker.socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._lose()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(worker.socket, self._write)
        else:
            self._loop.remove_writer(worker.socket)

    def _lose(self) -> None:
        self._has_died = True
        self._detach(is_usable=False)

    def _detach(self, *, is_usable: bool = True) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._loop.remove_reader(worker.socket)
        self._loop.remove_writer(worker.socket)
        self._wake()
        # Half a frame was sent: nobody else can continue on this socket.
        if is_usable and not self._unsent:
            self._pool.give_back(worker)
        else:
            self._pool.discard(worker)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Worker]"]


class WorkerPool:
    """Up to `limit` processes running `module`."""

    def __init__(self, module: str, *, limit: int) -> None:
        self._module = module
        self.limit = limit
        self._forget()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Starts empty; in a forked child the workers are the parent's."""
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._waiters: collections.deque[Waiter] = collections.deque()
        self._starting = 0
        # The kernel ends a worker together with the thread that started it, so that thread stays.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="workers")

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Line]:
        """A line to a free worker; waits while all are busy. Raises WorkerDied."""
        line = Line(self, await self._acquire())
        try:
            yield line
        finally:
            line.close()

    def warm_up(self, count: int = 1) -> None:
        """Has at least `count` workers started, and returns when they are ready. Blocks."""
        with self._lock:
            missing = min(count, self.limit) - len(self._workers) - self._starting
            self._starting += max(0, missing)
            jobs = [self._starter.submit(self._start_one) for _ in range(missing)]
        for job in jobs:
            job.result()

    def pids(self) -> list[int]:
        """The process ids of the workers that are alive."""
        with self._lock:
            return [worker.process.pid for worker in self._workers if worker.is_alive()]

    def close(self) -> None:
        """Ends every worker."""
        self._starter.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            workers, self._workers, self._idle = self._workers, set(), []
        for worker in workers:
            worker.kill()

    def give_back(self, worker: Worker) -> None:
        """Hands a worker to whoever waits longest, or keeps it for the next."""
        if not worker.is_alive():
            self.discard(worker)
            return
        with self._lock:
            if self._waiters:
                loop, future = self._waiters.popleft()
            else:
                self._idle.append(worker)
                return
        try:
            loop.call_soon_threadsafe(self._hand_over, future, worker)
        except RuntimeError:
            # That loop was closed meanwhile.
            self.give_back(worker)

    def discard(self, worker: Worker) -> None:
        """Takes a dead or unusable worker out; another is started if somebody waits."""
        with self._lock:
            self._workers.discard(worker)
            self._start_if_needed()
        worker.socket.close()
        worker.process.kill()
        # Reaping waits for the kernel; not on an event loop.
        self._starter.submit(worker.process.wait)

    async def _acquire(self) -> Worker:
        while (worker := self._pop_idle()) is not None:
            if worker.is_alive():
                return worker
            self.discard(worker)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Worker] = loop.create_future()
        with self._lock:
            self._waiters.append((loop, future))
            self._start_if_needed()
        try:
            return await future
        except asyncio.CancelledError:
            with self._lock:
                if (loop, future) in self._waiters:
                    self._waiters.remove((loop, future))
            if future.done() and not future.cancelled() and not future.exception():
                self.give_back(future.result())
            raise

    def _pop_idle(self) -> Worker | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _start_if_needed(self) -> None:
        """With the lock held: one more worker for each who waits, within the limit."""
        room = self.limit - len(self._workers) - self._starting
        for _ in range(min(room, len(self._waiters) - self._starting)):
            self._starting += 1
            self._starter.submit(self._start_one)

    def _start_one(self) -> None:
        try:
            worker = _start(self._module)
        except (OSError, WorkerDied) as error:
            logger.error("worker %s: %s", self._module, error)
            with self._lock:
                self._starting -= 1
                waiters, self._waiters = self._waiters, collections.deque()
            for loop, future in waiters:
                loop.call_soon_threadsafe(_fail, future, str(error))
            return
        with self._lock:
            self._starting -= 1
            self._workers.add(worker)
        self.give_back(worker)

    def _hand_over(self, future: asyncio.Future[Worker], worker: Worker) -> None:
        if future.done():
            self.give_back(worker)
        else:
            future.set_result(worker)


def _fail(future: asyncio.Future[Worker], message: str) -> None:
    if not future.done():
        future.set_exception(WorkerDied(message))
