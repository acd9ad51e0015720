"""Work that one worker at a time holds: taken by a conditional update, kept alive, fenced.

Postgres is the truth and its clock the only one. Who holds a row knows its `claim`; every write
asks for it, so that a worker whose lease ran out changes nothing any more.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from django.db import Error as DatabaseFault
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from core.db import release_connections
from knowledge.models import Work

LEASE = datetime.timedelta(seconds=30)
RENEW_EVERY_S = 7.0

W = TypeVar("W", bound=Work)

logger = logging.getLogger(__name__)

# Set when this process was told to stop: work that can stop between two steps does so.
STOPPING = threading.Event()


class LeaseLost(Exception):
    """The row was deleted, cancelled, started anew, or belongs to another worker by now."""


def due() -> Q:
    """Rows that nobody holds and whose time has come."""
    is_free = Q(lease_until=None) | Q(lease_until__lt=Now())
    return is_free & (Q(next_attempt_at=None) | Q(next_attempt_at__lte=Now()))


class Lease(Generic[W]):
    """A row that this worker holds."""

    def __init__(self, rows: QuerySet[W], claim: uuid.UUID) -> None:
        self._rows = rows
        self._claim = claim

    @property
    def rows(self) -> QuerySet[W]:
        """The row while it is held, else none."""
        return self._rows.filter(claim=self._claim)

    def lock(self) -> W:
        """The row, locked until the end of the transaction. Raises LeaseLost."""
        row = self.rows.select_for_update(no_key=True).first()
        if row is None:
            raise LeaseLost
        return row

    def check(self) -> None:
        """Raises LeaseLost where the row is not held any more."""
        if not self.rows.exists():
            raise LeaseLost

    def change(self, **values: Any) -> None:
        """Writes fields of the row. Raises LeaseLost."""
        if not self.rows.update(updated_at=Now(), **values):
            raise LeaseLost

    def release(self, **values: Any) -> None:
        """Writes fields of the row and gives it back. Raises LeaseLost."""
        self.change(claim=None, lease_until=None, **values)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renews the lease in the background, however long a step inside the context takes."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._renew, args=(is_over,), name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _renew(self, is_over: threading.Event) -> None:
        while not is_over.wait(RENEW_EVERY_S):
            try:
                if not self.rows.update(lease_until=Now() + LEASE):
                    return
            except DatabaseFault as error:
                # The work will notice itself; until the lease runs out there is hope.
                logger.warning("A lease could not be renewed: %s", type(error).__name__)
            finally:
                release_connections()


def take(model: type[W], pk: object, condition: Q, **values: Any) -> Lease[W] | None:
    """Takes the row if the condition holds and it is free and due, counting the attempt."""
    rows = model._default_manager.filter(pk=pk)
    claim = uuid.uuid4()
    taken = rows.filter(condition & due()).update(
        claim=claim,
        lease_until=Now() + LEASE,
        attempt=F("attempt") + 1,
        next_attempt_at=None,
        updated_at=Now(),
        **values,
    )
    return Lease(rows, claim) if taken else None
