"""`/v1/messages/count_tokens`: counted by the model's vendor where it can, else estimated."""

from __future__ import annotations

from typing import Any

import msgspec
from django.utils.translation import gettext as _

from core.db import in_db
from core.errors import InvalidRequest
from gateway import assistants, directory, upstream
from gateway.dialects.messages import schema
from gateway.dialects.table import MESSAGES
from gateway.neutral import Failed, Request, Text, Usage
from gateway.request import GatedRequest
from gateway.types import Target
from providers.tokens import estimate_tokens

# What vendors add for a picture of usual size, and for each tool and message around its text.
_IMAGE_TOKENS = 1_500
_FRAME_TOKENS = 4


class _Counted(msgspec.Struct):
    input_tokens: int


async def answer(request: GatedRequest) -> None:
    """How many tokens a request would read. Costs none. Raises AppError."""
    body = await request.exchange.body()
    asked = schema.parse_count(body)
    request.metered.model = asked.model
    request.usage = Usage()
    if assistants.is_assistant(asked.model):
        await in_db(assistants.load, request.record, asked.model)
        tokens = estimate(MESSAGES.decode_request(asked))
    else:
        model = await directory.find(request.record, asked.model)
        if model.kind != "chat":
            text = _("“%(name)s” is no chat model.") % {"name": model.name}
            raise InvalidRequest(text, param="model")
        request.model = model

        async def count(target: Target) -> int:
            return await _count(target, asked, body)

        with request.exchange.watched():
            tokens = await upstream.first_answer(model.targets, request.metered, count)
    request.close()
    await request.exchange.json(msgspec.json.encode({"input_tokens": tokens}))


async def _count(target: Target, asked: Any, body: bytes | bytearray) -> int:
    if target.dialect != "messages":
        return estimate(MESSAGES.decode_request(asked))
    response = await upstream.send(
        target,
        MESSAGES.relay_request(body, asked, model=target.model_name),
        timeouts=upstream.WHOLE,
        decode_error=MESSAGES.decode_error,
        below="/count_tokens",
    )
    try:
        counted = msgspec.json.decode(await upstream.read(response), type=_Counted)
    except msgspec.DecodeError as error:
        failed = Failed("upstream_error", _("The model's server sent no number of tokens."))
        raise upstream.Failing(failed, is_service=True) from error
    return counted.input_tokens


def estimate(request: Request) -> int:
    """A guess from the texts, for models whose vendor counts for nobody."""
    tokens = sum(estimate_tokens(text.text) for text in request.system)
    for message in request.messages:
        tokens += _FRAME_TOKENS
        for block in message.blocks:
            parts = getattr(block, "content", (block,))
            tokens += sum(_part(part) for part in parts)
    for tool in request.tools:
        written = msgspec.json.encode(tool.parameters).decode()
        tokens += _FRAME_TOKENS + estimate_tokens(tool.name + tool.description + written)
    return tokens


def _part(part: object) -> int:
    if isinstance(part, Text):
        return estimate_tokens(part.text)
    text = getattr(part, "text", "") or getattr(part, "arguments", "")
    return estimate_tokens(text) if text else _IMAGE_TOKENS
