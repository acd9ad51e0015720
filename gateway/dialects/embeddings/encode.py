"""Vectors → the answer of `POST /v1/embeddings`, as numbers or packed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.dialects.embeddings.schema import Format
from gateway.neutral import Usage

Vector = Sequence[float] | NDArray[np.float32]


def encode_answer(
    vectors: Sequence[Vector] | NDArray[np.float32],
    *,
    model: str,
    encoding: Format | None,
    usage: Usage | None,
) -> bytes:
    """The whole answer's body, with the vectors in the order of the inputs.

    "base64": of little-endian 32-bit floats, which the official clients ask for unasked.
    """
    write = packed if encoding == "base64" else _numbers
    data = [
        {"object": "embedding", "index": index, "embedding": write(vector)}
        for index, vector in enumerate(vectors)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": model}
    if usage is not None:
        tokens = usage.input_tokens
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode(body)


def packed(vector: Vector) -> str:
    """The vector as base64 of little-endian 32-bit floats."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def _numbers(vector: Vector) -> list[float]:
    return vector.tolist() if isinstance(vector, np.ndarray) else list(vector)
