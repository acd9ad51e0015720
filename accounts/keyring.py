"""API keys in memory: who asks, without asking the database for every request.

Each event loop keeps what it has read of keys. Word of a change (`core.changes`) takes a key out at
once, whoever changed it and how. Without word a key is read again after `FRESH_S`; while the
database is away altogether, known keys go on being served. Expiry is looked at on each use.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import OrderedDict
from decimal import Decimal
from typing import NoReturn, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext as _

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
from core.errors import Unauthenticated, Unavailable
from core.loops import PerLoop

logger = logging.getLogger(__name__)
_Held = TypeVar("_Held")

MOST_KEYS = 10_000
MOST_REFUSED = 1_000
# For how long what was read is believed where no word of changes comes; refusals, in any case.
FRESH_S = 2.0
# A database that does not answer within this is taken for away, where a key is known already.
_PATIENCE_S = 0.5
_REST_S = 1.0
_NOTE_USE_EVERY_S = 60.0
_NOTE_AFTER_S = 1.0


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
    return _KEYRINGS.get().cached(credential)


async def key_for(credential: str) -> KeyRecord:
    """The record of an API key, from memory if possible.

    Raises Unauthenticated (unknown, or no API key), CredentialUnusable (it or its owner is disabled,
    or it has expired), Unavailable (not in memory, and the database is away).
    """
    return await _KEYRINGS.get().find(credential)


@dataclasses.dataclass(slots=True)
class _Entry:
    record: KeyRecord
    read_at: float
    noted_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    error: Unauthenticated
    until: float


class _Keyring:
    """The keys that one event loop knows, by the digest that the database has of each."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Entry] = OrderedDict()
        self._refused: OrderedDict[str, _Refusal] = OrderedDict()
        self._reading: dict[str, asyncio.Task[KeyRecord | Exception]] = {}
        self._used: set[int] = set()
        self._noting: asyncio.Task[None] | None = None
        # What was read before may have changed without word.
        self._doubted_at = 0.0
        # Until when the database is not asked for keys that are known.
        self._away_until = 0.0
        self._is_away = False
        self._listener = changes.listener()
        changes.subscribe("keys", self._forget, self._doubt_all)

    def cached(self, credential: str) -> KeyRecord | None:
        """The record, if nothing has to be asked."""
        entry = self._known.get(digest := hash_key(credential))
        if entry is None:
            return None
        now = time.monotonic()
        if not self._is_believed(entry, now):
            return None
        record = entry.record
        if record.expires_at is not None and _is_over(record):
            return None
        self._known.move_to_end(digest)
        if now - entry.noted_at >= _NOTE_USE_EVERY_S:
            self._note_use(entry, now)
        return record

    async def find(self, credential: str) -> KeyRecord:
        """The record, from memory or read now. Raises as `key_for` says."""
        credential = checked(credential)
        if not credential.startswith(KEY_PREFIX):
            raise no_credential()
        if (record := self.cached(credential)) is not None:
            return record
        digest = hash_key(credential)
        self._raise_if_refused(digest)
        known = self._known.get(digest)
        if known and self._is_away:
            # One request a second looks whether it is back; the others do not wait.
            self._away_until = time.monotonic() + _REST_S
        outcome = await self._read(digest, patience_s=_PATIENCE_S if known else None)
        if isinstance(outcome, KeyRecord):
            return outcome
        if isinstance(outcome, Unauthenticated):
            _raise_anew(outcome)
        self._report_outage(outcome)
        if known is None or _is_over(known.record):
            text = _("Credentials cannot be checked at present; try again later.")
            raise Unavailable(text, retry_after=1)
        return known.record

    def _is_believed(self, entry: _Entry, now: float) -> bool:
        if self._listener.is_listening:
            is_fresh = entry.read_at >= self._doubted_at
        else:
            is_fresh = now - entry.read_at < FRESH_S
        return is_fresh or now < self._away_until

    def _raise_if_refused(self, digest: str) -> None:
        refusal = self._refused.get(digest)
        if refusal is not None and time.monotonic() < refusal.until:
            _raise_anew(refusal.error)

    async def _read(self, digest: str, *, patience_s: float | None) -> KeyRecord | Exception:
        """Reads the key, once for all who ask at the same time. Errors are returned."""
        task = self._reading.get(digest)
        if task is None:
            work = self._read_now(digest)
            task = self._reading[digest] = asyncio.get_running_loop().create_task(work)
        await asyncio.wait((task,), timeout=patience_s)
        return task.result() if task.done() else TimeoutError()

    async def _read_now(self, digest: str) -> KeyRecord | Exception:
        task = asyncio.current_task()
        began_at = time.monotonic()
        outcome: KeyRecord | Exception
        try:
            outcome = await in_db(_record_of, digest)
        except (Unauthenticated, DatabaseError, InterfaceError) as error:
            outcome = error
        # Not if word of a change came meanwhile: this may be what was there before.
        if self._reading.get(digest) is task:
            del self._reading[digest]
            self._keep(digest, outcome, began_at)
        return outcome

    def _keep(self, digest: str, outcome: KeyRecord | Exception, began_at: float) -> None:
        if isinstance(outcome, (DatabaseError, InterfaceError)):
            return
        self._is_away, self._away_until = False, 0.0
        if isinstance(outcome, KeyRecord):
            self._refused.pop(digest, None)
            earlier = self._known.get(digest)
            noted_at = earlier.noted_at if earlier else -_NOTE_USE_EVERY_S
            entry = self._known[digest] = _Entry(outcome, began_at, noted_at)
            if began_at - noted_at >= _NOTE_USE_EVERY_S:
                self._note_use(entry, began_at)
            _bound(self._known, MOST_KEYS)
        elif isinstance(outcome, Unauthenticated):
            self._known.pop(digest, None)
            self._refused[digest] = _Refusal(outcome, began_at + FRESH_S)
            _bound(self._refused, MOST_REFUSED)

    # --- Word of changes -----------------------------------------------------------------------

    def _forget(self, what: str) -> None:
        kind, _colon, user_id = what.partition(":")
        if kind == "user":
            self._forget_user(user_id)
            return
        self._known.pop(what, None)
        self._refused.pop(what, None)
        self._reading.pop(what, None)

    def _forget_user(self, user_id: str) -> None:
        for digest, entry in list(self._known.items()):
            if str(entry.record.principal.user_id) == user_id:
                del self._known[digest]
        # Whose these are is not known.
        self._refused.clear()
        self._reading.clear()

    def _doubt_all(self) -> None:
        """Reads every key anew at its next use; it is kept for the case that this fails."""
        self._doubted_at = time.monotonic()
        self._refused.clear()
        self._reading.clear()

    # --- Outages -------------------------------------------------------------------------------

    def _report_outage(self, error: Exception) -> None:
        """Known keys are served without asking for a while; said once for each outage."""
        self._away_until = time.monotonic() + _REST_S
        if not self._is_away:
            self._is_away = True
            logger.error("API keys cannot be read: known ones are served as they were: %r", error)

    # --- When a key was used -------------------------------------------------------------------

    def _note_use(self, entry: _Entry, now: float) -> None:
        entry.noted_at = now
        self._used.add(entry.record.key_id)
        if self._noting is None:
            self._noting = asyncio.get_running_loop().create_task(self._note_uses())

    async def _note_uses(self) -> None:
        await asyncio.sleep(_NOTE_AFTER_S)
        used, self._used, self._noting = self._used, set(), None
        try:
            await in_db(mark_used, used)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("When %d keys were last used could not be noted: %r", len(used), error)

    async def close(self) -> None:
        """Ends what is on its way."""
        tasks = [*self._reading.values(), *([self._noting] if self._noting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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


def _raise_anew(error: Unauthenticated) -> NoReturn:
    """An exception that is raised again and again would keep every traceback."""
    raise type(error)(error.message)


def _bound(held: OrderedDict[str, _Held], most: int) -> None:
    while len(held) > most:
        held.popitem(last=False)


async def _close(keyring: _Keyring) -> None:
    await keyring.close()


_KEYRINGS = PerLoop(_Keyring, _close)
