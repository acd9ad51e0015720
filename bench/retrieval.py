"""How fast and how faithfully knowledge is found, in bases of different sizes in one table.

    make bench BENCH=retrieval

Fills an embedded Postgres with chunks of 300 Chinese or English characters and their vectors,
builds the indexes as the product does, and searches through `knowledge.search`. The embedding
model answers at once and its time is not counted. "processor" is what a search takes of the
processors, here and in the database, and thus does not know who else was busy. "recall@10" compares
the ten nearest by vector with an exact search in numpy; "words, zh" and "words, en" are the
questions whose vector leads elsewhere, whose chunk was among the five hits because of a snippet of
it in a lot of filler.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from django.db import connection

from bench.synthetic import LANGUAGES, Corpus, Language, Sample
from bench.voice import machine, percentile
from core.db import in_db
from knowledge import indexes, spaces
from knowledge.lexemes import vector_literal
from knowledge.models import (
    Document,
    DocumentStatus,
    IndexState,
    KnowledgeBase,
    SpaceStatus,
    VectorSpace,
)
from knowledge.queries import DEPTH
from knowledge.search import search
from knowledge.types import SearchOutcome, SearchRequest
from providers import registry
from providers.models import Embedder
from providers.types import EmbedderSpec

SHARES = (0.5, 0.17, 0.03, 0.008)
SAMPLES_OF_EACH = 400
_CHUNKS_OF_A_DOCUMENT = 200
_WARM_UP = 20

_CHUNKS = """
copy knowledge_chunk (id, knowledge_base_id, document_id, ordinal, content, heading, char_start,
                      char_end, lexemes) from stdin
"""
_VECTORS = "copy knowledge_chunkvector (space_id, chunk_id, embedding) from stdin (format binary)"


class KnownVectors:
    """EmbeddingModel that knows its questions."""

    vectors: dict[str, npt.NDArray[np.float32]] = {}  # noqa: RUF012 - one for all

    def __init__(self, spec: EmbedderSpec) -> None:
        self._spec = spec

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text."""
        return np.stack([self.vectors[text] for text in texts])


@dataclasses.dataclass
class Base:
    """A base under test, and what is known of its content."""

    share: float
    row: KnowledgeBase
    space: VectorSpace
    chunk_ids: list[int] = dataclasses.field(default_factory=list)
    samples: dict[int, Sample] = dataclasses.field(default_factory=dict)

    def remember(self, chunk_id: int, sample: Sample) -> None:
        """Takes note of a chunk; of a few texts, to ask about."""
        self.chunk_ids.append(chunk_id)
        if len(self.samples) < SAMPLES_OF_EACH:
            self.samples[chunk_id] = sample


@dataclasses.dataclass(frozen=True)
class Question:
    """A query, its vector, and the chunk that it is about."""

    chunk_id: int
    text: str
    vector: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Result:
    """One line of the table."""

    share: float
    chunks: int
    path: str
    times_ms: list[float]
    processor_ms: list[float]
    recall: float
    words: dict[Language, tuple[int, int]]

    def cells(self) -> dict[str, str]:
        """The line, by heading."""
        found = {name: f"{count} of {total}" for name, (count, total) in self.words.items()}
        return {
            "base": f"{self.share:.1%}",
            "chunks": str(self.chunks),
            "vectors": self.path,
            "p50": f"{percentile(self.times_ms, 50):.1f} ms",
            "p95": f"{percentile(self.times_ms, 95):.1f} ms",
            "max": f"{max(self.times_ms):.1f} ms",
            "processor p95": f"{percentile(self.processor_ms, 95):.1f} ms",
            "recall@10": f"{self.recall:.4f}",
            "words, zh": found["zh"],
            "words, en": found["en"],
        }


class Bench:
    """A filled database with bases of different sizes, the last one being the rest."""

    def __init__(self, *, chunks: int, dimensions: int) -> None:
        registry.CLIENTS["builtin", "embedding"] = (__name__, "KnownVectors")
        self._corpus = Corpus(dimensions=dimensions)
        self._random = np.random.default_rng(2)
        self.bases = [self._base(share) for share in (*SHARES, 1 - sum(SHARES))]
        self._vectors = np.empty((chunks, dimensions), np.float32)
        self._fill()

    def build_indexes(self) -> float:
        """Builds what the product would build; the seconds that it took."""
        began = time.monotonic()
        with connection.cursor() as cursor:
            # As autovacuum does within a minute.
            cursor.execute("vacuum analyze knowledge_chunk")
            cursor.execute("vacuum analyze knowledge_chunkvector")
        for base in self.bases:
            if indexes.index_is_wanted(base.space):
                indexes.build_index(base.space.pk)
            base.space.refresh_from_db()
        return time.monotonic() - began

    def measure(self, base: Base, *, queries: int) -> Result:
        """A line of the table."""
        plain = [self._question(base) for _ in range(queries)]
        misled: dict[Language, list[Question]] = {
            language: [self._misleading(base, language) for _ in range(queries // 2)]
            for language in LANGUAGES
        }
        asyncio.run(_ask(base, plain[:_WARM_UP]))
        outcomes, processor_ms = asyncio.run(_ask_watched(base, plain))
        return Result(
            share=base.share,
            chunks=len(base.chunk_ids),
            path="index" if base.space.index_state == IndexState.READY else "exact",
            times_ms=[each.timings.total_ms - each.timings.embed_ms for each in outcomes],
            processor_ms=processor_ms,
            recall=self._recall(base, plain),
            words={language: _found(base, asked) for language, asked in misled.items()},
        )

    def _base(self, share: float) -> Base:
        embedder = Embedder.objects.create(name="bench", vendor="builtin")
        row = KnowledgeBase.objects.create(name=f"{share:.1%}", embedder=embedder)
        space = VectorSpace.objects.create(
            knowledge_base=row,
            embedder=embedder,
            fingerprint=spaces.fingerprint(embedder),
            dimensions=self._corpus.dimensions,
            status=SpaceStatus.ACTIVE,
        )
        return Base(share, row, space)

    # --- Filling ---

    def _fill(self) -> None:
        """Chunks of all bases in turn, as if they had been filled at the same time."""
        count = len(self._vectors)
        owners = self._random.choice(
            len(self.bases), size=count, p=[base.share for base in self.bases]
        )
        documents = [
            self._documents(base, int(np.sum(owners == number)))
            for number, base in enumerate(self.bases)
        ]
        topics: list[int] = []
        with connection.cursor() as cursor, cursor.copy(_CHUNKS) as copy:
            for chunk_id, sample in enumerate(self._corpus.samples(count)):
                base = self.bases[owners[chunk_id]]
                document, ordinal = divmod(len(base.chunk_ids), _CHUNKS_OF_A_DOCUMENT)
                copy.write_row(
                    (
                        chunk_id,
                        base.row.pk,
                        documents[owners[chunk_id]][document].pk,
                        ordinal,
                        sample.text,
                        "",
                        0,
                        len(sample.text),
                        vector_literal(sample.text),
                    )
                )
                topics.append(sample.topic)
                base.remember(chunk_id, sample)
        self._fill_vectors(topics, [self.bases[owner].space.pk for owner in owners])

    def _documents(self, base: Base, chunks: int) -> list[Document]:
        return Document.objects.bulk_create(
            Document(
                knowledge_base=base.row,
                name=f"{number}.txt",
                file_type="txt",
                size=1,
                sha256=f"{number:064}",
                status=DocumentStatus.READY,
                chunks_total=_CHUNKS_OF_A_DOCUMENT,
            )
            for number in range(chunks // _CHUNKS_OF_A_DOCUMENT + 1)
        )

    def _fill_vectors(self, topics: Sequence[int], space_ids: Sequence[int]) -> None:
        with connection.cursor() as cursor, cursor.copy(_VECTORS) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, len(topics), 1000):
                rows = self._corpus.vectors(topics[start : start + 1000])
                self._vectors[start : start + len(rows)] = rows
                for chunk_id, row in enumerate(rows, start):
                    copy.write(_binary_row(space_ids[chunk_id], chunk_id, row))
            copy.write(struct.pack("!h", -1))

    # --- Questions ---

    def _question(self, base: Base) -> Question:
        """About a chunk of the base, by its words and by its vector."""
        chunk_id = int(self._random.choice(list(base.samples)))
        return self._ask_with(base, chunk_id, vector_of=chunk_id)

    def _misleading(self, base: Base, language: Language) -> Question:
        """The words of a chunk of the base with the vector of a chunk of any other topic."""
        of_language = [key for key, each in base.samples.items() if each.language == language]
        chunk_id = int(self._random.choice(of_language))
        while True:
            other = int(self._random.integers(len(self._vectors)))
            if self._vectors[other] @ self._vectors[chunk_id] < 0.2:
                return self._ask_with(base, chunk_id, vector_of=other)

    def _ask_with(self, base: Base, chunk_id: int, *, vector_of: int) -> Question:
        text = self._corpus.question(base.samples[chunk_id])
        while text in KnownVectors.vectors:  # a question has one vector
            text = self._corpus.question(base.samples[chunk_id])
        vector = self._corpus.near(self._vectors[[vector_of]])[0]
        KnownVectors.vectors[text] = vector
        return Question(chunk_id, text, vector)

    def _recall(self, base: Base, questions: Sequence[Question]) -> float:
        """The share of the ten nearest, by numpy, among the ten that the vector leg ranks first."""
        ids = np.asarray(base.chunk_ids)
        stored = self._vectors[ids]
        shares: list[float] = []
        for question, outcome in zip(
            questions, asyncio.run(_ask(base, questions, limit=DEPTH)), strict=True
        ):
            nearest = ids[np.argsort(-(stored @ question.vector))[:10]]
            ranked = {hit.chunk_id for hit in outcome.hits if (hit.vector_rank or 11) <= 10}
            shares.append(len(ranked & set(nearest.tolist())) / len(nearest))
        return float(np.mean(shares))


def _binary_row(space_id: int, chunk_id: int, vector: npt.NDArray[np.float32]) -> bytes:
    """A row of COPY's binary format: two numbers and a halfvec."""
    embedding = struct.pack("!HH", len(vector), 0) + vector.astype(">f2").tobytes()
    keys = struct.pack("!hiqiq", 3, 8, space_id, 8, chunk_id)
    return keys + struct.pack("!i", len(embedding)) + embedding


async def _ask(base: Base, questions: Sequence[Question], *, limit: int = 5) -> list[SearchOutcome]:
    return [
        await search(SearchRequest(question.text, (base.row.pk,), limit=limit))
        for question in questions
    ]


async def _ask_watched(
    base: Base, questions: Sequence[Question]
) -> tuple[list[SearchOutcome], list[float]]:
    """The outcomes, and the milliseconds of processor time that each took."""
    servers = await in_db(_servers)
    outcomes: list[SearchOutcome] = []
    processor_ms: list[float] = []
    for question in questions:
        before = _processor_ms(servers)
        outcomes += await _ask(base, [question])
        processor_ms.append(_processor_ms(servers) - before)
    return outcomes, processor_ms


def _servers() -> list[Path]:
    """Where Linux counts the time of the database's processes on this machine."""
    with connection.cursor() as cursor:
        cursor.execute("select pid from pg_stat_activity where backend_type = 'client backend'")
        return [Path(f"/proc/{pid}/schedstat") for (pid,) in cursor.fetchall()]


def _processor_ms(servers: Sequence[Path]) -> float:
    """The time of this process and of the servers so far; 0 for those that Linux does not count."""
    counted = [path.read_text(encoding="ascii") for path in servers if path.exists()]
    return time.process_time() * 1e3 + sum(int(text.split()[0]) for text in counted) / 1e6


def _found(base: Base, questions: Sequence[Question]) -> tuple[int, int]:
    """How many questions found their chunk, and how many there were."""
    outcomes = asyncio.run(_ask(base, questions))
    found = [
        question.chunk_id in {hit.chunk_id for hit in outcome.hits}
        for question, outcome in zip(questions, outcomes, strict=True)
    ]
    return sum(found), len(found)


def _print_table(results: Sequence[Result]) -> None:
    lines = [result.cells() for result in results]
    print(" | ".join(["", *lines[0], ""]).strip())
    print("|" + " ---: |" * len(lines[0]))
    for line in lines:
        print(" | ".join(["", *line.values(), ""]).strip())


def run(*, chunks: int, dimensions: int, queries: int) -> list[Result]:
    """Measures and prints; the lines of the table."""
    print(f"machine: {machine()}")
    began = time.monotonic()
    bench = Bench(chunks=chunks, dimensions=dimensions)
    print(f"{chunks} chunks, {dimensions} dimensions: filled in {time.monotonic() - began:.0f} s")
    print(f"statistics and indexes: {bench.build_indexes():.0f} s", flush=True)
    results = [bench.measure(base, queries=queries) for base in bench.bases]
    _print_table(results)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=200, help="of each base")
    options = parser.parse_args()
    run(chunks=options.chunks, dimensions=options.dimensions, queries=options.queries)


if __name__ == "__main__":
    main()
