"""A search as both families make one: checked, waited for, noted for the operator."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import InvalidRequest, NotFound
from core.loops import wait_for
from knowledge.models import SearchSource
from knowledge.search import record_search, search
from knowledge.types import Hit, SearchOutcome, SearchRequest
from providers.access import access_llm, require_usable
from providers.models import LlmType
from providers.specs import reranker_spec
from providers.types import RerankerSpec


def found(request: SearchRequest) -> SearchOutcome:
    """What the search found; it is among the recent queries of its bases."""
    outcome = wait_for(search(request))
    record_search(request, outcome, SearchSource.API)
    return outcome


def reranker_named(principal: Principal, llm_id: str | None, *, param: str) -> RerankerSpec | None:
    """The chosen rerank model. Raises InvalidRequest naming `param`; Conflict if it is disabled."""
    if not llm_id:
        return None
    try:
        row = access_llm(principal, llm_id, type=LlmType.RERANK)
    except NotFound:
        raise InvalidRequest(_("Unknown rerank model."), param=param) from None
    require_usable(principal, row)
    return reranker_spec(row)


def score_of(hit: Hit) -> float:
    """The cosine; where there are no vectors yet, how much of the query's words it has."""
    return hit.keyword_share if hit.score is None else hit.score


def hit_data(hit: Hit) -> dict[str, Any]:
    """What `ResultSerializer` describes."""
    metadata = dataclasses.asdict(hit)
    del metadata["chunk_id"], metadata["content"]
    return {
        "id": str(hit.chunk_id),
        "content": hit.content,
        "score": score_of(hit),
        "document_id": hit.document_id,
        "document_name": hit.document_name,
        "chunk_index": hit.ordinal,
        "metadata": metadata,
    }
