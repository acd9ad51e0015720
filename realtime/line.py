"""The line between a call and its client, who may lose its socket and come back by another."""

from __future__ import annotations

import asyncio
import logging
import secrets

from realtime.admission import Guest
from realtime.messages import ResumeOffer, ResumeSession, SessionResumed, SoundPosition
from realtime.sender import Encode, Sender, Wire

logger = logging.getLogger(__name__)

RESUME_WITHIN_S = 60
_TOKEN_BYTES = 24
_CLOSE_WITHIN_S = 1.0


class Line:
    """One socket at a time, and what is sent over it.

    A client that was made an offer may be lost: until it is found again, messages are kept for it.
    Times are seconds of any monotonic clock.
    """

    def __init__(self, wire: Wire, encode: Encode) -> None:
        self.wire = wire
        self.sender = Sender(wire, encode)
        self._whose: tuple[str, int | None] | None = None
        self._token = ""
        self._lost_at: float | None = None

    # --- whose it is -----------------------------------------------------------------------------
    def offer(self, guest: Guest) -> ResumeOffer:
        """Lets this caller come back to this assistant."""
        self._whose = _whose(guest)
        return self._new_offer()

    @property
    def is_offered(self) -> bool:
        return self._whose is not None

    def is_for(self, guest: Guest) -> bool:
        """Whether this caller may mean this line; strangers count as one caller."""
        return self._whose == _whose(guest)

    def admits(self, guest: Guest, resume: ResumeSession, now: float) -> bool:
        """Whether this caller may have the line, and can be told all that they missed."""
        return (
            self.is_for(guest)
            and secrets.compare_digest(resume.token.encode(), self._token.encode())
            and not self.is_given_up(now)
            and self.sender.can_resume(resume.last_seq)
        )

    # --- lost and found --------------------------------------------------------------------------
    @property
    def is_lost(self) -> bool:
        return self._lost_at is not None

    def is_given_up(self, now: float) -> bool:
        """Whether the client has been away for too long."""
        return self._lost_at is not None and now - self._lost_at > RESUME_WITHIN_S

    def lose(self, now: float) -> None:
        """The socket is gone. The sender must not be running any more."""
        self._lost_at = now
        self.sender.detach()

    def find(self, wire: Wire, last_seq: int, sound: SoundPosition | None) -> None:
        """The client is back, by another socket, with what it knows. The sender is to be run."""
        self._lost_at = None
        self.wire = wire
        offer = self._new_offer()
        self.sender.attach(wire, last_seq, lambda missed: SessionResumed(missed, offer, sound))

    def _new_offer(self) -> ResumeOffer:
        """A new token; the one before is good for nothing any more."""
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        return ResumeOffer(self._token, RESUME_WITHIN_S)


async def close_socket(wire: Wire, code: int) -> None:
    """Closes a socket that may not work any more."""
    try:
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await wire.close(code)
    except (OSError, RuntimeError) as error:
        logger.debug("the socket cannot be closed in order: %s", error)


def _whose(guest: Guest) -> tuple[str, int | None]:
    principal = guest.caller.principal
    return guest.runtime.id, principal.user_id if principal else None
