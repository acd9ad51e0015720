"""From a file to something that is found, step by step."""

from __future__ import annotations

import pytest

from knowledge import actions, ingest
from knowledge.models import Chunk, ChunkVector, DocumentStatus, KnowledgeBase

TEXT = "\n\n".join(f"Paragraph {n}. " + "The quick brown fox jumps. " * 12 for n in range(30))


@pytest.mark.django_db(transaction=True)
def test_a_text_becomes_searchable(base: KnowledgeBase) -> None:
    document = actions.add_text(base, name="fox.txt", content=TEXT)
    ingest.prepare(document.pk)
    ingest.embed(document.pk)
    document.refresh_from_db()
    assert (document.error_message, document.status) == ("", DocumentStatus.READY)
    assert document.chunks_total == document.chunks_embedded == Chunk.objects.count()
    assert ChunkVector.objects.count() == Chunk.objects.count() > 10
