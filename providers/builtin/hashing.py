"""The built-in embedder: signed hashing of character n-grams. Finds shared words, not meaning."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from providers.tokens import CJK
from providers.types import EmbedderSpec

DEFAULT_DIMENSIONS = 384
_SPACE = re.compile(r"\s+")
_CJK_RUN = re.compile(rf"{CJK.pattern}+")
_THREADS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hashing")


def _grams(text: str) -> list[str]:
    """Three to five characters of text; one and two of Chinese, where words are short."""
    padded = f" {_SPACE.sub(' ', text.casefold()).strip()} "
    grams = [padded[at : at + size] for size in (3, 4, 5) for at in range(len(padded) - size + 1)]
    for run in _CJK_RUN.findall(padded):
        grams += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
    return grams


def embed_text(text: str, *, dimensions: int = DEFAULT_DIMENSIONS) -> npt.NDArray[np.float32]:
    """One unit vector, the same in every process and on every machine; zeros for a blank text."""
    if not text.strip():
        return np.zeros(dimensions, np.float32)
    hashes = np.fromiter((zlib.crc32(gram.encode()) for gram in _grams(text)), np.uint32)
    signs = np.where(hashes & np.uint32(0x8000_0000), -1.0, 1.0)
    sums = np.bincount(
        (hashes & np.uint32(0x7FFF_FFFF)) % dimensions, weights=signs, minlength=dimensions
    )
    # The square root keeps frequent n-grams from drowning the rest.
    damped = np.sign(sums) * np.sqrt(np.abs(sums))
    norm = float(np.linalg.norm(damped))
    return (damped / norm if norm else damped).astype(np.float32)


class HashingEmbedder:
    """EmbeddingModel over `embed_text`; long batches leave the event loop free."""

    def __init__(self, dimensions: int = DEFAULT_DIMENSIONS) -> None:
        self._dimensions = dimensions

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text."""
        return await asyncio.get_running_loop().run_in_executor(_THREADS, self._embed, list(texts))

    def _embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        rows = [embed_text(text, dimensions=self._dimensions) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._dimensions), np.float32)


def from_spec(spec: EmbedderSpec) -> HashingEmbedder:
    """The embedder with the row's number of dimensions, or its own."""
    return HashingEmbedder(spec.dimensions or DEFAULT_DIMENSIONS)
