"""How well knowledge is found: questions in two languages over documents written for them.

    make bench BENCH=relevance BENCH_OPTIONS=--misses

Documents go through the product as uploads do (read, cut, embedded by the built-in embedder), and
questions through its search. "vector" and "words" are the orders of each leg alone, "hybrid" is
what a user gets. nDCG@10 weighs grades (2 answers, 1 helps) by rank; a passage counts once, where
it is found first. recall@5 is the share of a question's passages among the first five hits.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import fmean
from typing import Literal

from django.core.files import File

from config.celery import app
from knowledge import actions
from knowledge.models import Chunk, Document, DocumentStatus, KnowledgeBase
from knowledge.search import search
from knowledge.types import Hit, SearchRequest
from providers.catalogue import sync_builtin_models

FOLDER = Path(__file__).resolve().parent / "relevance"
DOCUMENTS = FOLDER / "documents"

Leg = Literal["vector", "words", "hybrid"]
LEGS: tuple[Leg, ...] = ("vector", "words", "hybrid")
# Enough for both legs to show all that they rank; users are shown fewer.
_ALL, _SHOWN = 1000, 10


@dataclasses.dataclass(frozen=True)
class Passage:
    """What answers a question (grade 2) or helps (1): a phrase that is once in the document."""

    document: str
    quote: str
    grade: int

    def is_in(self, document: str, content: str) -> bool:
        """Whether a chunk of the document holds it."""
        return document == self.document and in_one_line(self.quote) in in_one_line(content)


@dataclasses.dataclass(frozen=True)
class Question:
    """What a user asks, and all that answers it."""

    text: str
    language: Literal["en", "zh"]
    kind: Literal["plain", "paraphrase", "identifier", "number", "cross"]
    passages: tuple[Passage, ...]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of one question, by leg."""

    question: Question
    ndcg: Mapping[Leg, float]
    recall: Mapping[Leg, float]


def in_one_line(text: str) -> str:
    """The text with one space for each stretch of them."""
    return " ".join(text.split())


def read_questions() -> list[Question]:
    """The questions of the set."""
    table = tomllib.loads((FOLDER / "questions.toml").read_text(encoding="utf-8"))
    return [
        Question(**{**row, "passages": tuple(Passage(**each) for each in row["passages"])})
        for row in table["question"]
    ]


# --- Measures ----------------------------------------------------------------------------------

# The passages that each hit holds, best hit first.
Ranking = Sequence[frozenset[Passage]]


def dcg(ranking: Ranking, *, depth: int = 10) -> float:
    """Discounted cumulative gain; a passage that was found before gains nothing."""
    seen: set[Passage] = set()
    total = 0.0
    for rank, passages in enumerate(ranking[:depth], 1):
        gain = max((2**each.grade - 1 for each in passages - seen), default=0)
        total += gain / math.log2(rank + 1)
        seen |= passages
    return total


def ndcg(ranking: Ranking, chunks: Iterable[frozenset[Passage]]) -> float:
    """The gain as a share of what the best order of all chunks has."""
    left = [passages for passages in chunks if passages]
    ideal: list[frozenset[Passage]] = []
    while left:
        best = max(left, key=lambda passages: (max(each.grade for each in passages), len(passages)))
        ideal.append(best)
        left = [rest for passages in left if (rest := passages - best)]
    return dcg(ranking) / dcg(ideal)


def recall(ranking: Ranking, passages: Sequence[Passage], *, depth: int = 5) -> float:
    """The share of the passages that the first hits hold."""
    found = frozenset[Passage]().union(*ranking[:depth])
    return len(found) / len(passages)


# --- The product -------------------------------------------------------------------------------


def fill_base(
    paths: Iterable[Path], *, chunk_size: int = 500, chunk_overlap: int = 50
) -> KnowledgeBase:
    """A base with the documents, read and embedded as the workers do it."""
    sync_builtin_models()
    base = actions.create_base(
        None,
        {"name": "Relevance", "chunk_size": chunk_size, "chunk_overlap": chunk_overlap},
    )
    app.conf.task_always_eager = True
    try:
        for path in sorted(paths):
            with path.open("rb") as file:
                actions.add_document(base, File(file), name=path.name)
    finally:
        app.conf.task_always_eager = False
    broken = Document.objects.filter(knowledge_base=base).exclude(status=DocumentStatus.READY)
    if broken.exists():
        raise RuntimeError(f"not ready: {[(row.name, row.error_message) for row in broken]}")
    return base


def measure(base: KnowledgeBase, questions: Sequence[Question]) -> list[Scores]:
    """The scores of each question."""
    chunks = [
        (row.document.name, row.content)
        for row in Chunk.objects.filter(knowledge_base=base).select_related("document")
    ]
    return asyncio.run(_measure(base, questions, chunks))


async def _measure(
    base: KnowledgeBase, questions: Sequence[Question], chunks: Sequence[tuple[str, str]]
) -> list[Scores]:
    async def hits(question: Question, limit: int) -> tuple[Hit, ...]:
        return (await search(SearchRequest(question.text, (base.pk,), limit=limit))).hits

    return [
        _scores(question, await hits(question, _SHOWN), await hits(question, _ALL), chunks)
        for question in questions
    ]


def _scores(
    question: Question,
    shown: Sequence[Hit],
    ranked: Sequence[Hit],
    chunks: Sequence[tuple[str, str]],
) -> Scores:
    def held(document: str, content: str) -> frozenset[Passage]:
        return frozenset(each for each in question.passages if each.is_in(document, content))

    everywhere = [held(*chunk) for chunk in chunks]
    lost = set(question.passages) - frozenset[Passage]().union(*everywhere)
    if lost:
        raise RuntimeError(f"no chunk holds {[each.quote for each in lost]}")
    orders: dict[Leg, list[Hit]] = {
        "vector": _by_rank(ranked, attrgetter("vector_rank")),
        "words": _by_rank(ranked, attrgetter("keyword_rank")),
        "hybrid": list(shown),
    }
    rankings = {
        leg: [held(hit.document_name, hit.content) for hit in hits] for leg, hits in orders.items()
    }
    return Scores(
        question,
        {leg: ndcg(ranking, everywhere) for leg, ranking in rankings.items()},
        {leg: recall(ranking, question.passages) for leg, ranking in rankings.items()},
    )


def _by_rank(hits: Iterable[Hit], rank: Callable[[Hit], int | None]) -> list[Hit]:
    """The hits of one leg in its own order."""
    ranked = [(at, hit) for hit in hits if (at := rank(hit)) is not None]
    return [hit for _, hit in sorted(ranked, key=itemgetter(0))]


# --- The table ---------------------------------------------------------------------------------


def means(scores: Sequence[Scores]) -> dict[Leg, tuple[float, float]]:
    """nDCG@10 and recall@5 of each leg."""
    return {
        leg: (fmean(each.ndcg[leg] for each in scores), fmean(each.recall[leg] for each in scores))
        for leg in LEGS
    }


def print_table(scores: Sequence[Scores]) -> None:
    """One line for all questions, and one for each language and kind."""
    print("| questions | " + " | ".join(f"{leg} nDCG@10 | recall@5" for leg in LEGS) + " |")
    print("| :--- |" + " ---: |" * 2 * len(LEGS))
    groups: dict[str, list[Scores]] = {"all": list(scores)}
    for each in scores:
        names: tuple[str, ...] = (each.question.language, each.question.kind)
        for name in names:
            groups.setdefault(name, []).append(each)
    for name, members in groups.items():
        cells = " | ".join(f"{gain:.3f} | {share:.3f}" for gain, share in means(members).values())
        print(f"| {name} ({len(members)}) | {cells} |")


def print_misses(scores: Iterable[Scores]) -> None:
    """The questions whose hybrid search leaves something to wish for."""
    for each in scores:
        if each.ndcg["hybrid"] < 1:
            gains = "  ".join(f"{leg} {each.ndcg[leg]:.2f}" for leg in LEGS)
            print(f"{gains}  [{each.question.kind}] {each.question.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chunk-size", type=int, default=500)
    parser.add_argument("--overlap", type=int, default=50)
    parser.add_argument("--misses", action="store_true", help="print the questions that miss")
    options = parser.parse_args()
    base = fill_base(
        DOCUMENTS.iterdir(), chunk_size=options.chunk_size, chunk_overlap=options.overlap
    )
    questions = read_questions()
    chunks = Chunk.objects.filter(knowledge_base=base).count()
    documents = Document.objects.filter(knowledge_base=base).count()
    print(f"{len(questions)} questions, {documents} documents, {chunks} chunks")
    scores = measure(base, questions)
    print_table(scores)
    if options.misses:
        print_misses(scores)


if __name__ == "__main__":
    main()
