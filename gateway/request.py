"""A request whose key was found good: what is known of it, and the account of what it took."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from accounts.keyring import KeyRecord
from core.errors import AppError
from core.families import Gateway
from gateway import cache, metrics
from gateway.assistants import is_assistant
from gateway.exchange import Exchange
from gateway.metering import meter
from gateway.neutral import Failed, Usage
from gateway.quotas import quotas
from gateway.types import Endpoint, Metered, PublicModel

# What a client that left before the answer began is counted as.
CLIENT_CLOSED_REQUEST = 499
_MAX_MESSAGE_CHARS = 500


@dataclasses.dataclass(slots=True)
class GatedRequest:
    """One request on its way through the gateway.

    `estimate` gives the tokens read and written so far, for answers of which no vendor tells.
    `place` is where its answer is kept, if it is one that is.
    """

    exchange: Exchange
    record: KeyRecord
    metered: Metered
    model: PublicModel | None = None
    usage: Usage | None = None
    estimate: Callable[[], Usage] = Usage
    place: cache.Place | None = None
    is_recorded: bool = False

    @classmethod
    def of(cls, exchange: Exchange, record: KeyRecord, endpoint: Endpoint) -> GatedRequest:
        """The request at its beginning, with nothing counted yet."""
        principal = record.principal
        metered = Metered(
            request_id=exchange.request_id,
            endpoint=endpoint,
            key_id=principal.key_id,
            owner_id=principal.user_id,
            started_at=time.time() - exchange.elapsed_ms() / 1000,
        )
        metrics.tally().began()
        return cls(exchange, record, metered)

    async def kept_answer(
        self,
        model: PublicModel,
        body: bytes | bytearray,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> bytes | None:
        """The answer to the same request, where the model keeps them. It takes no tokens."""
        self.place = cache.place_of(
            self.record, model, self.metered.endpoint, body, headers=headers
        )
        if self.place is None:
            return None
        kept = await cache.find(self.place, self.exchange)
        self.metered.is_cached = kept is not None
        return kept

    async def keep(self, answer: bytes) -> None:
        """Keeps a good answer, where there is a place for it."""
        if self.place is not None and not self.metered.is_cached:
            await cache.keep(self.place, answer)

    def first_byte(self) -> None:
        """Notes that the answer begins now."""
        if self.metered.first_byte_ms is None:
            self.metered.first_byte_ms = self.exchange.elapsed_ms()

    def fail(self, error: AppError | Failed) -> None:
        """Notes why there is no answer, or no more of it."""
        if isinstance(error, Failed):
            self.metered.error_type = error.type
            self.metered.error_message = error.message[:_MAX_MESSAGE_CHARS]
            return
        # Of an answer that has begun, the client was told before that it is one.
        if not self.exchange.answered:
            self.metered.status = Gateway.status(error)
        self.metered.error_type = error.error_code.lower()
        self.metered.error_message = error.message[:_MAX_MESSAGE_CHARS]

    def close(self, *, is_aborted: bool = False) -> None:
        """Puts down what the request took. To be called before its last byte is sent, once."""
        if self.is_recorded:
            return
        metered = self.metered
        metered.is_aborted = is_aborted
        metered.latency_ms = self.exchange.elapsed_ms()
        if not metered.status:
            has_begun = self.exchange.answered or not is_aborted
            metered.status = 200 if has_begun else CLIENT_CLOSED_REQUEST
        self._count(metered)
        # It knows the request's body, and whoever made it knows us: no circle may keep 50 MB.
        self.estimate = Usage
        meter().record(metered)
        self.is_recorded = True
        metrics.tally().ended(metered, self._known_model())

    def _known_model(self) -> str:
        """The model as metrics may name it: what clients make up is no name."""
        if self.model is not None:
            return self.model.name if self.model.owner_id is None else metrics.OTHER
        return metrics.ASSISTANT if is_assistant(self.metered.model) else metrics.UNKNOWN

    def _count(self, metered: Metered) -> None:
        usage = self.usage
        if usage is None:
            # What failed before its answer began took nothing that anybody charges.
            is_void = metered.status >= 400 and not (metered.is_aborted or self.exchange.answered)
            usage = Usage() if is_void else self.estimate()
            metered.is_estimated = bool(usage.input_tokens or usage.output_tokens)
        metered.input_tokens, metered.output_tokens = usage.input_tokens, usage.output_tokens
        metered.cache_read_tokens = usage.cache_read_tokens
        metered.cache_write_tokens = usage.cache_write_tokens
        tokens = usage.input_tokens + usage.output_tokens
        if self.model is not None and tokens:
            metered.cost = self.model.price.of(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
            )
        if tokens and not metered.is_cached:
            quotas().spend(self.record, tokens, metered.cost)
