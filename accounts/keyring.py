"""API keys in memory: who asks, without asking the database for every request.

A change of a key or its owner takes effect as soon as the database tells of it, whoever made it and
how (`core.remembered`); expiry is looked at on each use.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from decimal import Decimal

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from accounts.models import KEY_PREFIX, ApiKey, hash_key
from accounts.principals import (
    Principal,
    checked,
    mark_used,
    no_credential,
    principal_of_key,
)
from core import changes
from core.db import in_db
from core.loops import PerLoop
from core.remembered import Remembered

logger = logging.getLogger(__name__)

_NOTE_USE_EVERY_S = 60.0
_NOTE_AFTER_S = 1.0
_MOST_NOTED = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class KeyRecord:
    """A usable key as the gateway knows it. None means no limit, and of `expires_at`: never.

    `allowed_models` is empty where all are allowed; `expires_at` is a time of the wall clock.
    """

    principal: Principal
    key_id: int
    key_name: str
    requests_per_minute: int
    tokens_per_minute: int | None = None
    monthly_token_budget: int | None = None
    monthly_cost_budget: Decimal | None = None
    allowed_models: frozenset[str] = frozenset()
    expires_at: float | None = None


def cached_key(credential: str) -> KeyRecord | None:
    """The key's record if it is in memory and may be used; None: ask `key_for`."""
    return _KEYRINGS.get().cached(hash_key(credential))


async def key_for(credential: str) -> KeyRecord:
    """The record of an API key, from memory if possible.

    Raises Unauthenticated (unknown, or no API key), CredentialUnusable (disabled, expired, or its
    owner is disabled), Unavailable (not in memory, and the database is away).
    """
    credential = checked(credential)
    if not credential.startswith(KEY_PREFIX):
        raise no_credential()
    return await _KEYRINGS.get().find(hash_key(credential))


class _Keyring:
    """The keys that one event loop knows, by the digest that the database has of each."""

    def __init__(self) -> None:
        self._records: Remembered[str, KeyRecord] = Remembered(_record_of, kind="API keys")
        self._noted_at: dict[int, float] = {}
        self._used: set[int] = set()
        self._noting: asyncio.Task[None] | None = None
        changes.subscribe("keys", self._on_word, self._records.doubt_all)

    def cached(self, digest: str) -> KeyRecord | None:
        """The record, if nothing has to be asked."""
        record = self._records.peek(digest)
        if record is None or (record.expires_at is not None and _is_over(record)):
            return None
        self._note_use(record.key_id)
        return record

    async def find(self, digest: str) -> KeyRecord:
        """The record, from memory or read now. Raises as `key_for` says."""
        record = await self._records.get(digest)
        if _is_over(record):
            self._records.forget(digest)
            record = await self._records.get(digest)
        self._note_use(record.key_id)
        return record

    def _on_word(self, what: str) -> None:
        kind, _colon, user_id = what.partition(":")
        if kind == "user":
            self._records.forget_where(lambda each: str(each.principal.user_id) == user_id)
        else:
            self._records.forget(what)

    # --- When a key was used -------------------------------------------------------------------

    def _note_use(self, key_id: int) -> None:
        now = time.monotonic()
        if now < self._noted_at.get(key_id, 0.0):
            return
        if len(self._noted_at) >= _MOST_NOTED:
            self._noted_at.clear()
        self._noted_at[key_id] = now + _NOTE_USE_EVERY_S
        self._used.add(key_id)
        if self._noting is None:
            self._noting = asyncio.get_running_loop().create_task(self._note_uses())

    async def _note_uses(self) -> None:
        while self._used:
            await asyncio.sleep(_NOTE_AFTER_S)
            used, self._used = self._used, set()
            try:
                await in_db(mark_used, used)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The last use of %d keys could not be noted: %r", len(used), error)
        self._noting = None

    async def close(self) -> None:
        """Ends what is on its way."""
        await self._records.close()
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)


def _record_of(digest: str) -> KeyRecord:
    """The key as the database has it. Raises Unauthenticated, CredentialUnusable."""
    key = ApiKey.objects.select_related("owner").filter(digest=digest).first()
    if key is None:
        raise no_credential()
    own_rate = key.requests_per_minute
    return KeyRecord(
        principal=principal_of_key(key),
        key_id=key.pk,
        key_name=key.name,
        requests_per_minute=settings.GATEWAY_REQUESTS_PER_MINUTE if own_rate is None else own_rate,
        tokens_per_minute=key.tokens_per_minute,
        monthly_token_budget=key.monthly_token_budget,
        monthly_cost_budget=key.monthly_cost_budget,
        allowed_models=frozenset(key.allowed_models),
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
    )


def _is_over(record: KeyRecord) -> bool:
    return record.expires_at is not None and record.expires_at <= time.time()


async def _close(keyring: _Keyring) -> None:
    await keyring.close()


_KEYRINGS = PerLoop(_Keyring, _close)
