"""Search in knowledge bases: by meaning and by words in one statement, then judged and trimmed.

Nothing that a model vendor does ends a search: without the query's vector the words still find,
without the reranker the fused order stands, and a note says so. Vendors are waited for only so long
that this still fits into the time of the search. No database connection is held while a vendor is
asked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import OperationalError, connection, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from core.db import in_db
from core.errors import ProviderError
from knowledge import fusion, spaces
from knowledge.chunks import unit_vectors
from knowledge.models import (
    Chunk,
    IndexState,
    SearchRecord,
    SearchSource,
    SpaceStatus,
    VectorSpace,
)
from knowledge.queries import DEPTH, Branch, Hybrid, exact_count, hybrid
from knowledge.statistics import Keywords, last_result, weigh
from knowledge.types import Hit, SearchNote, SearchOutcome, SearchRequest, SearchTimings
from providers.registry import embedding_model, rerank_model
from providers.specs import embedder_spec
from providers.tokens import CJK
from providers.types import EmbedderSpec

EMBED_WITHIN_S = 4.0
RERANK_WITHIN_S = 4.0
# Of the time for a whole search, models leave the statement so much: this share, or less.
STATEMENT_SHARE, STATEMENT_S = 0.25, 0.5
RERANKED_HITS = 40
KEPT_RECORDS = 500
# Small embedding models read 512 tokens and refuse more: about so many characters.
_MAX_QUERY_CHARS, _MAX_CJK_CHARS = 2_000, 480

# Local to the transaction that Postgres makes of one string: connections are pooled. The index scan
# goes on until it has enough; without sorting, an index that is there is taken whatever the planner
# expects. Scans of whole tables, parallel workers and compiled expressions cost more to begin with
# than a search of milliseconds has. Nobody waits for one of many seconds.
_SETTINGS = """
set local hnsw.ef_search = 64; set local hnsw.iterative_scan = relaxed_order;
set local hnsw.max_scan_tuples = 40000; set local enable_sort = off; set local enable_seqscan = off;
set local max_parallel_workers_per_gather = 0; set local jit = off;
set local statement_timeout = '10s';
"""

_BASES = """
select base.id, base.name, (select coalesce(sum(document.chunks_total), 0)::bigint
  from knowledge_document document where document.knowledge_base_id = base.id)
from knowledge_knowledgebase base where base.id = any(%s)
"""

# Of each base, what is older than the records that are kept.
_REMOVE_OLD_RECORDS = """
delete from knowledge_searchrecord r using (
  select base.id, newest.created_at from unnest(%s::text[]) as base (id), lateral (
    select created_at from knowledge_searchrecord
    where knowledge_base_id = base.id order by created_at desc offset %s limit 1) newest) old
where r.knowledge_base_id = old.id and r.created_at <= old.created_at
"""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Space:
    """The vectors of a base, and the model that compares with them."""

    base_id: str
    space_id: int
    dimensions: int
    fingerprint: str
    embedder: EmbedderSpec
    is_indexed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What is searched: bases by id with their names, their spaces, and the query's words."""

    names: Mapping[str, str]
    spaces: tuple[_Space, ...]
    keywords: Keywords
    notes: tuple[SearchNote, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Embedded:
    """The spaces that can be searched, each with the number of its model's vector."""

    spaces: tuple[tuple[_Space, int], ...] = ()
    vectors: tuple[npt.NDArray[np.float32], ...] = ()
    notes: tuple[SearchNote, ...] = ()


class _Clock:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    def limit_s(self, request: SearchRequest, *, at_most_s: float, share: float = 1.0) -> float:
        """How long a model may take: a share of what is left beside the statement."""
        if request.within_s is None:
            return at_most_s
        kept = min(STATEMENT_S, request.within_s * STATEMENT_SHARE)
        left = request.within_s - kept - self.ms / 1000
        return max(0.0, min(at_most_s, left * share))


async def search(request: SearchRequest) -> SearchOutcome:
    """The best hits of the bases, with notes on what the search did without.

    Bases that do not exist hold nothing. A failing embedding model or reranker is a note.
    """
    clock = _Clock()
    query = _clean(request.query)
    if not query or not request.knowledge_base_ids or request.limit < 1:
        return SearchOutcome((), SearchTimings(0, 0, 0, clock.ms))
    plan = await in_db(_look_up, query, request.knowledge_base_ids)
    database_ms, embedding = clock.ms, _Clock()
    # Where a reranker waits for its turn, both have half.
    embed_s = clock.limit_s(
        request, at_most_s=EMBED_WITHIN_S, share=0.5 if request.reranker else 1.0
    )
    embedded = await _embed(query, plan.spaces, within_s=embed_s)
    embed_ms, finding = embedding.ms, _Clock()
    found, find_notes = await in_db(_best, plan, embedded, request)
    database_ms += finding.ms
    reranking = _Clock()
    rerank_s = clock.limit_s(request, at_most_s=RERANK_WITHIN_S)
    hits, rerank_notes = await _rerank(query, found, request, within_s=rerank_s)
    rerank_ms, joining = reranking.ms, _Clock()
    hits, trim_notes = await _trim(hits, request)
    return SearchOutcome(
        hits=tuple(hits),
        timings=SearchTimings(
            embed_ms=embed_ms if plan.spaces else 0,
            database_ms=database_ms + joining.ms,
            rerank_ms=rerank_ms if request.reranker else 0,
            total_ms=clock.ms,
        ),
        notes=(*plan.notes, *embedded.notes, *find_notes, *rerank_notes, *trim_notes),
    )


def _needed(request: SearchRequest) -> int:
    """How many hits to read, so that enough remain of them; each is a text to be fetched."""
    spare = 4 * request.limit
    return max(20, spare, RERANKED_HITS if request.reranker else 0)


def _clean(query: str) -> str:
    """The query as Postgres and embedding models take it."""
    text = query[: _MAX_QUERY_CHARS * 2].replace("\0", " ").encode(errors="replace").decode()
    text = text.strip()[:_MAX_QUERY_CHARS]
    cjk = itertools.islice(CJK.finditer(text), _MAX_CJK_CHARS, None)
    return text[: beyond.start()] if (beyond := next(cjk, None)) else text


# --- What is there ------------------------------------------------------------------------------


def _look_up(query: str, base_ids: Sequence[str]) -> _Plan:
    """Each trip to the database counts: somebody may be waiting for a spoken answer."""
    bases = _bases(base_ids)
    usable: list[_Space] = []
    notes: list[SearchNote] = []
    for base in bases:
        if problem := _problem(base.space):
            # Who has no chunks yet lacks no vectors.
            notes += [_skipped(problem, base.pk)] if base.chunks else []
        elif base.space is not None and base.space.dimensions is not None:
            usable.append(_as_space(base.space, base.space.dimensions))
    held = [base.pk for base in bases]
    keywords = weigh(query, held, searched_rows=sum(base.chunks for base in bases))
    return _Plan({base.pk: base.name for base in bases}, tuple(usable), keywords, tuple(notes))


@dataclasses.dataclass(frozen=True, slots=True)
class _Base:
    pk: str
    name: str
    chunks: int
    space: VectorSpace | None


def _bases(base_ids: Sequence[str]) -> list[_Base]:
    """The bases with their active spaces. Two plain queries take half the time of a joined one."""
    wanted = [each for each in base_ids if "\0" not in each]
    active = VectorSpace.objects.filter(knowledge_base__in=wanted, status=SpaceStatus.ACTIVE)
    spaces_of = {
        space.knowledge_base_id: space for space in active.select_related("embedder__provider")
    }
    with connection.cursor() as cursor:
        cursor.execute(_BASES, [wanted])
        return [
            _Base(pk, name, chunks, spaces_of.get(pk)) for pk, name, chunks in cursor.fetchall()
        ]


def _as_space(space: VectorSpace, dimensions: int) -> _Space:
    return _Space(
        base_id=space.knowledge_base_id,
        space_id=space.pk,
        dimensions=dimensions,
        fingerprint=space.fingerprint,
        embedder=embedder_spec(space.embedder),
        is_indexed=space.index_state == IndexState.READY,
    )


def _problem(space: VectorSpace | None) -> str:
    """Why a base cannot be searched by meaning, or ""."""
    if space is None or space.dimensions is None:
        return _("There are no vectors yet.")
    if spaces.is_stale(space):
        return _("The embedding model was changed; its vectors are being made anew.")
    if not spaces.is_ready_for_use(space):
        return _("The embedding model is disabled.")
    return ""


def _skipped(reason: str, base_id: str) -> SearchNote:
    text = _("Searched by words only: %(reason)s") % {"reason": reason}
    return SearchNote("vector_skipped", text, base_id)


# --- The query's vectors ------------------------------------------------------------------------


async def _embed(query: str, wanted: Sequence[_Space], *, within_s: float) -> _Embedded:
    """The query as each distinct model sees it. Models that fail leave their bases to the words."""
    by_model = {space.fingerprint: space.embedder for space in wanted}
    answers = await asyncio.gather(
        *(_embed_with(spec, query, within_s=within_s) for spec in by_model.values())
    )
    vectors: list[npt.NDArray[np.float32]] = []
    numbers: dict[str, int] = {}
    problems: dict[str, str] = {}
    for fingerprint, answer in zip(by_model, answers, strict=True):
        if isinstance(answer, str):
            problems[fingerprint] = answer
        else:
            numbers[fingerprint] = len(vectors)
            vectors.append(answer)
    usable: list[tuple[_Space, int]] = []
    notes: list[SearchNote] = []
    for space in wanted:
        number = numbers.get(space.fingerprint)
        if number is None:
            notes.append(_skipped(problems[space.fingerprint], space.base_id))
        elif len(vectors[number]) != space.dimensions:
            text = _("The embedding model gives vectors of another length by now.")
            notes.append(_skipped(text, space.base_id))
        else:
            usable.append((space, number))
    return _Embedded(tuple(usable), tuple(vectors), tuple(notes))


async def _embed_with(
    spec: EmbedderSpec, query: str, *, within_s: float
) -> npt.NDArray[np.float32] | str:
    """The query's unit vector, or what went wrong."""
    try:
        async with asyncio.timeout(within_s):
            rows = await embedding_model(spec).embed([query])
    except TimeoutError:
        logger.warning("embedding model %s: no answer in time", spec.name)
        return _("The embedding model did not answer in time.")
    except ProviderError as error:
        logger.warning("embedding model %s: %s", spec.name, error.message)
        return error.message
    vector: npt.NDArray[np.float32] = unit_vectors(rows)[0]
    return vector


# --- The statement ------------------------------------------------------------------------------


def _best(
    plan: _Plan, embedded: _Embedded, request: SearchRequest
) -> tuple[list[Hit], list[SearchNote]]:
    """The hits to choose from, good enough and distinct; none where it takes too long.

    Comparing texts takes a processor's time, of which the event loop has none to spare.
    """
    try:
        found, notes = _find(plan, embedded, limit=_needed(request))
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        logger.warning("a search in %s took too long", list(plan.names))
        text = _("The search took too long and was stopped.")
        return [], [SearchNote("search_stopped", text)]
    passing = (hit for hit in found if fusion.passes(hit, request))
    hits = fusion.distinct(passing, neighbours=request.neighbours)
    count = max(RERANKED_HITS, request.limit) if request.reranker else request.limit
    return list(itertools.islice(hits, count)), notes


def _find(plan: _Plan, embedded: _Embedded, *, limit: int) -> tuple[list[Hit], list[SearchNote]]:
    """The fused hits. An index that gives fewer than there are is not believed."""
    branches = [
        Branch(space.base_id, space.space_id, space.dimensions, model, space.is_indexed)
        for space, model in embedded.spaces
    ]
    if not plan.names or not (branches or plan.keywords.candidates):
        return [], []
    wanted = Hybrid(
        base_ids=tuple(plan.names),
        vectors=embedded.vectors,
        branches=branches,
        keywords=plan.keywords,
        depth=max(DEPTH, limit),
        limit=limit,
    )
    rows = _run(wanted)
    if doubted := _short_branches(branches, rows, depth=wanted.depth):
        logger.warning("the index of vector spaces %s gives too few", sorted(doubted))
        believed = [
            dataclasses.replace(branch, is_indexed=False) if branch.space_id in doubted else branch
            for branch in branches
        ]
        rows = _run(dataclasses.replace(wanted, branches=believed))
    text = _("The index of the vectors found too few; all of them were compared.")
    notes = [
        SearchNote("index_incomplete", text, branch.base_id)
        for branch in branches
        if branch.space_id in doubted
    ]
    return [_hit(row, plan) for row in rows], notes


# chunk, base, document, its name, ordinal, content, heading, page, start, end,
# cosine, vector rank, keyword rank, keyword score, fused score, counts of the branches
Row = tuple[
    int, str, str, str, int, str, str, int | None, int, int,
    float | None, int | None, int | None, float | None, float, list[int],
]  # fmt: skip


def _run(wanted: Hybrid) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS + hybrid(wanted).as_string(cursor.connection))
        rows: list[Row] = last_result(cursor)
    return rows


def _short_branches(branches: Sequence[Branch], rows: Sequence[Row], *, depth: int) -> set[int]:
    """Spaces of which the index gave fewer than asked although there are more."""
    counts = rows[0][-1] if rows else [0] * len(branches)
    short: set[int] = set()
    for branch, count in zip(branches, counts, strict=True):
        if branch.is_indexed and count < depth:
            with connection.cursor() as cursor:
                statement = exact_count(branch.space_id, depth)
                cursor.execute(statement.as_string(cursor.connection))
                if cursor.fetchone()[0] > count:
                    short.add(branch.space_id)
    return short


def _hit(row: Row, plan: _Plan) -> Hit:
    (chunk_id, base_id, document_id, document_name, ordinal, content, heading, page, start, end,
     cosine, vector_rank, keyword_rank, keyword_score, fused_score, _counts) = row  # fmt: skip
    full = plan.keywords.full_weight
    return Hit(
        chunk_id=chunk_id,
        knowledge_base_id=base_id,
        knowledge_base_name=plan.names[base_id],
        document_id=document_id,
        document_name=document_name,
        ordinal=ordinal,
        content=content,
        heading=heading,
        page=page,
        char_start=start,
        char_end=end,
        score=cosine,
        vector_rank=vector_rank,
        keyword_rank=keyword_rank,
        keyword_score=keyword_score or 0.0,
        keyword_share=min(1.0, (keyword_score or 0.0) / full) if full else 0.0,
        fused_score=fused_score,
    )


# --- What is kept -------------------------------------------------------------------------------


async def _rerank(
    query: str, judged: list[Hit], request: SearchRequest, *, within_s: float
) -> tuple[list[Hit], list[SearchNote]]:
    """The hits up to the limit, in the reranker's order if there is one."""
    if request.reranker is None or not judged:
        return judged, []
    texts = [f"{hit.heading}\n{hit.content}" if hit.heading else hit.content for hit in judged]
    try:
        async with asyncio.timeout(within_s):
            scores = await rerank_model(request.reranker).rerank(query, texts)
    except TimeoutError:
        reason = _("The rerank model did not answer in time.")
    except ProviderError as error:
        reason = error.message
    else:
        return fusion.reranked(judged, scores)[: request.limit], []
    logger.warning("rerank model %s: %s", request.reranker.name, reason)
    text = _("Not reranked: %(reason)s") % {"reason": reason}
    return judged[: request.limit], [SearchNote("rerank_skipped", text)]


async def _trim(hits: list[Hit], request: SearchRequest) -> tuple[list[Hit], list[SearchNote]]:
    """The hits with their neighbours, up to the budget."""
    plain = {hit.chunk_id: hit for hit in hits}
    if hits and request.neighbours > 0:
        count = request.neighbours
        around = await in_db(_neighbours, fusion.wanted_neighbours(hits, count=count))
        hits = list(fusion.joined(hits, around, count=count))
    kept = list(fusion.within_budget(hits, plain, tokens=request.token_budget))
    return kept, left_out(len(hits) - len(kept))


def left_out(count: int) -> list[SearchNote]:
    """The note on hits that the token budget left out."""
    text = _("Left out, as there was no room for more tokens: %(count)d.") % {"count": count}
    return [SearchNote("budget_reached", text)] if count else []


def _neighbours(places: Sequence[tuple[str, int]]) -> fusion.Neighbours:
    by_document: dict[str, set[int]] = {}
    for document_id, ordinal in places:
        by_document.setdefault(document_id, set()).add(ordinal)
    wanted = Q(pk__in=[])
    for document_id, ordinals in by_document.items():
        wanted |= Q(document=document_id, ordinal__in=ordinals)
    fields = ("document_id", "ordinal", "content", "char_start", "char_end")
    return {
        (document_id, ordinal): fusion.Neighbour(ordinal, content, start, end)
        for document_id, ordinal, content, start, end in Chunk.objects.filter(wanted).values_list(
            *fields
        )
    }


# --- Records ------------------------------------------------------------------------------------


def record_search(request: SearchRequest, outcome: SearchOutcome, source: SearchSource) -> None:
    """Notes the search in each of its bases, for the operator; the oldest beyond 500 go."""
    query = request.query[:1000].replace("\0", " ").encode(errors="replace").decode()
    with transaction.atomic():
        base_ids = _held(request.knowledge_base_ids)
        SearchRecord.objects.bulk_create(
            SearchRecord(
                knowledge_base_id=base_id, source=source, query=query, **_summary(outcome, base_id)
            )
            for base_id in base_ids
        )
        with connection.cursor() as cursor:
            cursor.execute(_REMOVE_OLD_RECORDS, [base_ids, KEPT_RECORDS])


def _held(base_ids: Iterable[str]) -> list[str]:
    """Those of the bases that exist, and will until the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select id from knowledge_knowledgebase where id = any(%s) order by id for key share",
            [[base_id for base_id in base_ids if "\0" not in base_id]],
        )
        return [str(row[0]) for row in cursor.fetchall()]


def _summary(outcome: SearchOutcome, base_id: str) -> dict[str, Any]:
    hits = [hit for hit in outcome.hits if hit.knowledge_base_id == base_id]
    return {
        "hits": len(hits),
        "top_score": max((hit.score for hit in hits if hit.score is not None), default=None),
        "duration_ms": outcome.timings.total_ms,
        "notes": [
            {"code": note.code, "message": note.message}
            for note in outcome.notes
            if note.knowledge_base_id in (None, base_id)
        ],
    }
