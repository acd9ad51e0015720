"""Bases with chunks and vectors, written as ingestion writes them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accounts.models import User
from knowledge import chunks, spaces
from knowledge.models import (
    Chunk,
    Document,
    DocumentStatus,
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
