"""`POST /embeddings` as OpenAI and most other vendors speak it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext as _

from core.errors import ProviderError
from providers.clients import failures
from providers.clients.transport import post, read
from providers.profiles import PROFILES
from providers.types import EmbedderSpec

# A vector of 8,192 numbers, written out, takes about 180 kB.
_MAX_ROW_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 64 * 1024


class OpenAIEmbeddings:
    """EmbeddingModel that asks in batches as large as the vendor takes, one after the other."""

    def __init__(self, spec: EmbedderSpec) -> None:
        self._endpoint = spec.endpoint
        self._profile = PROFILES[spec.endpoint.vendor]
        self._dimensions = spec.dimensions

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in their order. Vendors refuse blank texts, which are sent as "."."""
        sent = [text if text.strip() else "." for text in texts]
        batches = [await self._batch(batch) for batch in self._batches(sent)]
        if not batches:
            return np.zeros((0, self._dimensions or 0), np.float32)
        if len({batch.shape[1] for batch in batches}) != 1:
            raise failures.unreadable(self._endpoint)
        return np.concatenate(batches)

    def _batches(self, texts: list[str]) -> Iterator[list[str]]:
        """The texts in requests that the vendor takes; one that is too long goes alone."""
        batch: list[str] = []
        chars = 0
        for text in texts:
            is_full = len(batch) == self._profile.embedding_batch
            if batch and (is_full or chars + len(text) > self._profile.embedding_chars):
                yield batch
                batch, chars = [], 0
            batch.append(text)
            chars += len(text)
        if batch:
            yield batch

    async def _batch(self, texts: list[str]) -> npt.NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._endpoint.model_name, "input": texts}
        if self._profile.takes_encoding:
            body["encoding_format"] = "float"
        if self._dimensions is not None and self._profile.dimensions_field:
            body[self._profile.dimensions_field] = self._dimensions
        async with post(
            self._endpoint,
            self._profile.embeddings_path,
            expects=("application/json",),
            json=body,
        ) as response:
            data = await read(response, max_bytes=_MAX_HEAD_BYTES + len(texts) * _MAX_ROW_BYTES)
        return self._rows(data, expected=len(texts))

    def _rows(self, data: bytes, *, expected: int) -> npt.NDArray[np.float32]:
        items = failures.json_object(self._endpoint, data).get("data")
        try:
            assert isinstance(items, list)
            ordered = sorted(items, key=lambda item: int(item["index"]))
            assert [item["index"] for item in ordered] == list(range(expected))
            # What is too large becomes infinite here and is refused below.
            with np.errstate(over="ignore"):
                rows = np.asarray([item["embedding"] for item in ordered], np.float32)
        except (AssertionError, KeyError, OverflowError, TypeError, ValueError):
            raise failures.unreadable(self._endpoint) from None
        if rows.ndim != 2 or rows.shape[1] == 0 or not np.isfinite(rows).all():
            raise failures.unreadable(self._endpoint)
        if self._dimensions is not None and rows.shape[1] != self._dimensions:
            raise self._other_size(rows.shape[1])
        return rows

    def _other_size(self, found: int) -> ProviderError:
        text = _("The model gives vectors of %(found)d dimensions; its row says %(expected)d.")
        return ProviderError(
            text % {"found": found, "expected": self._dimensions}, is_permanent=True
        )
