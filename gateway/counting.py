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
from gateway.estimates import input_tokens
from gateway.neutral import Failed, Usage
from gateway.request import GatedRequest
from gateway.types import Target


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
        tokens = input_tokens(MESSAGES.decode_request(asked))
    else:
        model = await directory.find(request.record, asked.model)
        if model.kind != "chat":
            text = _("“%(name)s” is no chat model.") % {"name": model.name}
            raise InvalidRequest(text, param="model")
        request.model = model

        async def count(target: Target, _has_next: bool) -> int:
            return await _count(target, asked, body)

        with request.exchange.watched():
            tokens = await upstream.first_answer(model.targets, request.metered, count)
    request.close()
    await request.exchange.json(msgspec.json.encode({"input_tokens": tokens}))


async def _count(target: Target, asked: Any, body: bytes | bytearray) -> int:
    if target.dialect != "messages":
        return input_tokens(MESSAGES.decode_request(asked))
    response = await upstream.send(
        target,
        MESSAGES.relay_request(body, asked, model=target.model_name),
        timeouts=upstream.WHOLE,
        decode_error=MESSAGES.decode_error,
        below="/count_tokens",
    )
    try:
        counted = msgspec.json.decode(await upstream.read(response), type=_Counted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failed = Failed("upstream_error", _("The model's server sent no number of tokens."))
        raise upstream.Failing(failed, is_service=True) from error
    return counted.input_tokens
