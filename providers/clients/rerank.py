"""Rerankers over HTTP: one request per batch, in the shape that the vendor's profile names.

documents   {model, query, documents, top_n} → {"results": [{index, relevance_score}]}
            Jina `/v1/rerank`, Cohere `/v2/rerank`, SiliconFlow and vLLM `/v1/rerank`, DashScope's
            qwen3-rerank `/compatible-api/v1/reranks`; llama.cpp, Xinference and others alike.
            Voyage `/v1/rerank` says `top_k`, and answers with `data` in place of `results`.
texts       {query, texts} → [{index, score}]
            Hugging Face's Text Embeddings Inference, `/rerank`.
nested      {model, input: {query, documents}, parameters: {top_n}}
            → {"output": {"results": [{index, relevance_score}]}}
            DashScope's own `/api/v1/services/rerank/text-rerank/text-rerank`.

Answers are read alike, whichever of the shapes was asked for: servers that call themselves
compatible mix them. Sources: docs.cohere.com/reference/rerank, api.jina.ai/openapi.json,
docs.voyageai.com/reference/reranker-api, docs.siliconflow.cn (create-rerank),
huggingface.github.io/text-embeddings-inference, docs.vllm.ai (pooling models, rerank API),
alibabacloud.com/help/en/model-studio/text-rerank-api.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, assert_never

from providers.clients import failures
from providers.clients.transport import post, read
from providers.profiles import PROFILES, RerankWire
from providers.types import Endpoint, RerankerSpec

# Somebody waits for the answer of a search; one who can wait less stops us earlier.
TIME_LIMIT_S = 20.0
# More of one text or query no reranker reads; their context is 512 to 8,192 tokens.
_MAX_TEXT_CHARS = 4_000
_MAX_QUERY_CHARS = 1_000
# Rather than leave less of a text than this, we ask again for the rest of the texts.
_MIN_TEXT_CHARS = 1_000
# A result is about 60 bytes, or holds the text again where a vendor returns it.
_MAX_HEAD_BYTES = 64 * 1024
_MAX_ROW_BYTES = 32 * 1024


class HttpReranker:
    """RerankModel of every vendor that is reached over HTTP."""

    def __init__(self, spec: RerankerSpec) -> None:
        self._endpoint = spec.endpoint
        wires = PROFILES[spec.endpoint.vendor].rerank
        self._wire = next(
            wire for part, wire in wires.items() if part in spec.endpoint.model_name.lower()
        )
        self._base_url = _base_url(spec.endpoint, self._wire)

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text, in their order; long ones are judged by their beginning.

        Vendors refuse blank texts, which are sent as ".". No texts: no request.
        """
        query = _sendable(query, _MAX_QUERY_CHARS)
        size = min(self._wire.batch, self._wire.max_chars // (len(query) + _MIN_TEXT_CHARS))
        lots = [texts[at : at + size] for at in range(0, len(texts), size)]
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                return await self._in_batches(query, lots)
        except TimeoutError:
            raise failures.late(self._endpoint) from None

    async def _in_batches(self, query: str, lots: Sequence[Sequence[str]]) -> list[float]:
        """The scores of all lots, which are judged at the same time; the first failure counts."""
        try:
            async with asyncio.TaskGroup() as group:
                batches = [group.create_task(self._batch(query, lot)) for lot in lots]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [score for batch in batches for score in batch.result()]

    async def _batch(self, query: str, texts: Sequence[str]) -> list[float]:
        # The query is read once per text, which is how vendors count their limits too.
        share = self._wire.max_chars // len(texts) - len(query)
        sent = [_sendable(text, min(_MAX_TEXT_CHARS, share)) for text in texts]
        async with post(
            self._endpoint,
            self._wire.path,
            base_url=self._base_url,
            expects=("application/json",),
            json=self._body(query, sent),
        ) as response:
            data = await read(response, max_bytes=_MAX_HEAD_BYTES + len(sent) * _MAX_ROW_BYTES)
        return self._scores(data, expected=len(sent))

    def _body(self, query: str, texts: list[str]) -> dict[str, Any]:
        wire, model = self._wire, self._endpoint.model_name
        options: dict[str, Any] = {wire.count_field: len(texts), **wire.extra}
        match wire.shape:
            case "documents":
                return {"model": model, "query": query, "documents": texts, **options}
            case "texts":
                return {"query": query, "texts": texts, **wire.extra}
            case "nested":
                inner = {"query": query, "documents": texts}
                return {"model": model, "input": inner, "parameters": options}
        assert_never(wire.shape)

    def _scores(self, data: bytes, *, expected: int) -> list[float]:
        rows = _rows(failures.json_value(self._endpoint, data))
        results = [result for row in rows if (result := _result(row)) is not None]
        scores = dict(results)
        is_whole = len(rows) == len(results) == len(scores) == expected
        if not is_whole or scores.keys() != set(range(expected)):
            raise failures.unreadable(self._endpoint)
        return [scores[index] for index in range(expected)]


def _base_url(endpoint: Endpoint, wire: RerankWire) -> str:
    """Where the rerank API is, for vendors who have it beside the one that their row names."""
    url, (old, new) = endpoint.base_url.rstrip("/"), wire.base
    return url.removesuffix(old) + new if old and url.endswith(old) else url


def _sendable(text: str, limit: int) -> str:
    return text[:limit].strip() or "."


def _rows(body: object) -> list[object]:
    """The list of results in an answer of any of the shapes; empty where there is none."""
    if isinstance(body, dict) and isinstance(body.get("output"), dict):
        body = body["output"]
    if isinstance(body, dict):
        body = body.get("results", body.get("data"))
    return body if isinstance(body, list) else []


def _result(row: object) -> tuple[int, float] | None:
    """The index and the score of one result, or None where one of them is no number."""
    if not isinstance(row, dict):
        return None
    index, score = row.get("index"), row.get("relevance_score", row.get("score"))
    if isinstance(index, bool) or isinstance(score, bool):
        return None
    if not isinstance(index, int) or not isinstance(score, int | float):
        return None
    try:
        number = float(score)
    except OverflowError:
        return None
    return (index, number) if math.isfinite(number) else None
