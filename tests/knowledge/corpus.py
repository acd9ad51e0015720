"""Bases with chunks and vectors, written as ingestion writes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from django.db import connection

from accounts.models import User
from knowledge import chunks, spaces
from knowledge.indexes import drop_stray_indexes, index_name
from knowledge.models import (
    Chunk,
    Document,
    DocumentStatus,
    IndexState,
    KnowledgeBase,
    SpaceStatus,
    VectorSpace,
)
from knowledge.types import Piece
from providers.models import Embedder, Llm

_NUMBERS = itertools.count()


def make_embedder(
    owner: User, *, vendor: str = "builtin", dimensions: int | None = None, **fields: object
) -> Llm:
    """An embedding model of the vendor."""
    row: Llm = Embedder.objects.create(
        owner=owner, name="embedder", vendor=vendor, dimensions=dimensions, **fields
    )
    return row


def make_base(
    owner: User, texts: Sequence[str] = (), *, name: str = "base", heading: str = ""
) -> KnowledgeBase:
    """A base with one document whose chunks are the texts; no vectors."""
    base = KnowledgeBase.objects.create(owner=owner, name=name)
    if texts:
        add_document(base, texts, heading=heading)
    return base


def add_document(
    base: KnowledgeBase, texts: Sequence[str], *, name: str = "doc.txt", heading: str = ""
) -> Document:
    """A ready document; its chunks follow each other with a line break between them."""
    document = Document.objects.create(
        knowledge_base=base,
        name=name,
        file_type="txt",
        size=1,
        sha256=f"{next(_NUMBERS):064}",
        status=DocumentStatus.READY,
        chunks_total=len(texts),
    )
    pieces: list[Piece] = []
    at = 0
    for ordinal, text in enumerate(texts):
        pieces.append(Piece(ordinal, text, heading, 1, at, at + len(text)))
        at += len(text) + 1
    chunks.store(document, pieces, check=lambda: None)
    return document


def chunk_ids(base: KnowledgeBase) -> list[int]:
    """The base's chunks in the order of their making."""
    return list(
        Chunk.objects.filter(knowledge_base=base).order_by("pk").values_list("pk", flat=True)
    )


def make_space(
    base: KnowledgeBase,
    embedder: Llm,
    vectors: npt.NDArray[np.float32],
    *,
    status: SpaceStatus = SpaceStatus.ACTIVE,
) -> VectorSpace:
    """A space with one vector for each of the base's first chunks."""
    space = VectorSpace.objects.create(
        knowledge_base=base,
        embedder=embedder,
        fingerprint=spaces.fingerprint(embedder),
        dimensions=vectors.shape[1],
        status=status,
    )
    chunks.add_vectors(space.pk, chunk_ids(base)[: len(vectors)], vectors)
    return space


def fill(base: KnowledgeBase, space: VectorSpace, *, count: int) -> None:
    """Many chunks of a word each, with vectors of the space's length, by the database itself."""
    document = Document.objects.create(
        knowledge_base=base,
        name="many.txt",
        file_type="txt",
        size=1,
        sha256=f"{next(_NUMBERS):064}",
        status=DocumentStatus.READY,
        chunks_total=count,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "with chunk as ("
            " insert into knowledge_chunk (knowledge_base_id, document_id, ordinal, content,"
            "  heading, char_start, char_end, lexemes)"
            " select %s, %s, at, 'word' || at, '', at * 10, at * 10 + 9, ('word' || at)::tsvector"
            " from generate_series(1, %s) at returning id)"
            " insert into knowledge_chunkvector (space_id, chunk_id, embedding)"
            " select %s, id, (select array_agg(random(-1.0, 1.0)) from generate_series(1, %s)"
            "  where id > 0)::halfvec from chunk",
            [base.pk, document.pk, count, space.pk, space.dimensions],
        )
        cursor.execute("analyze knowledge_chunk")
        cursor.execute("analyze knowledge_chunkvector")


def create_index(space: VectorSpace) -> None:
    """The index of a space that is too small for one."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"create index {index_name(space.pk)} on knowledge_chunkvector using hnsw"
            f" ((embedding::halfvec({space.dimensions})) halfvec_cosine_ops)"
            f" where space_id = {space.pk}"
        )
        cursor.execute("analyze knowledge_chunkvector")
    VectorSpace.objects.filter(pk=space.pk).update(index_state=IndexState.READY)


def drop_indexes() -> None:
    """Drops the indexes of all spaces: emptying the tables, as tests do, leaves them."""
    VectorSpace.objects.all().delete()
    drop_stray_indexes()
