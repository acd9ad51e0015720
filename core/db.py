"""The only bridge from async code to the database.

A sync function is the unit of database work; async code awaits `in_db(function, …)`. It runs in a
small pool of threads of its own: asgiref's default would put all sockets of a process on one.
Nothing lazy may come back: no model instance with unread relations, no queryset.
Each call takes a connection from the process's pool and gives it back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

P = ParamSpec("P")
R = TypeVar("R")

_THREADS = ThreadPoolExecutor(max_workers=8, thread_name_prefix="db")


async def in_db(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs database work off the event loop and returns its plain result."""

    @functools.wraps(function)
    def work() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(work, thread_sensitive=False, executor=_THREADS)()


def release_connections() -> None:
    """Gives this thread's connections back to the pool; call it before a long wait.

    The next query takes one again. A connection in a transaction is kept.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
