"""Waking a worker for a run or a lesson. A hint, no more: what waits is in Postgres.

Hosts look for runs by themselves; what else was not taken up is announced again by sweepers.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerAway

logger = logging.getLogger(__name__)

TASK = "conversations.run"
# A broker that is away or hangs delays its thread only. Beyond so many, hosts find the runs.
MOST_WAITING = 100

_SENDER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wake")
_ROOM = threading.BoundedSemaphore(MOST_WAITING)


def wake(run_id: UUID) -> None:
    """Has a worker take the run up. Returns at once, and never fails."""
    send(TASK, str(run_id))


def send(task: str, *arguments: str | int) -> None:
    """Has a worker do the task of that name. Returns at once, and never fails."""
    if _ROOM.acquire(blocking=False):
        _SENDER.submit(_send, task, arguments)


def wake_after_commit(run_id: UUID) -> None:
    """As `wake`, once the run can be seen by others."""
    transaction.on_commit(lambda: wake(run_id))


def _send(task: str, arguments: tuple[str | int, ...]) -> None:
    try:
        # By its name: the task's module calls this one. What nobody took in time is found.
        current_app.send_task(task, arguments, retry=False, expires=60)
    except (BrokerAway, OSError) as error:
        logger.warning("%s %s has to wait: the broker is away (%s)", task, arguments, error)
    finally:
        _ROOM.release()
