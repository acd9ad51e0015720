"""The one SQL statement of a hybrid search.

Numbers of spaces and ids of bases stand in it as literals, and every space has a branch of its
own: a parameter or a list would keep Postgres from using the partial index of the space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from psycopg import sql

from knowledge.lexemes import query_literal
from knowledge.statistics import Keywords

# How many hits of each leg take part in the fusion.
DEPTH = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """Reciprocal rank fusion: a hit gets weight / (offset + rank) of each leg that found it.

    In a small base every chunk has some word of a long question, so that words count by what they
    tell: by the score of the hit as a share of the best one's, and by its share of all that the
    query's words weigh, to the power of `doubt`. An exact identifier among filler so outvotes what
    is merely near, and filler alone does not. The ranks of models compare, their cosines do not.
    """

    vector: float = 1.0
    keyword: float = 1.4
    offset: float = 5.0
    doubt: float = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """The vectors of one base. `model` numbers the query's vectors, one for each model."""

    base_id: str
    space_id: int
    dimensions: int
    model: int
    is_indexed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Hybrid:
    """What the statement looks for: one vector for each model, and words."""

    base_ids: Sequence[str]
    vectors: Sequence[npt.NDArray[np.float32]]
    branches: Sequence[Branch]
    keywords: Keywords
    depth: int = DEPTH
    limit: int = DEPTH
    weights: Weights = Weights()


def hybrid(search: Hybrid) -> sql.Composed:
    """The statement. Its rows are those of `knowledge.search.Row`, the best first.

    Cosines of different models do not compare, so that ranks are given within each model, over all
    bases that use it. A hit of one leg is looked up in the other for its score.
    """
    ctes = [
        *(_model(number, vector) for number, vector in enumerate(search.vectors)),
        *(_branch(branch, search.depth) for branch in search.branches),
        _nearest(search),
        _worded(search),
    ]
    return sql.SQL(_HYBRID).format(
        ctes=sql.SQL(",\n").join(ctes),
        depth=sql.Literal(search.depth),
        limit=sql.Literal(search.limit),
        vector_weight=sql.Literal(search.weights.vector),
        keyword_weight=sql.Literal(search.weights.keyword),
        offset=sql.Literal(search.weights.offset),
        doubt=sql.Literal(search.weights.doubt),
        full_weight=sql.Literal(search.keywords.full_weight),
        distance=_distance(search.branches),
        found=_found(search.branches),
    )


_HYBRID = """
with {ctes},
candidates as (
  select chunk_id from nearest where rank <= {depth}
  union select chunk_id from worded where rank <= {depth}
),
fused as materialized (
  select chunk_id, nearest.distance, worded.score, nearest.rank as vector_rank,
    worded.rank as keyword_rank,
    coalesce({vector_weight}::float8 / ({offset} + nearest.rank), 0)
    + coalesce({keyword_weight}::float8 / ({offset} + worded.rank) * worded.score / best.score
      * power(worded.score / greatest(best.score, {full_weight}), {doubt}), 0) as fused_score
  from candidates left join nearest using (chunk_id) left join worded using (chunk_id)
  cross join (select max(score) as score from worded) best
  order by fused_score desc, score desc nulls last, chunk_id limit {limit}
)
select chunk.id, chunk.knowledge_base_id, chunk.document_id, document.name, chunk.ordinal,
  chunk.content, chunk.heading, chunk.page, chunk.char_start, chunk.char_end,
  1 - {distance}, fused.vector_rank, fused.keyword_rank, fused.score, fused.fused_score, {found}
from fused join knowledge_chunk chunk on chunk.id = fused.chunk_id
join knowledge_document document on document.id = chunk.document_id
order by fused.fused_score desc, fused.score desc nulls last, chunk.id
"""
# Distances alone are kept and sorted: whole vectors would not fit into the working memory.
_EXACT = """
{name} as materialized (
  select chunk_id, distance from (
    select chunk_id, {column} <=> {vector} as distance
    from knowledge_chunkvector where space_id = {space} offset 0) measured
  order by distance limit {depth})
"""
# The index gives them nearly in order; whoever reads this sorts them.
_INDEXED = """
{name} as materialized (
  select chunk_id, {column} <=> {vector} as distance
  from knowledge_chunkvector where space_id = {space}
  order by {column} <=> {vector} limit {depth})
"""
_NEAREST = """
nearest as materialized (
  select chunk_id, distance, row_number() over (partition by model order by distance, chunk_id) rank
  from ({union}) found)
"""
# The words are values of a join, not conditions: of each condition the planner would look up in its
# thousands of words how many rows to expect, which takes longer than finding them. One word after
# the other is looked up in the index; to score the rows of one scan would unpack their words.
_WORDED = """
worded as materialized (
  select chunk_id, score, row_number() over (order by score desc, chunk_id) rank
  from (
    select chunk_id, sum(weight) as score
    from (values {words}) word (query, weight) cross join lateral (
      select chunk_id from (
        select id as chunk_id, knowledge_base_id from knowledge_chunk
        where lexemes @@ word.query {fence}) held
      where knowledge_base_id in ({bases}) limit {most}) matching
    group by chunk_id) scored)
"""
_WORDED_NOTHING = """
worded as (select 0::bigint as chunk_id, 0::float8 as score, 0::bigint as rank where false)
"""
# Behind it, the index of the bases takes no part: in large ones that costs more than it saves.
_FENCE = "offset 0"
# A word that is commoner than the statistics allow for in the bases tells nothing anyway.
_MOST_MATCHES = 20_000


def exact_count(space_id: int, limit: int) -> sql.Composed:
    """How many vectors a space has, up to a limit."""
    return sql.SQL(
        "select count(*) from (select from knowledge_chunkvector where space_id = {} limit {}) x"
    ).format(sql.Literal(space_id), sql.Literal(limit))


def _model(number: int, vector: npt.NDArray[np.float32]) -> sql.Composed:
    """The query's vector, written once however many branches compare with it."""
    numbers = ",".join(["%.6g"] * len(vector)) % tuple(vector.tolist())
    return sql.SQL("{} as materialized (select {}::{} as vector)").format(
        sql.Identifier(f"model_{number}"), sql.Literal(f"[{numbers}]"), _halfvec(len(vector))
    )


def _halfvec(dimensions: int) -> sql.SQL:
    return sql.SQL(f"halfvec({int(dimensions)})")


def _column(branch: Branch, table: str = "knowledge_chunkvector") -> sql.Composed:
    """The expression of the index, which only its very form matches."""
    return sql.SQL("({}.embedding::{})").format(sql.Identifier(table), _halfvec(branch.dimensions))


def _vector(branch: Branch) -> sql.Composed:
    return sql.SQL("(select vector from {})").format(sql.Identifier(f"model_{branch.model}"))


def _name(branch: Branch) -> sql.Identifier:
    return sql.Identifier(f"space_{branch.space_id}")


def _branch(branch: Branch, depth: int) -> sql.Composed:
    return sql.SQL(_INDEXED if branch.is_indexed else _EXACT).format(
        name=_name(branch),
        column=_column(branch),
        vector=_vector(branch),
        space=sql.Literal(branch.space_id),
        depth=sql.Literal(depth),
    )


def _nearest(search: Hybrid) -> sql.Composed:
    # A distance that is not a number sorts last and tells nothing.
    parts: list[sql.Composable] = [
        sql.SQL("select chunk_id, distance, {} as model from {} where distance < 'nan'").format(
            sql.Literal(branch.model), _name(branch)
        )
        for branch in search.branches
    ]
    nothing = sql.SQL("select 0::bigint as chunk_id, 0::float8 as distance, 0 as model where false")
    return sql.SQL(_NEAREST).format(union=sql.SQL(" union all ").join(parts or [nothing]))


def _worded(search: Hybrid) -> sql.Composed:
    """Words that refine are looked for among the candidates, which the index does by itself."""
    words = search.keywords
    if not words.candidates:
        return sql.Composed([sql.SQL(_WORDED_NOTHING)])
    any_candidate = query_literal(word.text for word in words.candidates)
    literals = [(query_literal([word.text]), word.weight) for word in words.candidates] + [
        (f"({any_candidate}) & {query_literal([word.text])}", word.weight)
        for word in words.refining
    ]
    bases = sql.SQL(", ").join(map(sql.Literal, search.base_ids))
    uses_base_index = words.are_bases_small or words.candidate_chunks > _MOST_MATCHES
    return sql.SQL(_WORDED).format(
        words=sql.SQL(", ").join(
            sql.SQL("({}::tsquery, {}::float8)").format(sql.Literal(literal), sql.Literal(weight))
            for literal, weight in literals
        ),
        fence=sql.SQL("" if uses_base_index else _FENCE),
        most=sql.Literal(_MOST_MATCHES),
        bases=bases,
    )


def _distance(branches: Sequence[Branch]) -> sql.Composable:
    """The distance of a hit, also of one that only its words brought up; null without a vector."""
    if not branches:
        return sql.SQL("null::float8")
    cases = [
        sql.SQL(
            "when {base} then (select {column} <=> {vector} from knowledge_chunkvector own"
            " where own.space_id = {space} and own.chunk_id = chunk.id)"
        ).format(
            base=sql.Literal(branch.base_id),
            column=_column(branch, "own"),
            vector=_vector(branch),
            space=sql.Literal(branch.space_id),
        )
        for branch in branches
    ]
    return sql.SQL(
        "nullif(coalesce(fused.distance, case chunk.knowledge_base_id {} end), 'nan')"
    ).format(sql.SQL(" ").join(cases))


def _found(branches: Sequence[Branch]) -> sql.Composable:
    """How many each branch found, in their order."""
    counts = [sql.SQL("(select count(*) from {})").format(_name(branch)) for branch in branches]
    return sql.SQL("array[{}]::bigint[]").format(sql.SQL(", ").join(counts))
