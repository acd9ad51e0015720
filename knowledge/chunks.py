"""Chunks and their vectors in Postgres: written in bulk, replaced and deleted as a whole."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from django.db import connection

from knowledge.lexemes import vector_literal
from knowledge.models import Chunk, Document
from knowledge.split import SEPARATOR
from knowledge.types import Piece

# Between two of these a worker looks whether the document is still its own.
STORED_AT_ONCE = 500

# Between the words of a file's name.
_NAME_GAPS = re.compile(r"[-_.+\s]+")

_COLUMNS = (
    "knowledge_base_id, document_id, ordinal, content, heading, page, char_start, char_end, lexemes"
)
# Of a document that has chunks: where its new ones wait until they can take their place.
_ASIDE = "knowledge_chunk_aside"
_WITHOUT_VECTOR = """
select c.id, c.ordinal, d.name, c.heading, c.content
from knowledge_chunk c join knowledge_document d on d.id = c.document_id
where c.document_id = %s and c.ordinal > %s
  and not exists (select from knowledge_chunkvector v where v.space_id = %s and v.chunk_id = c.id)
order by c.ordinal limit %s
"""
# Chunks that were deleted meanwhile drop out; another worker may have been here before.
_ADD_VECTORS = """
insert into knowledge_chunkvector (space_id, chunk_id, embedding)
select %s, held.id, held.vector::halfvec from (
  select c.id, given.vector
  from unnest(%s::bigint[], %s::text[]) as given (id, vector) join knowledge_chunk c using (id)
  order by c.id for key share of c) held
on conflict do nothing
"""
# Nobody adds a vector to a locked chunk: one would appear between the deletion of a chunk's vectors
# and its own. Spaces that are held are not deleted with the same vectors in another order.
_BEFORE_DELETION = (
    "select from knowledge_chunk where document_id = %s order by id for update",
    "select from knowledge_vectorspace where knowledge_base_id = %s order by id for key share",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A chunk that needs a vector."""

    chunk_id: int
    ordinal: int
    document: str
    heading: str
    content: str

    @property
    def embedded(self) -> str:
        """What the embedding model is given: what is above the text says what it is about."""
        above = path_of(self.document, self.heading)
        return f"{above}\n{self.content}" if above else self.content


def path_of(document_name: str, heading: str) -> str:
    """What stands above a chunk: the document's name as words, and its headings.

    Names are given once: a document has the words of its name at the time of its reading.
    """
    stem = document_name.rpartition(".")[0] or document_name
    title = " ".join(_NAME_GAPS.split(stem)).strip()
    return SEPARATOR.join(filter(None, (title, heading)))


def store(
    document: Document,
    pieces: Iterable[Piece],
    *,
    check: Callable[[], None],
    aside: bool = False,
) -> int:
    """Adds the pieces as chunks of the document and counts them. `check` may raise in between.

    Locks nothing. Those put `aside`, where no search sees them, are for `replace`, later in the
    same transaction.
    """
    table = _ASIDE if aside else "knowledge_chunk"
    if aside:
        with connection.cursor() as cursor:
            cursor.execute(
                f"create temporary table {_ASIDE} on commit drop as"  # noqa: S608 - constants
                f" select {_COLUMNS} from knowledge_chunk with no data"
            )
    statement = f"copy {table} ({_COLUMNS}) from stdin"
    stored = 0
    remaining = iter(pieces)
    while batch := list(itertools.islice(remaining, STORED_AT_ONCE)):
        check()
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in batch:
                copy.write_row(_row(document, piece))
        stored += len(batch)
    return stored


def _row(document: Document, piece: Piece) -> tuple[object, ...]:
    return (
        document.knowledge_base_id,
        document.pk,
        piece.ordinal,
        piece.content,
        piece.heading,
        piece.page,
        piece.char_start,
        piece.char_end,
        vector_literal(piece.content, path_of(document.name, piece.heading)),
    )


def without_vector(document_id: str, space_id: int, *, after: int, limit: int) -> list[Text]:
    """The document's next chunks, after an ordinal, that have no vector in the space."""
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_VECTOR, [document_id, after, space_id, limit])
        return [Text(*row) for row in cursor.fetchall()]


def count_vectors(document_id: str, space_id: int) -> int:
    """How many of the document's chunks have a vector in the space."""
    return Chunk.objects.filter(document=document_id, chunkvector__space=space_id).count()


def add_vectors(space_id: int, chunk_ids: Sequence[int], vectors: npt.NDArray[np.float32]) -> int:
    """Stores a unit vector for each chunk; how many were new. One row of `vectors` per chunk."""
    # One template writes a row several times as fast as number by number; half precision knows no
    # more than these digits.
    template = "[" + ",".join(["%.6f"] * vectors.shape[1]) + "]"
    texts = [template % tuple(row) for row in unit_vectors(vectors).tolist()]
    with connection.cursor() as cursor:
        cursor.execute(_ADD_VECTORS, [space_id, list(chunk_ids), texts])
        return int(cursor.rowcount)


def unit_vectors(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same directions with length 1, which half precision holds whatever the model's scale.

    A vector of zeros has no direction, and its cosine is not a number: it gets the neutral one.
    """
    rows = vectors.astype(np.float64)
    rows[~rows.any(axis=1)] = 1.0
    # First by the largest element: squares of huge or tiny numbers would overflow or vanish.
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def replace(document_id: str, base_id: str) -> None:
    """Puts the chunks that were put aside in the place of the document's present ones.

    The caller holds the base and the document's row.
    """
    delete_of_document(document_id, base_id)
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into knowledge_chunk ({_COLUMNS}) select {_COLUMNS} from {_ASIDE}"  # noqa: S608 - constants
            " order by ordinal"
        )


def delete_of_document(document_id: str, base_id: str) -> None:
    """Deletes the document's chunks and their vectors.

    The caller holds the base and the document's row.
    """
    with connection.cursor() as cursor:
        for statement, row_id in zip(_BEFORE_DELETION, (document_id, base_id), strict=True):
            cursor.execute(statement, [row_id])
        cursor.execute(
            "delete from knowledge_chunkvector v using knowledge_chunk c"
            " where v.chunk_id = c.id and c.document_id = %s",
            [document_id],
        )
        cursor.execute("delete from knowledge_chunk where document_id = %s", [document_id])


def delete_of_base(base_id: str) -> list[int]:
    """Deletes all chunks, vectors and spaces of a base; the spaces' ids.

    The caller holds the rows of the base and of all its documents.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select id from knowledge_vectorspace where knowledge_base_id = %s"
            " order by id for update",
            [base_id],
        )
        space_ids = [int(row[0]) for row in cursor.fetchall()]
        delete_spaces(space_ids)
        cursor.execute("delete from knowledge_chunk where knowledge_base_id = %s", [base_id])
    return space_ids


def delete_spaces(space_ids: Sequence[int]) -> None:
    """Deletes spaces with their vectors. The caller holds their rows."""
    with connection.cursor() as cursor:
        for table, column in (("chunkvector", "space_id"), ("vectorspace", "id")):
            cursor.execute(
                f"delete from knowledge_{table} where {column} = any(%s)",  # noqa: S608 - constants
                [list(space_ids)],
            )
