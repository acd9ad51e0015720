"""What the gateway knows while it works: frozen snapshots of rows, and the record of a request."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from providers.types import EmbedderSpec, LlmSpec

if TYPE_CHECKING:
    from core.wire.types import Origin

# What a model is asked in. "builtin" models run in this process and are asked by no wire.
Dialect = Literal["messages", "chat_completions", "embeddings", "builtin"]
Endpoint = Literal["messages", "count_tokens", "chat_completions", "embeddings"]
Kind = Literal["chat", "embedding"]


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One upstream of a public model, ready to be asked. Secrets are in it; never log one.

    `path` is below the origin's prefix. `headers` carry the vendor's credential. `route_id` is None
    for a row under its own name.
    """

    row_id: str
    route_id: int | None
    dialect: Dialect
    origin: Origin | None
    model_name: str
    spec: LlmSpec | EmbedderSpec
    headers: tuple[tuple[bytes, bytes], ...] = dataclasses.field(default=(), repr=False)
    priority: int = 0
    weight: int = 1
    path: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """Money for a million tokens, in the currency that the operator thinks in."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cache_read: Decimal | None = None

    def of(self, *, input_tokens: int, output_tokens: int, cache_read_tokens: int = 0) -> Decimal:
        """What the tokens cost. Tokens from a cache cost as others where no price says else."""
        cached = self.input if self.cache_read is None else self.cache_read
        fresh = input_tokens - cache_read_tokens
        total = fresh * self.input + cache_read_tokens * cached + output_tokens * self.output
        return total / 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class PublicModel:
    """A name that clients may ask for, with the models behind it in the order of priority.

    `owner_id` None: everybody's. `cache_s`: how long answers that may be kept are kept; 0: never.
    """

    name: str
    kind: Kind
    targets: tuple[Target, ...]
    display_name: str
    created: int
    owner_id: int | None = None
    max_tokens_cap: int | None = None
    price: Price = Price()
    cache_s: int = 0


class Metered(msgspec.Struct, gc=False):
    """What one request took. Filled in while it is answered, recorded however it ends.

    Times in milliseconds from the arrival of the request's head. `output_tokens` of an answer that
    broke off are estimated (`is_estimated`) from what was passed on of it.
    """

    request_id: str
    endpoint: Endpoint
    key_id: int | None
    owner_id: int
    started_at: float
    model: str = ""
    target_row: str = ""
    route_id: int | None = None
    status: int = 0
    error_type: str = ""
    error_message: str = ""
    is_streamed: bool = False
    is_aborted: bool = False
    is_cached: bool = False
    is_estimated: bool = False
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    latency_ms: float = 0.0
    first_byte_ms: float | None = None
    cost: Decimal = Decimal(0)
