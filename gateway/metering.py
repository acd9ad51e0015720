"""What requests took, put down so that nothing answered is lost and nobody waits for it.

Each event loop writes a line per request to a journal of its own before the answer's last byte is
sent: a process that is killed then leaves the line behind. Every second the journal is cut, and the
part cut off is written to Postgres and deleted; so are parts that dead processes left. A request's
id is the key of its row: written twice, it is counted once. A line that the database will never
take is logged and passed over, so that it holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import fcntl
import itertools
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    connection,
    transaction,
)
from django.db.models import CharField
from django.utils import timezone

from core.db import in_db
from core.loops import PerLoop
from gateway.models import Route, UsageRecord
from gateway.types import Metered, Target
from providers.actions import note_answered, note_broken

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 1.0
# Of one statement; a journal that grew while Postgres was away is read and written in several.
_BATCH = 5_000
# Lines kept in memory while the disk takes none.
_MOST_UNWRITTEN = 10_000
_MAX_MESSAGE_CHARS = 500
_SUFFIX = ".jsonl"

# Clients and vendors have a say in some values; the database takes none that is longer or larger.
_LONGEST = {
    field.column: field.max_length
    for field in UsageRecord._meta.concrete_fields
    if isinstance(field, CharField)
}
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_MOST_COUNTED = 2**31 - 1

_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_numbers = itertools.count(1)

# The rows that were not known yet, and their sums by day. In the order of the sums' key, so that
# two processes that write at once wait for each other instead of locking each other out. What a
# client made up is the name of no model, and would be kept for ever in the sums.
_INSERT = """
WITH record AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r(
        request_id text, key_id bigint, owner_id bigint, endpoint text, model text,
        target_row text, route_id bigint, status smallint, error_type text, error_message text,
        is_streamed boolean, is_aborted boolean, is_cached boolean, is_estimated boolean,
        attempts smallint, input_tokens integer, output_tokens integer, cache_read_tokens integer,
        cache_write_tokens integer, latency_ms double precision, first_byte_ms double precision,
        cost numeric, started_at double precision
    )
), fresh AS (
    INSERT INTO gateway_usagerecord (
        request_id, key_id, owner_id, endpoint, model, target_row, route_id, status, error_type,
        error_message, is_streamed, is_aborted, is_cached, is_estimated, attempts, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, latency_ms, first_byte_ms, cost,
        created_at
    )
    SELECT
        request_id, key_id, owner_id, endpoint, model, target_row, route_id, status, error_type,
        error_message, is_streamed, is_aborted, is_cached, is_estimated, attempts, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, latency_ms, first_byte_ms, cost,
        to_timestamp(started_at)
    FROM record
    ON CONFLICT (request_id) DO NOTHING
    RETURNING *
), summed AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, key_id, min(owner_id) AS owner_id,
           CASE WHEN status = 404 AND target_row = '' THEN '' ELSE model END AS model,
           count(*) AS requests, count(*) FILTER (
               WHERE status >= 400 OR error_type <> ''
           ) AS errors,
           sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
           sum(latency_ms) AS latency_ms, sum(cost) AS cost
    FROM fresh GROUP BY 1, 2, 4
)
INSERT INTO gateway_usageday AS known (
    day, key_id, key_name, owner_id, model, requests, errors, input_tokens, output_tokens,
    latency_ms, cost
)
SELECT day, key_id, coalesce(key.name, ''), summed.owner_id, model, requests, errors, input_tokens,
       output_tokens, latency_ms, cost
FROM summed LEFT JOIN accounts_apikey AS key ON key.id = summed.key_id
ORDER BY day, key_id, model
ON CONFLICT (day, key_id, model) DO UPDATE SET
    requests = known.requests + excluded.requests,
    errors = known.errors + excluded.errors,
    input_tokens = known.input_tokens + excluded.input_tokens,
    output_tokens = known.output_tokens + excluded.output_tokens,
    latency_ms = known.latency_ms + excluded.latency_ms,
    cost = known.cost + excluded.cost
"""


class Journal:
    """A file that one event loop appends to. Locked as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = self._open()
        self._size = 0
        self._is_cut_off = False

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        while True:
            name = f"{os.getpid()}-{next(_numbers)}-{secrets.token_hex(4)}{_SUFFIX}"
            file = os.open(self._folder / name, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Before it was locked it looked like a part that nobody writes to.
            if os.fstat(file).st_nlink:
                return file
            os.close(file)

    def append(self, line: bytes) -> None:
        """One line, whole. Raises OSError where the disk does not take all of it."""
        if self._is_cut_off:
            line = b"\n" + line
        written = os.write(self._file, line)
        self._size += written
        self._is_cut_off = written < len(line)
        if self._is_cut_off:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def cut(self) -> None:
        """Leaves what was written to whoever looks for parts, and goes on in a new file."""
        if not self._size:
            return
        fresh = self._open()
        os.close(self._file)
        self._file, self._size, self._is_cut_off = fresh, 0, False

    def close(self) -> None:
        """Nothing can be appended any more."""
        os.close(self._file)
        # Its number is soon another file's.
        self._file = -1


class Meter:
    """Records requests. One per event loop; `record` is all that a request waits for."""

    def __init__(self) -> None:
        self._folder = Path(settings.GATEWAY_JOURNAL_DIR)
        self._journal = Journal(self._folder)
        self._unwritten: list[bytes] = []
        self._failures: dict[tuple[str, int | None], _Failure] = {}
        self._one_at_a_time = asyncio.Lock()
        self._flushing = asyncio.get_running_loop().create_task(self._flush_for_ever())

    def record(self, metered: Metered) -> None:
        """Puts the request down. It survives this process from here on."""
        line = _encode(metered) + b"\n"
        try:
            self._journal.append(line)
        except OSError:
            logger.exception("a request cannot be put down on disk; kept in memory")
            if len(self._unwritten) < _MOST_UNWRITTEN:
                self._unwritten.append(line)

    def note_failure(self, target: Target, message: str, *, is_lasting: bool) -> None:
        """Has the failure of an upstream shown on its row, where operators look."""
        failure = _Failure(message[:_MAX_MESSAGE_CHARS], is_lasting)
        self._failures[target.row_id, target.route_id] = failure

    async def flush(self) -> None:
        """Writes to Postgres what was put down so far. Raises DatabaseError."""
        # A part that another flush of ours is writing would look like somebody else's.
        async with self._one_at_a_time:
            await self._flush()

    async def _flush(self) -> None:
        await in_db(write_parts, self._folder)
        self._journal.cut()
        unwritten, self._unwritten = self._unwritten, []
        failures, self._failures = self._failures, {}
        try:
            await in_db(_write_rest, self._folder, unwritten, failures)
        except BaseException:
            self._unwritten = unwritten + self._unwritten
            self._failures = {**failures, **self._failures}
            raise

    async def close(self) -> None:
        """Writes the last lines, as far as that is possible now."""
        self._flushing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._flushing
        try:
            await self.flush()
        except (DatabaseError, InterfaceError, OSError):
            logger.warning("the last requests are written at the next start")
        self._journal.close()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                await self.flush()
            except (DatabaseError, InterfaceError, OSError):
                logger.exception("requests cannot be written to the database yet")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the part is ours to write: its writer is done with it, and nobody else is at it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Somebody may have written and deleted it before we held the lock.
        yield os.fstat(file).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(file)


def write_parts(folder: Path) -> None:
    """Writes all parts of journals that no living process writes to any more, and deletes them."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with _locked(path) as is_ours:
            if is_ours:
                with path.open("rb") as lines:
                    write_lines(lines)
                path.unlink()


class _Failure(msgspec.Struct, frozen=True):
    message: str
    is_lasting: bool


def _write_rest(
    folder: Path, unwritten: list[bytes], failures: dict[tuple[str, int | None], _Failure]
) -> None:
    write_parts(folder)
    write_lines(unwritten)
    for (row_id, route_id), failure in failures.items():
        _show_failure(row_id, route_id, failure)


def write_lines(lines: Iterable[bytes]) -> None:
    """Writes lines of a journal; those that cannot be read or written are logged, not raised."""
    rows = (row for line in lines if (row := _row(line)) is not None)
    while batch := list(itertools.islice(rows, _BATCH)):
        _insert(batch)
        note_answered(_answered(batch))


def _answered(rows: Iterable[dict[str, Any]]) -> dict[str, datetime.datetime]:
    """When each model was last asked that answered."""
    latest: dict[str, float] = {}
    for row in rows:
        if row["status"] < 400 and not (row["error_type"] or row["is_cached"]):
            asked, at = row["target_row"], row["started_at"]
            latest[asked] = max(at, latest.get(asked, at))
    return {row: datetime.datetime.fromtimestamp(at, datetime.UTC) for row, at in latest.items()}


def _row(line: bytes) -> dict[str, Any] | None:
    """What the line says, as the database can take it."""
    try:
        row = _decode(line)
    except msgspec.DecodeError:
        # A full disk cut it off.
        if line.strip():
            logger.error("a line of the gateway's journal is unreadable: %r", line[:200])
        return None
    for name, value in row.items():
        if isinstance(value, str):
            row[name] = value.replace("\0", "")[: _LONGEST.get(name)]
        elif name in _COUNTS:
            row[name] = min(max(value, 0), _MOST_COUNTED)
    return row


def _insert(rows: list[dict[str, Any]]) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_INSERT, [msgspec.json.encode(rows).decode()])
    except (DataError, IntegrityError) as error:
        if len(rows) == 1:
            logger.error("a request can never be written: %r (%r)", rows[0], error)
            return
        middle = len(rows) // 2
        _insert(rows[:middle])
        _insert(rows[middle:])


def _show_failure(row_id: str, route_id: int | None, failure: _Failure) -> None:
    now = timezone.now()
    if route_id is not None:
        Route.objects.filter(pk=route_id).update(last_error=failure.message, last_failed_at=now)
    if failure.is_lasting:
        note_broken(row_id, failure.message)


_METERS: PerLoop[Meter] = PerLoop(Meter, Meter.close)


def meter() -> Meter:
    """The running loop's meter."""
    return _METERS.get()
