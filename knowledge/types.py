"""What passes between reading, cutting and searching."""

from __future__ import annotations

import dataclasses
from typing import Literal

from providers.types import RerankerSpec

BlockKind = Literal["heading", "paragraph", "list", "code", "table_header", "table_row"]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document's text, `text[start:end]`, with what it is.

    `level` is that of a heading, from 1. `page` counts from 1: a page, slide or sheet; None where
    the format has none. A table is a `table_header` and the `table_row`s that follow it.
    """

    kind: BlockKind
    start: int
    end: int
    page: int | None = None
    level: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """A document as text. Blocks are in order and do not overlap; only white space is between them.

    `image_pages` are pages without text, which only OCR can read.
    """

    text: str
    blocks: tuple[Block, ...]
    page_count: int | None = None
    image_pages: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A chunk before it is stored. `heading` is the path of headings above it, joined by " > ".

    `content` is the text from `char_start` to `char_end`, except that rows of a table get the
    table's header in front.
    """

    ordinal: int
    content: str
    heading: str
    page: int | None
    char_start: int
    char_end: int


@dataclasses.dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is looked for, and where. The caller has checked that the bases may be seen.

    `min_score` is compared with the cosine of a hit; with `keeps_keyword_share`, a hit below it
    stays when its words carry at least that share (0 to 1) of the weight of the query's words.
    `neighbours` chunks before and after each hit are joined to its text; `token_budget` ends the
    list before the hit that would exceed it, but cuts the first at a sentence. `within_s` is for
    all of the search: models are waited for so long that their absence can still be made up for.
    """

    query: str
    knowledge_base_ids: tuple[str, ...]
    limit: int = 5
    min_score: float | None = None
    keeps_keyword_share: float | None = None
    reranker: RerankerSpec | None = None
    neighbours: int = 0
    token_budget: int | None = None
    within_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, and why. Ranks count from 1, None where that leg did not find it.

    `score` is the cosine of query and chunk, -1 to 1, None where there is no vector to compare.
    `keyword_score` sums the idf of the query's words in the chunk; `keyword_share` is that sum as a
    share of the whole query's. `fused_score` orders the hits unless `rerank_score` does.
    """

    chunk_id: int
    knowledge_base_id: str
    knowledge_base_name: str
    document_id: str
    document_name: str
    ordinal: int
    content: str
    heading: str
    page: int | None
    char_start: int
    char_end: int
    score: float | None
    vector_rank: int | None
    keyword_rank: int | None
    keyword_score: float
    keyword_share: float
    fused_score: float
    rerank_score: float | None = None


NoteCode = Literal[
    "vector_skipped", "rerank_skipped", "index_incomplete", "budget_reached", "search_stopped"
]


@dataclasses.dataclass(frozen=True, slots=True)
class SearchNote:
    """Something that the search did without, readable by an operator."""

    code: NoteCode
    message: str
    knowledge_base_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SearchTimings:
    """Milliseconds; `embed_ms` and `rerank_ms` are 0 where nothing was asked."""

    embed_ms: float
    database_ms: float
    rerank_ms: float
    total_ms: float


@dataclasses.dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The hits, best first, and how they came about."""

    hits: tuple[Hit, ...]
    timings: SearchTimings
    notes: tuple[SearchNote, ...] = ()
