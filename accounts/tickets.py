"""Tickets: what a browser shows instead of a key when it opens a socket. Once, within 60 s."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets

import redis.exceptions
from django.utils.translation import gettext as _

from accounts.models import Scope
from accounts.principals import Principal
from core.errors import Unauthenticated, Unavailable
from core.redis import redis_async

LIFETIME_S = 60
_MAX_LENGTH = 128


def _key(ticket: str) -> str:
    # Hashed, so that reading Redis (a dump, a monitor) gives nobody a usable ticket.
    return "ticket:" + hashlib.sha256(ticket.encode()).hexdigest()


async def issue(principal: Principal, assistant_id: str | None) -> str:
    """A ticket for one voice socket, restricted to an assistant if one is given.

    Raises Unavailable when Redis is away.
    """
    ticket = secrets.token_urlsafe(32)
    stored = dataclasses.asdict(principal)
    stored["scopes"] = sorted(principal.scopes & {Scope.VOICE})
    stored["assistant_id"] = assistant_id or principal.assistant_id
    try:
        await redis_async().set(_key(ticket), json.dumps(stored), ex=LIFETIME_S)
    except redis.exceptions.RedisError:
        raise Unavailable(_("Tickets cannot be made right now."), retry_after=5) from None
    return ticket


async def redeem(ticket: str) -> Principal:
    """The principal behind a ticket, once; its `assistant_id` is what it is restricted to.

    Raises Unauthenticated for an unknown, used or expired ticket, Unavailable without Redis.
    """
    if not ticket.isascii() or not 0 < len(ticket) <= _MAX_LENGTH:
        raise Unauthenticated(_("The ticket is not valid (any more)."))
    try:
        text = await redis_async().getdel(_key(ticket))
    except redis.exceptions.RedisError:
        raise Unavailable(_("Tickets cannot be checked right now."), retry_after=5) from None
    if text is None:
        raise Unauthenticated(_("The ticket is not valid (any more)."))
    stored = json.loads(text)
    return Principal(**{**stored, "scopes": frozenset(stored["scopes"])})
