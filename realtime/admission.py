"""Who may talk: from a socket's handshake to an assistant, a slot and a journal, or a refusal."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFailure
from django.http.request import split_domain_port, validate_host
from django.utils.translation import gettext as _

from accounts import tickets
from accounts.limits import SOCKETS_PER_STRANGER, VoiceSlots, limit_connects
from accounts.models import Scope
from accounts.principals import (
    Principal,
    credential_in,
    no_credential,
    principal_for_credential,
    refreshed,
)
from assistants.access import access_assistant_to_talk
from assistants.runtime import AssistantRuntime, load_runtime
from conversations.journal import CallJournal, open_call
from core.db import in_db
from core.errors import Forbidden, NotFound, RateLimited, Unauthenticated, Unavailable
from core.languages import asked_language
from realtime.messages import ClientMessage, Hello, Problem

logger = logging.getLogger(__name__)

SUBPROTOCOL = "bearer"

GOING_AWAY = 1001
PROTOCOL = 4400
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
UNKNOWN_ASSISTANT = 4404
REPLACED = 4409
RESUME_EXPIRED = 4410
TOO_MANY = 4429
OVERLOADED = 4503

_slots = VoiceSlots()


class Refused(Exception):
    """The call does not come about: the client is told why, then the socket is closed."""

    def __init__(self, code: str, message: str, close_code: int) -> None:
        super().__init__(code)
        self.problem = Problem(code, message, "protocol", is_retryable=close_code >= TOO_MANY)
        self.close_code = close_code


@dataclasses.dataclass(frozen=True, slots=True)
class Handshake:
    """What the client showed when it connected."""

    assistant_id: str
    authorization: str | None
    api_key: str | None
    bearer: str | None
    ticket: str | None
    origin: str | None
    host: str
    offers_bearer: bool
    address: str = "unknown"
    # Of what the call says to people; the assistant's own language is another matter.
    language: str = settings.LANGUAGE_CODE

    def disagrees_with(self, hello: Hello) -> bool:
        """Whether both show a credential, and not the same one."""
        shown = {self.api_key, self.bearer, (self.authorization or "").partition(" ")[2]}
        shown -= {None, ""}
        return bool(shown) and not {hello.api_key, hello.jwt} - {None} <= shown


def read_handshake(scope: dict[str, Any]) -> Handshake:
    """The handshake in an ASGI scope."""
    headers = {name: value.decode("latin-1") for name, value in scope.get("headers", [])}
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    protocols: list[str] = list(scope.get("subprotocols", []))
    is_pair = len(protocols) == 2 and protocols[0] == SUBPROTOCOL
    return Handshake(
        assistant_id=query.get("assistant_id", [""])[0],
        authorization=headers.get(b"authorization"),
        api_key=headers.get(b"x-api-key"),
        bearer=protocols[1] if is_pair else None,
        ticket=query.get("ticket", [None])[0],
        origin=headers.get(b"origin"),
        host=headers.get(b"host", ""),
        offers_bearer=SUBPROTOCOL in protocols,
        address=(scope.get("client") or ["unknown"])[0],
        language=asked_language(headers.get(b"accept-language", "")) or settings.LANGUAGE_CODE,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One of the concurrent sockets that somebody may have: a lease (owner, id) of each limit."""

    leases: tuple[tuple[str, str], ...]

    async def renew(self) -> None:
        for owner, lease in self.leases:
            await _slots.renew(owner, lease)

    async def release(self) -> None:
        for owner, lease in self.leases:
            await _slots.release(owner, lease)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a principal, by a credential or a ticket; nobody known on a public assistant."""

    principal: Principal | None = None
    credential: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Whose:
    """To whom a session belongs: the strangers at an assistant count as one caller."""

    assistant_id: str
    user_id: int | None

    @classmethod
    def of(cls, assistant_id: str, caller: Caller) -> Whose:
        return cls(assistant_id, caller.principal.user_id if caller.principal else None)


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """A caller who may talk."""

    caller: Caller
    runtime: AssistantRuntime
    slot: Slot
    journal: CallJournal


# The client's first message, or None when none comes for a while.
FirstMessage = Callable[[], Awaitable[ClientMessage | None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """A caller who may talk to the assistant, if there is room."""

    caller: Caller
    runtime: AssistantRuntime
    address: str

    @property
    def whose(self) -> Whose:
        return Whose.of(self.runtime.id, self.caller)


async def recognise(handshake: Handshake, first_message: FirstMessage) -> Guest:
    """Who calls. `first_message` is asked where the handshake shows no credential.

    Raises Refused.
    """
    if not handshake.assistant_id:
        message = _("The address needs ?assistant_id=…")
        raise Refused("protocol.assistant_id_required", message, PROTOCOL)
    try:
        caller = await _caller(handshake, first_message)
        runtime = await _runtime(caller.principal, handshake)
    except Forbidden as error:
        raise Refused("auth.forbidden", str(error.message), FORBIDDEN) from None
    except (Unavailable, DatabaseFailure):
        logger.exception("a call could not be admitted")
        raise _unavailable() from None
    return Guest(caller, runtime, handshake.address)


async def admit(guest: Guest) -> Admission:
    """Lets a caller in who begins a call of their own.

    Raises Refused. Whoever gets the admission gives its slot back and closes its journal.
    """
    runtime, principal = guest.runtime, guest.caller.principal
    slot = await _slot(principal, runtime.id, guest.address)
    owner_id = principal.user_id if principal else runtime.owner_id
    async with AsyncExitStack() as undo:
        undo.push_async_callback(slot.release)
        try:
            journal = await open_call(runtime, owner_id=owner_id)
        except DatabaseFailure:
            logger.exception("a call could not be recorded")
            raise _unavailable() from None
        undo.pop_all()
    return Admission(guest.caller, runtime, slot, journal)


def check_still_allowed(caller: Caller, assistant_id: str) -> Caller:
    """The caller as they are by now. Reads the database.

    Raises Refused when the credential, the assistant or the right to talk to it is gone.
    """
    try:
        caller = dataclasses.replace(caller, principal=_principal_by_now(caller))
    except Unauthenticated:
        message = _("The credential was revoked.")
        raise Refused("auth.invalid_api_key", message, UNAUTHENTICATED) from None
    try:
        access_assistant_to_talk(caller.principal, assistant_id)
    except NotFound as error:
        raise _unknown(error) from None
    return caller


async def _caller(handshake: Handshake, first_message: FirstMessage) -> Caller:
    """Who calls. Raises Refused, Forbidden, Unavailable."""
    try:
        caller = await _identified(handshake, first_message)
    except Unauthenticated as error:
        await _count_connect(None, handshake.address)
        raise Refused("auth.invalid_api_key", str(error.message), UNAUTHENTICATED) from None
    principal = caller.principal
    await _count_connect(principal, handshake.address)
    if principal is not None:
        principal.require(Scope.VOICE)
        if principal.assistant_id not in (None, handshake.assistant_id):
            raise Forbidden(_("The ticket is for another assistant."))
    return caller


async def _identified(handshake: Handshake, first_message: FirstMessage) -> Caller:
    if handshake.ticket is not None:
        return Caller(await tickets.redeem(handshake.ticket))
    credential = credential_in(handshake.authorization, handshake.api_key)
    if handshake.bearer is not None:
        credential = credential_in(f"Bearer {handshake.bearer}", credential)
    if credential is None:
        credential = _credential_in_hello(await first_message())
    if credential is None:
        return Caller()
    return Caller(await in_db(principal_for_credential, credential), credential)


def _credential_in_hello(message: ClientMessage | None) -> str | None:
    if not isinstance(message, Hello) or not message.has_credential:
        return None
    return credential_in(f"Bearer {message.jwt}" if message.jwt else None, message.api_key)


async def _runtime(principal: Principal | None, handshake: Handshake) -> AssistantRuntime:
    try:
        return await in_db(_load, principal, handshake)
    except NotFound as error:
        if principal is None:
            # Private and unknown assistants look alike to strangers.
            message = _("This assistant needs a credential.")
            raise Refused("auth.required", message, UNAUTHENTICATED) from None
        raise _unknown(error) from None
    except ImproperlyConfigured:
        logger.exception("an assistant cannot be loaded")
        raise _unavailable() from None


def _load(principal: Principal | None, handshake: Handshake) -> AssistantRuntime:
    row = access_assistant_to_talk(principal, handshake.assistant_id)
    if principal is None and not _is_origin_allowed(handshake, row.allowed_origins):
        raise Forbidden(_("Pages of this origin may not talk to this assistant."))
    return load_runtime(row.pk, caller_id=principal.user_id if principal else None)


def _is_origin_allowed(handshake: Handshake, allowed: list[str]) -> bool:
    """Whether the page, if any, is on the list; an empty list means this server's own pages."""
    if handshake.origin is None:
        return not allowed
    if allowed:
        return handshake.origin in allowed
    # A foreign name that resolves to us must not make a page our own.
    domain, _port = split_domain_port(handshake.host)
    is_own_name = bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
    return is_own_name and urlsplit(handshake.origin).netloc == handshake.host


async def _count_connect(principal: Principal | None, address: str) -> None:
    try:
        await asyncio.to_thread(limit_connects, principal, address)
    except RateLimited as error:
        raise _too_many(error) from None


async def _slot(principal: Principal | None, assistant_id: str, address: str) -> Slot:
    if principal is not None:
        limits: dict[str, int | None] = {f"user:{principal.user_id}": None}
    else:
        # One stranger may not take all that a public assistant has for strangers.
        everybody = f"public:{assistant_id}"
        limits = {f"{everybody}:{address}": SOCKETS_PER_STRANGER, everybody: None}
    leases: list[tuple[str, str]] = []
    async with AsyncExitStack() as undo:
        for owner, at_most in limits.items():
            try:
                lease = await _slots.acquire(owner, at_most=at_most)
            except RateLimited as error:
                raise _too_many(error) from None
            leases.append((owner, lease))
            undo.push_async_callback(_slots.release, owner, lease)
        undo.pop_all()
    return Slot(tuple(leases))


def _principal_by_now(caller: Caller) -> Principal | None:
    """Raises Unauthenticated."""
    if caller.principal is None:
        return None
    if caller.credential is not None:
        principal = principal_for_credential(caller.credential)
    else:
        principal = refreshed(caller.principal)
    if Scope.VOICE not in principal.scopes:
        raise no_credential()
    return principal


def resume_expired() -> Refused:
    """The one answer to whoever may not resume a session, whatever the reason is."""
    message = _("There is no session to go on with.")
    return Refused("session.resume_expired", message, RESUME_EXPIRED)


def _too_many(error: RateLimited) -> Refused:
    return Refused("rate_limit.connections", str(error.message), TOO_MANY)


def _unknown(error: NotFound) -> Refused:
    return Refused("assistant.not_found", str(error.message), UNKNOWN_ASSISTANT)


def _unavailable() -> Refused:
    message = _("The assistant cannot be reached right now.")
    return Refused("assistant.config_unavailable", message, OVERLOADED)
