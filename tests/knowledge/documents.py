"""Documents of a known number of chunks, worked on without a worker in between."""

from __future__ import annotations

from django.db import connection

from knowledge import actions, ingest
from knowledge.models import Chunk, Document, KnowledgeBase, VectorSpace


def text_of(chunks: int, *, topic: str = "fox") -> str:
    """A text that a base with chunks of 60 characters cuts into that many."""
    return "\n\n".join(
        f"{n:05} about the {topic}: it is quick and brown, {n}." for n in range(chunks)
    )


def add(base: KnowledgeBase, chunks: int = 5, *, topic: str = "fox") -> Document:
    return actions.add_text(base, name=f"{topic}.txt", content=text_of(chunks, topic=topic))


def work_on(document: Document) -> Document:
    """Does at once whatever the document waits for, as workers do."""
    if ingest.next_step(document) == "prepare":
        ingest.prepare(document.pk)
        document.refresh_from_db()
    if ingest.next_step(document) == "embed":
        ingest.embed(document.pk)
        document.refresh_from_db()
    return document


def make_due(row: Document | VectorSpace) -> None:
    """Lets the time pass that a row waits for: the end of a lease, or the next attempt."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"update {row._meta.db_table} set next_attempt_at = now() - interval '1 s',"
            " lease_until = lease_until - interval '1 hour' where id = %s",
            [row.pk],
        )


def contents(document: Document) -> list[str]:
    return list(
        Chunk.objects.filter(document=document)
        .order_by("ordinal")
        .values_list("content", flat=True)
    )


def vectors_in(space: VectorSpace) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from knowledge_chunkvector where space_id = %s", [space.pk])
        return int(cursor.fetchone()[0])
