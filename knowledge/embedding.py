"""Vectors for texts, from a model that may refuse one of them and fail in many other ways."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext as _

from core.errors import ProviderError
from providers.interfaces import EmbeddingModel

# A batch is one commit; clients ask for fewer at once where their vendor takes fewer.
BATCH = 64
# Vendors are waited for 30 s of silence; this ends an answer that trickles.
TIMEOUT_S = 180.0
MAX_DIMENSIONS = 16_000
# The vendor read the request and would not have it: perhaps one of the texts only.
_REFUSED = frozenset({400, 413, 422})
_SHORTER_TRIES = 4
_SHORTEST = 16


# What a model that takes anything takes.
_PLAIN_TEXT = "A plain text."


class TextRefused(ProviderError):
    """The vendor would not have one of the texts, nor its beginning."""


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """One row for each text; `shortened` texts were too long and have the vector of their start."""

    vectors: npt.NDArray[np.float32]
    shortened: int = 0


async def embed(model: EmbeddingModel, texts: Sequence[str]) -> Embedded:
    """The vectors of the texts, of which there is at least one. Raises ProviderError, TextRefused.

    Where the vendor refuses the texts, halves of them are asked for, down to the one that is in the
    way; that one is shortened. The first text that is refused even so ends it all, so that a model
    that refuses everything is asked a dozen times, not once for each text.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            vectors = await model.embed(texts)
    except TimeoutError:
        text = _("The embedding model did not answer in time.")
        raise ProviderError(text, is_permanent=False) from None
    except ProviderError as error:
        if error.upstream_status not in _REFUSED:
            raise
        if len(texts) == 1:
            return await _shortened(model, texts[0], error)
        return await _in_halves(model, texts)
    _check(vectors)
    return Embedded(vectors)


async def _in_halves(model: EmbeddingModel, texts: Sequence[str]) -> Embedded:
    middle = len(texts) // 2
    first = await embed(model, texts[:middle])
    second = await embed(model, texts[middle:])
    if first.vectors.shape[1] != second.vectors.shape[1]:
        raise _other_size(second.vectors.shape[1], first.vectors.shape[1])
    return Embedded(
        np.concatenate([first.vectors, second.vectors]), first.shortened + second.shortened
    )


async def _shortened(model: EmbeddingModel, text: str, refusal: ProviderError) -> Embedded:
    for _try in range(_SHORTER_TRIES):
        text = text[: len(text) // 2]
        if len(text) < _SHORTEST:
            break
        try:
            async with asyncio.timeout(TIMEOUT_S):
                vectors = await model.embed([text])
        except TimeoutError:
            break
        except ProviderError as error:
            if error.upstream_status not in _REFUSED:
                raise
            continue
        _check(vectors)
        return Embedded(vectors, shortened=1)
    raise TextRefused(
        refusal.message, is_permanent=True, upstream_status=refusal.upstream_status
    ) from refusal


async def check_takes_texts(model: EmbeddingModel) -> None:
    """Raises ProviderError where a text was refused because the model refuses all of them."""
    await embed(model, [_PLAIN_TEXT])


def check_size(vectors: npt.NDArray[np.float32], dimensions: int | None) -> None:
    """Raises ProviderError where the vectors do not fit those stored already."""
    if dimensions is not None and vectors.shape[1] != dimensions:
        raise _other_size(vectors.shape[1], dimensions)


def _check(vectors: npt.NDArray[np.float32]) -> None:
    if not 0 < vectors.shape[1] <= MAX_DIMENSIONS:
        text = _("The model gives vectors of %(found)d dimensions; up to %(most)d can be stored.")
        raise ProviderError(
            text % {"found": vectors.shape[1], "most": MAX_DIMENSIONS}, is_permanent=True
        )
    if not np.isfinite(vectors).all():
        raise ProviderError(_("The model gave numbers that are none."), is_permanent=False)


def _other_size(found: int, expected: int) -> ProviderError:
    text = _("The model gives vectors of %(found)d dimensions; so far they had %(expected)d.")
    return ProviderError(text % {"found": found, "expected": expected}, is_permanent=True)
