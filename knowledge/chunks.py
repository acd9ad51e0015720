"""Chunks and their vectors in Postgres: written in bulk, replaced and deleted as a whole."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
from django.db import connection

from knowledge.lexemes import vector_literal
from knowledge.models import Chunk, Document
from knowledge.types import Piece

# Between two of these a worker looks whether the document is still its own.
STORED_AT_ONCE = 500

_COPY = """
copy knowledge_chunk (knowledge_base_id, document_id, ordinal, content, heading, page, char_start,
                      char_end, lexemes) from stdin
"""
_WITHOUT_VECTOR = """
select c.id, c.ordinal, c.heading, c.content from knowledge_chunk c
where c.document_id = %s and c.ordinal > %s
  and not exists (select from knowledge_chunkvector v where v.space_id = %s and v.chunk_id = c.id)
order by c.ordinal limit %s
"""
# Chunks that were deleted meanwhile drop out; another worker may have been here before.
_ADD_VECTORS = """
insert into knowledge_chunkvector (space_id, chunk_id, embedding)
select %s, c.id, given.vector::halfvec
from unnest(%s::bigint[], %s::text[]) as given (id, vector) join knowledge_chunk c using (id)
on conflict do nothing
"""
_FREEZE = (
    "select from knowledge_knowledgebase where id = %s for share",
    "select from knowledge_vectorspace where knowledge_base_id = %s order by id for share",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A chunk that needs a vector."""

    chunk_id: int
    ordinal: int
    heading: str
    content: str

    @property
    def embedded(self) -> str:
        """What the embedding model is given: the headings say what the text is about."""
        return f"{self.heading}\n{self.content}" if self.heading else self.content


def store(document: Document, pieces: Iterable[Piece], *, check: Callable[[], None]) -> int:
    """Adds the pieces as chunks of the document and counts them. `check` may raise in between."""
    stored = 0
    remaining = iter(pieces)
    while batch := list(itertools.islice(remaining, STORED_AT_ONCE)):
        check()
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
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
        vector_literal(piece.content, piece.heading),
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


def delete_of_document(document_id: str, base_id: str) -> None:
    """Deletes the document's chunks and their vectors. The caller holds the document's row."""
    with connection.cursor() as cursor:
        _freeze_vectors(base_id)
        cursor.execute(
            "delete from knowledge_chunkvector v using knowledge_chunk c"
            " where v.chunk_id = c.id and c.document_id = %s",
            [document_id],
        )
        cursor.execute("delete from knowledge_chunk where document_id = %s", [document_id])


def delete_of_base(base_id: str) -> list[int]:
    """Deletes all chunks, vectors and spaces of a base; the spaces' ids.

    The caller holds the rows of all its documents.
    """
    with connection.cursor() as cursor:
        cursor.execute("select from knowledge_knowledgebase where id = %s for update", [base_id])
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


def _freeze_vectors(base_id: str) -> None:
    """Until the end of the transaction nobody adds vectors to the base for another document.

    Otherwise one could appear between the deletion of a chunk's vectors and that of the chunk.
    """
    with connection.cursor() as cursor:
        for statement in _FREEZE:
            cursor.execute(statement, [base_id])
