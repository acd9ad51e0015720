"""An upstream's vectors, in whichever of the two forms it sent them."""

from __future__ import annotations

import base64
import dataclasses

import msgspec
import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray

from gateway.dialects import failures
from gateway.dialects.chat_completions import errors
from gateway.dialects.reading import is_string
from gateway.neutral import Failed, Usage, token_count

decode_error = errors.of_answer


class Item(Struct):
    """One vector: the JSON text of a list of numbers, or of a string in base64."""

    embedding: Raw
    index: int | None = None


class Counts(Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class Answered(Struct):
    """An upstream's answer, with its vectors not looked into yet."""

    data: list[Item] | None = None
    usage: Counts | None = None
    model: str | None = None
    error: object = None

    def counted(self) -> Usage | None:
        """The tokens that were read, where the vendor tells."""
        if self.usage is None:
            return None
        tokens = self.usage.prompt_tokens or self.usage.total_tokens
        return None if tokens is None else Usage(token_count(tokens))


@dataclasses.dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors in the order of the inputs."""

    vectors: list[NDArray[np.float32]]
    usage: Usage | None


_DECODER = msgspec.json.Decoder(Answered)


def decode_answer(body: bytes) -> Vectors | Failed:
    """An upstream's answer."""
    answered = read_answer(body)
    if isinstance(answered, Failed):
        return answered
    return vectors_of(answered)


def read_answer(body: bytes) -> Answered | Failed:
    """The answer as it came; Failed where it has no vectors."""
    try:
        answered = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return failures.unreadable()
    if answered.error:
        return errors.of_event(answered.error)
    return answered if answered.data else failures.unreadable()


def is_ordered(answered: Answered) -> bool:
    """Whether the vectors stand in the order of the inputs."""
    items = answered.data or ()
    return all(item.index in (None, place) for place, item in enumerate(items))


def vectors_of(answered: Answered) -> Vectors | Failed:
    """The vectors, unpacked and in order."""
    items = answered.data or []
    if not is_ordered(answered):
        items = sorted(items, key=lambda item: item.index or 0)
    try:
        return Vectors([_vector(item.embedding) for item in items], answered.counted())
    except (ValueError, msgspec.DecodeError):
        return failures.unreadable()


def _vector(raw: Raw) -> NDArray[np.float32]:
    if is_string(raw):
        text = msgspec.json.decode(raw, type=str)
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    return np.asarray(msgspec.json.decode(raw, type=list[float]), dtype=np.float32)
