"""How much a request has to read, guessed from its texts: for models whose vendor tells nobody.

Pure, and never fails: what cannot be understood is guessed from its size.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from core.errors import InvalidRequest
from gateway.neutral import Inexpressible, Request, Text
from providers.tokens import estimate_tokens

# What vendors add for a picture of usual size, and for each tool and message around its text.
_IMAGE_TOKENS = 1_500
_FRAME_TOKENS = 4
_BYTES_PER_TOKEN = 4
# A body that is not understood may be one large picture.
_MOST_OF_A_BODY = 100_000


def input_tokens(request: Request) -> int:
    """What the request has to read, tools and pictures included."""
    tokens = sum(estimate_tokens(text.text) for text in request.system)
    for message in request.messages:
        tokens += _FRAME_TOKENS
        for block in message.blocks:
            tokens += sum(_part(part) for part in getattr(block, "content", (block,)))
    for tool in request.tools:
        written = msgspec.json.encode(tool.parameters).decode()
        tokens += _FRAME_TOKENS + estimate_tokens(tool.name + tool.description + written)
    return tokens


def tokens_of_body(body: bytes | bytearray, decode: Callable[[], Request]) -> int:
    """The same, of a request that may have no neutral form; then from the length of its body."""
    try:
        return input_tokens(decode())
    except (InvalidRequest, Inexpressible):
        return min(len(body) // _BYTES_PER_TOKEN, _MOST_OF_A_BODY)


def _part(part: object) -> int:
    if isinstance(part, Text):
        return estimate_tokens(part.text)
    text = getattr(part, "text", "") or getattr(part, "arguments", "")
    return estimate_tokens(text) if text else _IMAGE_TOKENS
