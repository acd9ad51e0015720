"""`/v1/embeddings`: texts as vectors, as numbers or packed."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from core.errors import InvalidRequest, ProviderError
from gateway import directory, upstream
from gateway.dialects.embeddings import decode, encode, relay, schema
from gateway.neutral import Failed, Usage
from gateway.request import GatedRequest
from gateway.types import PublicModel, Target
from providers.profiles import PROFILES
from providers.registry import embedding_model
from providers.tokens import estimate_tokens
from providers.types import EmbedderSpec


async def answer(request: GatedRequest) -> None:
    """Answers one request for vectors. Raises AppError."""
    body = await request.exchange.body()
    asked = schema.parse(body)
    request.metered.model = asked.model
    model = await directory.find(request.record, asked.model)
    request.model = model
    if model.kind != "embedding":
        text = _("“%(name)s” is no embedding model.") % {"name": model.name}
        raise InvalidRequest(text, param="model")

    with request.exchange.watched():
        kept = await request.kept_answer(model, body)
        if kept is None:
            answered = await _fresh(request, model, asked, body)
        else:
            answered, request.usage = kept, Usage()
        request.first_byte()
        request.close()
        await request.exchange.json(answered)


async def _fresh(
    request: GatedRequest, model: PublicModel, asked: Any, body: bytes | bytearray
) -> bytes:
    """What an upstream of the model answers now."""

    async def ask(target: Target, has_next: bool) -> tuple[bytes, Usage | None]:
        if target.dialect == "builtin":
            return await _builtin(target, asked)
        return await _passed(target, asked, body, has_next)

    # Whoever leaves meanwhile has had it worked out nevertheless.
    request.estimate = lambda: Usage(_estimate(asked))
    answered, request.usage = await upstream.first_answer(model.targets, request.metered, ask)
    await request.keep(answered)
    return answered


async def _passed(
    target: Target, asked: Any, body: bytes | bytearray, has_next: bool
) -> tuple[bytes, Usage | None]:
    response = await upstream.send(
        target,
        relay.relay_request(
            body,
            asked,
            model=target.model_name,
            takes_encoding=PROFILES[target.spec.endpoint.vendor].takes_encoding,
        ),
        timeouts=upstream.WHOLE_OR_NEXT if has_next else upstream.WHOLE,
        decode_error=decode.decode_error,
    )
    data = await upstream.read(response)
    answered = relay.relay_answer(data, asked, public_model=asked.model)
    if isinstance(answered, Failed):
        raise upstream.Failing(answered, is_service=True)
    return answered


async def _builtin(target: Target, asked: Any) -> tuple[bytes, Usage | None]:
    spec = target.spec
    assert isinstance(spec, EmbedderSpec)
    if asked.texts is None:
        text = _("This model takes texts, no numbers of tokens.")
        error = InvalidRequest(text, param="input")
        raise upstream.Failing(
            Failed("invalid_request_error", text, status=400), is_service=False, error=error
        )
    if asked.dimensions is not None and asked.dimensions != spec.dimensions:
        text = _("This model gives %(count)s dimensions.") % {"count": spec.dimensions}
        error = InvalidRequest(text, param="dimensions")
        raise upstream.Failing(
            Failed("invalid_request_error", text, status=400), is_service=False, error=error
        )
    try:
        vectors = await embedding_model(spec).embed(asked.texts)
    except ProviderError as error:
        failed = Failed("upstream_error", error.message)
        raise upstream.Failing(failed, is_service=True) from error
    usage = Usage(_estimate(asked))
    body = encode.encode_answer(
        vectors, model=asked.model, encoding=asked.encoding_format, usage=usage
    )
    return body, usage


def _estimate(asked: schema.Asked) -> int:
    """The tokens of the input: counted where they were given, else guessed."""
    if asked.texts is not None:
        return sum(estimate_tokens(text) for text in asked.texts)
    return sum(len(item) if isinstance(item, list) else 1 for item in asked.input)
