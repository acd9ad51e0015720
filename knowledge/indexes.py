"""The HNSW index of each large vector space: a partial one, built in the background.

An index that all spaces shared would lose most neighbours of a small base without a word; one for
each finds them, and a small space needs none.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from datetime import timedelta

from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from psycopg import sql

from knowledge.models import IndexState, VectorSpace
from knowledge.statistics import forget_statistics

# Up to so many vectors, comparing with all of them takes less than 15 ms.
INDEXED_FROM = 8_000
# What pgvector's index takes of half-precision numbers.
MAX_DIMENSIONS = 4_000
RETRY_FAILED_AFTER = timedelta(hours=1)

_PREFIX = "knowledge_vectors_"
# One build at a time on the server: a second one would only wait for the table, and both take a
# whole processor that calls need. Advisory locks are shared by everything in the database.
_LOCK = 0x6B6E6F77
_MIN_MEMORY_MB, _MAX_MEMORY_MB = 64, 1024

logger = logging.getLogger(__name__)


def index_name(space_id: int) -> str:
    """The name of a space's index."""
    return f"{_PREFIX}{space_id}"


def index_is_wanted(space: VectorSpace) -> bool:
    """Whether `build_index` has something to do. Cheap enough to be asked every few seconds."""
    if space.dimensions is None or space.dimensions > MAX_DIMENSIONS:
        return False
    match IndexState(space.index_state):
        case IndexState.READY:
            return False
        case IndexState.BUILDING:
            return not _somebody_builds()
        case IndexState.FAILED:
            waited = timezone.now() - space.updated_at
            return waited > RETRY_FAILED_AFTER and _is_large(space.pk)
        case IndexState.NONE:
            return _is_large(space.pk) and not _somebody_builds()


def build_index(space_id: int) -> None:
    """Makes the space's index and lets searches use it; at once where that is done already.

    Returns without it where another build is on, the space is gone or too small: whoever asks
    `index_is_wanted` asks again. A failure stands on the row. Takes no transaction of the caller.
    """
    with _alone() as is_alone:
        if not is_alone:
            return
        space = VectorSpace.objects.filter(pk=space_id).first()
        if space is None or space.dimensions is None or space.dimensions > MAX_DIMENSIONS:
            return
        if not _is_large(space_id):
            # It has shrunk; what a killed build of it left goes as well.
            _note(space_id, IndexState.NONE)
            _drop(space_id)
            return
        try:
            _build(space_id, space.dimensions)
        except DatabaseError as error:
            logger.exception("the index of vector space %s failed", space_id)
            _note(space_id, IndexState.FAILED, str(error).partition("\n")[0])
            return
        if not _note(space_id, IndexState.READY):
            _drop(space_id)  # the space was deleted meanwhile


def drop_index(space_id: int) -> None:
    """Drops the index of a deleted space, after the caller's transaction.

    It waits for searches that use the table. While an index is built it does nothing, as the two
    would wait for each other: `drop_stray_indexes` comes by later.
    """
    transaction.on_commit(functools.partial(_drop_alone, space_id))


def set_aside(space_id: int) -> None:
    """Drops the index of a space that is about to grow by much; searches are exact until another.

    Whoever asks `index_is_wanted` gets it built again. Does nothing while an index is built. Takes
    no transaction of the caller.
    """
    with _alone() as is_alone:
        if is_alone and _note(space_id, IndexState.NONE):
            _drop(space_id)


def drop_stray_indexes() -> int:
    """Drops indexes whose space is gone, as a killed worker leaves them; how many.

    None while an index is built: they would wait for each other, and there is time.
    """
    with _alone() as is_alone:
        return _drop_strays() if is_alone else 0


def count_vectors(space_id: int) -> int:
    """How many vectors the space has."""
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from knowledge_chunkvector where space_id = %s", [space_id])
        return int(cursor.fetchone()[0])


def _drop_strays() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select substr(indexrelid::regclass::text, %s)::bigint from pg_index"
            " where indrelid = 'knowledge_chunkvector'::regclass"
            " and indexrelid::regclass::text ~ %s",
            [len(_PREFIX) + 1, f"^{_PREFIX}[0-9]+$"],
        )
        indexed = {int(row[0]) for row in cursor.fetchall()}
    strays = indexed - set(VectorSpace.objects.filter(pk__in=indexed).values_list("pk", flat=True))
    for space_id in strays:
        _drop(space_id)
    return len(strays)


def _build(space_id: int, dimensions: int) -> None:
    """Raises DatabaseError. A valid index stays; an invalid one is what a killed build left."""
    if _is_valid(space_id):
        return
    _drop(space_id)
    _note(space_id, IndexState.BUILDING)
    with _settings(space_id, dimensions), connection.cursor() as cursor:
        cursor.execute(_statement(space_id, dimensions).as_string(cursor.connection))
        # Without figures of the new rows the planner may not take the index.
        cursor.execute("analyze knowledge_chunkvector (space_id, chunk_id)")
        cursor.execute("analyze knowledge_chunk")
    forget_statistics()


def _statement(space_id: int, dimensions: int) -> sql.Composed:
    return sql.SQL(
        "create index concurrently {name} on knowledge_chunkvector"
        " using hnsw ((embedding::halfvec({dimensions})) halfvec_cosine_ops)"
        " with (m = 16, ef_construction = 128) where space_id = {space}"
    ).format(
        name=sql.Identifier(index_name(space_id)),
        dimensions=sql.SQL(str(int(dimensions))),
        space=sql.Literal(space_id),
    )


def _drop_alone(space_id: int) -> None:
    with _alone() as is_alone:
        if is_alone:
            _drop(space_id)


def _drop(space_id: int) -> None:
    """The caller is alone: dropping and building wait for each other's transactions."""
    statement = "drop index concurrently if exists {}"
    with connection.cursor() as cursor:
        name = sql.Identifier(index_name(space_id))
        cursor.execute(sql.SQL(statement).format(name).as_string(cursor.connection))


def _is_valid(space_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select indisvalid from pg_index where indexrelid = to_regclass(%s)",
            [index_name(space_id)],
        )
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def _is_large(space_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from ("
            "select from knowledge_chunkvector where space_id = %s limit %s) counted",
            [space_id, INDEXED_FROM + 1],
        )
        return bool(cursor.fetchone()[0] > INDEXED_FROM)


def _note(space_id: int, state: IndexState, error: str = "") -> bool:
    """Writes the state to the row; whether there is one."""
    return bool(
        VectorSpace.objects.filter(pk=space_id).update(
            index_state=state, index_error=error[:500], updated_at=timezone.now()
        )
    )


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    """Whether nobody else builds or drops an index.

    The lock dies with the session, a killed worker's as well: the server ends an orphaned build
    first, and the next one finds its index valid.
    """
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", [_LOCK])
        (is_alone,) = cursor.fetchone()
    try:
        yield bool(is_alone)
    finally:
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_unlock(%s)", [_LOCK])


def _somebody_builds() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select exists (select from pg_locks where locktype = 'advisory' and classid = 0"
            " and objid = %s and granted"
            " and database = (select oid from pg_database where datname = current_database()))",
            [_LOCK],
        )
        return bool(cursor.fetchone()[0])


@contextlib.contextmanager
def _settings(space_id: int, dimensions: int) -> Iterator[None]:
    """Memory for the whole index, as far as sensible; past it the build takes many times longer.

    No parallel workers: they need more shared memory than containers have, and calls need the
    processors. The session goes back to a pool, hence the end.
    """
    with connection.cursor() as cursor:
        needed_mb = count_vectors(space_id) * (2 * dimensions + 600) * 5 // 4 // 2**20
        memory_mb = min(_MAX_MEMORY_MB, max(_MIN_MEMORY_MB, needed_mb))
        cursor.execute(f"set maintenance_work_mem = '{memory_mb}MB'")
        cursor.execute("set max_parallel_maintenance_workers = 0")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("reset maintenance_work_mem")
            cursor.execute("reset max_parallel_maintenance_workers")
