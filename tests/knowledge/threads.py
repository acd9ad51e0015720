"""Work on a database connection of its own, as another process would do it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections


def elsewhere(work: Callable[[], object]) -> None:
    """Runs the work in a thread with its own connections, and waits for it."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
