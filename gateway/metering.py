"""What requests took, put down so that nothing answered is lost and nobody waits for it.

Each event loop puts a line per request into a journal of its own before the answer's last byte is
sent: a process that is killed then leaves the line behind. Every second the journal is cut, and the
part cut off is written to Postgres and deleted; so are parts that dead processes left. Lines go to
the database as they are, unread: whatever is done with each of them here takes time from the
requests. A request's id is the key of its row: written twice, it is counted once. A line that the
database will never take is logged and passed over, so that it holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import fcntl
import itertools
import logging
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

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
from django.utils import timezone

from core.db import in_db
from core.loops import PerLoop
from gateway.models import Route
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
# A journal begins with so much room, and doubles it when it is full, up to so much at once: every
# request waits for that, and a database that is away for hours makes a large journal.
_ROOM_BYTES = 65_536
_MOST_ROOM_AT_ONCE = 4 * 2**20
# Each read lets other threads go first, and this one waits for its turn again.
_READ_BYTES = 2**20
# What a line of a journal ends with, and what follows the last.
_FILLING = b"\n\0"

_encode = msgspec.json.Encoder(decimal_format="string").encode
_numbers = itertools.count(1)

# The rows that were not known yet, and their sums by day; gives when each model was last asked that
# answered. In the order of the sums' key, so that two processes that write at once wait for each
# other instead of locking each other out. What a client made up is the name of no model, and would
# be kept for ever in the sums. Texts and counts that clients and vendors have a say in are bounded
# by what the table takes.
_INSERT = """
WITH record AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r(
        request_id text, key_id bigint, owner_id bigint, endpoint text, model text,
        target_row text, route_id bigint, status smallint, error_type text, error_message text,
        is_streamed boolean, is_aborted boolean, is_cached boolean, is_estimated boolean,
        attempts smallint, input_tokens numeric, output_tokens numeric, cache_read_tokens numeric,
        cache_write_tokens numeric, latency_ms double precision, first_byte_ms double precision,
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
        request_id, key_id, owner_id, endpoint, left(model, 200), left(target_row, 64), route_id,
        status, left(error_type, 64), left(error_message, 500), is_streamed, is_aborted, is_cached,
        is_estimated, attempts, least(greatest(input_tokens, 0), 2147483647),
        least(greatest(output_tokens, 0), 2147483647),
        least(greatest(cache_read_tokens, 0), 2147483647),
        least(greatest(cache_write_tokens, 0), 2147483647), latency_ms, first_byte_ms, cost,
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
), added AS (
    INSERT INTO gateway_usageday AS known (
        day, key_id, key_name, owner_id, model, requests, errors, input_tokens, output_tokens,
        latency_ms, cost
    )
    SELECT day, key_id, coalesce(key.name, ''), summed.owner_id, model, requests, errors,
           input_tokens, output_tokens, latency_ms, cost
    FROM summed LEFT JOIN accounts_apikey AS key ON key.id = summed.key_id
    ORDER BY day, key_id, model
    ON CONFLICT (day, key_id, model) DO UPDATE SET
        requests = known.requests + excluded.requests,
        errors = known.errors + excluded.errors,
        input_tokens = known.input_tokens + excluded.input_tokens,
        output_tokens = known.output_tokens + excluded.output_tokens,
        latency_ms = known.latency_ms + excluded.latency_ms,
        cost = known.cost + excluded.cost
)
SELECT target_row, max(created_at) FROM fresh
WHERE status < 400 AND error_type = '' AND NOT is_cached GROUP BY target_row
"""


class Journal:
    """A file that one event loop appends to. Locked as long as its process lives.

    It is mapped into memory: what is put there is the kernel's at once and outlives the process,
    without a system call for each line. Its room is written in advance, as a disk that is full when
    memory is touched would end the process; so zeros follow the last line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._file = self._open()
        self._map: mmap.mmap | None = None
        self._room = 0
        self._size = 0

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            name = f"{os.getpid()}-{next(_numbers)}-{secrets.token_hex(4)}{_SUFFIX}"
            self._path = self._folder / name
            file = os.open(self._path, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Before it was locked it looked like a part that nobody writes to.
            if os.fstat(file).st_nlink:
                return file
            os.close(file)

    def append(self, line: bytes) -> None:
        """One line, whole or not at all. Raises OSError where the disk has no room for it."""
        end = self._size + len(line)
        if self._map is None or end > self._room:
            self._map = self._larger(end)
        self._map[self._size : end] = line
        self._size = end

    def _larger(self, least: int) -> mmap.mmap:
        room = self._room
        while room < least:
            room += min(max(room, _ROOM_BYTES), _MOST_ROOM_AT_ONCE)
        taken = self._room
        while taken < room:
            written = os.pwrite(self._file, bytes(room - taken), taken)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken += written
        if self._map is None:
            mapped = mmap.mmap(self._file, room)
        else:
            mapped = self._map
            mapped.resize(room)
        self._room = room
        return mapped

    def cut(self) -> None:
        """Leaves what was written to whoever looks for parts, and goes on in a new file."""
        if not self._size:
            return
        file, mapped = self._file, self._map
        self._begin()
        _release(file, mapped)

    def close(self) -> None:
        """Nothing can be appended any more."""
        if not self._size:
            self._path.unlink(missing_ok=True)
        _release(self._file, self._map)
        # Its number is soon another file's.
        self._file, self._map, self._room = -1, None, 0


def _release(file: int, mapped: mmap.mmap | None) -> None:
    """Ends the lock, which is held as long as either is open."""
    if mapped is not None:
        mapped.close()
    os.close(file)


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
        if b"\\u0000" in line:
            line = _encode(_without_zeros(metered)) + b"\n"
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
            logger.warning(
                "the last requests are written at the next start; %d were only in memory",
                len(self._unwritten),
            )
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
        # Somebody may have written and deleted it before we held the lock.
        yield _lock_now(file) and os.fstat(file).st_nlink > 0
    finally:
        os.close(file)


def _lock_now(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_parts(folder: Path) -> None:
    """Writes all parts of journals that no living process writes to any more, and deletes them."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with _locked(path) as is_ours:
            if is_ours:
                with path.open("rb", buffering=_READ_BYTES) as lines:
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
    written = (line for each in lines if (line := each.strip(_FILLING)))
    while batch := list(itertools.islice(written, _BATCH)):
        note_answered(_insert(batch))


def _insert(lines: list[bytes]) -> dict[str, datetime.datetime]:
    """Writes the lines in one statement, or in parts where some cannot be written.

    Returns when each model was last asked that answered.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_INSERT, [(b"[" + b",".join(lines) + b"]").decode()])
            return dict(cursor.fetchall())
    except (DataError, IntegrityError, UnicodeDecodeError) as error:
        if len(lines) == 1:
            logger.error("a request can never be written: %r (%r)", lines[0][:2000], error)
            return {}
        middle = len(lines) // 2
        answered = _insert(lines[:middle])
        for row, at in _insert(lines[middle:]).items():
            answered[row] = max(at, answered.get(row, at))
        return answered


def _without_zeros(metered: Metered) -> Metered:
    """The same without the one character that the database takes in no text."""
    texts = {
        name: value.replace("\0", "")
        for name, value in msgspec.structs.asdict(metered).items()
        if isinstance(value, str)
    }
    return msgspec.structs.replace(metered, **texts)


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
