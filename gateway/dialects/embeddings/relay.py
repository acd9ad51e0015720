"""Embeddings passed on: bytes stay as they are, apart from the model's name.

Written anew are only answers whose vectors are not in the form that was asked for, or not in order.
"""

from __future__ import annotations

import msgspec

from gateway.dialects import failures
from gateway.dialects.embeddings.decode import Answered, is_ordered, read_answer, vectors_of
from gateway.dialects.embeddings.encode import encode_answer
from gateway.dialects.embeddings.schema import Asked
from gateway.dialects.reading import is_string
from gateway.dialects.splice import Piece, Text, with_members
from gateway.neutral import Failed, Usage


def relay_request(
    body: Text, asked: Asked, *, model: str, takes_encoding: bool = True
) -> list[Piece]:
    """The body in pieces, for the upstream's model.

    Without `takes_encoding` nothing is said of the form of the vectors; the answer is put into it.
    """
    name = msgspec.json.encode(model)
    if takes_encoding or asked.encoding_format is None:
        return with_members(body, {"model": name})
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    del members["encoding_format"]
    return [msgspec.json.encode({**members, "model": msgspec.Raw(name)})]


def relay_answer(
    body: bytes, asked: Asked, *, public_model: str
) -> tuple[bytes, Usage | None] | Failed:
    """The answer under the public name, and the tokens that it tells of."""
    answered = read_answer(body)
    if isinstance(answered, Failed):
        return answered
    if len(answered.data or ()) != asked.count:
        return failures.unreadable()
    if not (is_ordered(answered) and _has_form(answered, asked)):
        return _written_anew(answered, asked, public_model)
    name = {"model": msgspec.json.encode(public_model)}
    pieces = with_members(body, {}, name) if answered.model is None else with_members(body, name)
    return b"".join(pieces), answered.counted()


def _has_form(answered: Answered, asked: Asked) -> bool:
    """Whether all vectors are as asked for; some vendors know numbers only."""
    return all(is_string(item.embedding) == asked.is_base64 for item in answered.data or ())


def _written_anew(
    answered: Answered, asked: Asked, public_model: str
) -> tuple[bytes, Usage | None] | Failed:
    read = vectors_of(answered)
    if isinstance(read, Failed):
        return read
    body = encode_answer(
        read.vectors, model=public_model, encoding=asked.encoding_format, usage=read.usage
    )
    return body, read.usage
