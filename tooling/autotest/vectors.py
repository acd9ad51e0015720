"""Tests embedding models by the geometry of a few texts, and rerankers by what they prefer."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.principals import Principal
from providers.access import access_llm, require_usable
from providers.models import Llm, LlmType
from providers.registry import embedding_model, rerank_model
from providers.specs import embedder_spec, reranker_spec
from providers.types import EmbedderSpec, RerankerSpec
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.autotest.findings import one_of, prepared_model

Vectors = npt.NDArray[np.float32]

QUESTION = "When does the library open?"
FITTING = "The library opens at nine in the morning."
OTHERS = ("A bicycle has two wheels.", "Bread is baked from flour, water and salt.")
# Below 1 by what rounding, batching and half precision do to the same text.
SAME = 0.999


def _one_of_type(row_id: str, type_: LlmType) -> Llm | None:
    row = one_of(Llm, row_id)
    return row if row is not None and row.type == type_ else None


# --- Embedding models --------------------------------------------------------------------------


def access_embedder(principal: Principal, llm_id: str) -> Llm:
    """The embedding model, if the principal may have it tested. Raises NotFound and Conflict."""
    row = access_llm(principal, llm_id, type=LlmType.EMBEDDING)
    require_usable(principal, row)
    return row


def prepare_embedder(llm_id: str, asker: Asker) -> Prepared | None:
    row = _one_of_type(llm_id, LlmType.EMBEDDING)
    if row is None:
        return None
    embedded = _Embedded(embedder_spec(row))
    return prepared_model(
        row,
        Check("API Connection", embedded.connects),
        Check("Dimensions", embedded.has_dimensions),
        Check("Determinism", embedded.is_repeatable),
        Check("Similarity", embedded.tells_apart),
    )


class _Embedded:
    def __init__(self, spec: EmbedderSpec) -> None:
        self._spec = spec
        self._vectors: Vectors | None = None

    async def connects(self) -> str:
        started = time.monotonic()
        self._vectors = await self._embed([QUESTION, FITTING, *OTHERS])
        return _latency(started)

    async def has_dimensions(self) -> str:
        vectors, wanted = self._made(), self._spec.dimensions
        found = {"found": vectors.shape[1], "wanted": wanted}
        if not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
            raise CheckFailed(_("A vector has no direction, or numbers that are none."))
        if wanted is not None and wanted != vectors.shape[1]:
            raise CheckFailed(_("%(wanted)d dimensions are set, %(found)d were received.") % found)
        return _("Dimensions: %(found)d") % found

    async def is_repeatable(self) -> str:
        first = self._made()[0]
        again = (await self._embed([QUESTION]))[0]
        cosine = _cosine(first, again) if again.shape == first.shape else 0.0
        message = _("The same text twice: cosine %(cosine).4f") % {"cosine": cosine}
        if cosine < SAME:
            raise CheckFailed(message)
        return message

    async def tells_apart(self) -> str:
        question, fitting, *others = self._made()
        near = _cosine(question, fitting)
        far = max(_cosine(question, other) for other in others)
        message = _("A similar text: cosine %(near).2f, a different one: %(far).2f") % {
            "near": near,
            "far": far,
        }
        if near <= far:
            raise CheckFailed(message)
        return message

    async def _embed(self, texts: list[str]) -> Vectors:
        return await embedding_model(self._spec).embed(texts)

    def _made(self) -> Vectors:
        if self._vectors is None:
            raise CheckFailed(_("Not tried: there is no connection."))
        return self._vectors


def _cosine(one: Vectors, other: Vectors) -> float:
    norm = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.dot(one, other)) / norm if norm else 0.0


EMBEDDER_TESTER = Tester(
    existence="Model Existence",
    missing=gettext_lazy("Model not found"),
    access=access_embedder,
    prepare=prepare_embedder,
)


# --- Rerankers ---------------------------------------------------------------------------------


def access_reranker(principal: Principal, llm_id: str) -> Llm:
    """The rerank model, if the principal may have it tested. Raises NotFound and Conflict."""
    row = access_llm(principal, llm_id, type=LlmType.RERANK)
    require_usable(principal, row)
    return row


def prepare_reranker(llm_id: str, asker: Asker) -> Prepared | None:
    row = _one_of_type(llm_id, LlmType.RERANK)
    if row is None:
        return None
    judged = _Judged(reranker_spec(row))
    return prepared_model(
        row,
        Check("API Connection", judged.connects),
        Check("Ranking", judged.prefers_what_fits),
        Check("Order Independence", judged.does_not_go_by_place),
    )


class _Judged:
    def __init__(self, spec: RerankerSpec) -> None:
        self._spec = spec
        self._scores: list[float] = []

    async def connects(self) -> str:
        started = time.monotonic()
        self._scores = await self._judge([*OTHERS, FITTING])
        return _latency(started)

    async def prefers_what_fits(self) -> str:
        return self._preferred(*reversed(self._made()))

    async def does_not_go_by_place(self) -> str:
        self._made()
        return self._preferred(*(await self._judge([FITTING, *OTHERS])))

    async def _judge(self, texts: list[str]) -> list[float]:
        return await rerank_model(self._spec).rerank(QUESTION, texts)

    def _preferred(self, fitting: float, *others: float) -> str:
        scores = {"fitting": f"{fitting:.3g}", "other": f"{max(others):.3g}"}
        message = _("A text that answers: %(fitting)s, the best that does not: %(other)s") % scores
        if fitting <= max(others):
            raise CheckFailed(message)
        return message

    def _made(self) -> list[float]:
        if not self._scores:
            raise CheckFailed(_("Not tried: there is no connection."))
        return self._scores


def _latency(started: float) -> str:
    return _("Latency: %(ms)dms") % {"ms": round((time.monotonic() - started) * 1000)}


RERANKER_TESTER = Tester(
    existence="Model Existence",
    missing=gettext_lazy("Model not found"),
    access=access_reranker,
    prepare=prepare_reranker,
)
