"""The line between a call and its client, who may lose its socket and come back by another."""

from __future__ import annotations

import asyncio
import logging
import secrets

from realtime import neighbours
from realtime.admission import Whose
from realtime.messages import ResumeOffer, ResumeSession, SessionResumed, SoundPosition
from realtime.sender import Encode, Sender, Wire

logger = logging.getLogger(__name__)

RESUME_WITHIN_S = 60
_CLOSE_WITHIN_S = 1.0


class Line:
    """One socket at a time, and what is sent over it.

    A client that was made an offer may be lost: until it is found again, messages are kept for it.
    Times are seconds of any monotonic clock.
    """

    def __init__(self, wire: Wire, encode: Encode) -> None:
        self.wire = wire
        self.sender = Sender(wire, encode)
        self._whose: Whose | None = None
        self._note: neighbours.Note | None = None
        self._token = ""
        # By which the client came, until it shows that it has the new one.
        self._former_token: str | None = None
        self._lost_at: float | None = None
        self._received = 0

    # --- whose it is -----------------------------------------------------------------------------
    def offer(self, whose: Whose) -> ResumeOffer:
        """Lets this caller come back to this assistant, until `withdraw`.

        From here on the client's messages are counted.
        """
        self._whose = whose
        self._received = 0
        self._note = neighbours.Note(whose)
        return self._new_offer()

    def withdraw(self) -> None:
        """The session is over."""
        if self._note is not None:
            self._note.remove()

    @property
    def is_offered(self) -> bool:
        return self._whose is not None

    def is_for(self, whose: Whose) -> bool:
        """Whether this caller may mean this line."""
        return self._whose == whose

    def admits(self, whose: Whose, resume: ResumeSession, now: float) -> bool:
        """Whether this caller may have the line, and can be told all that they missed."""
        return (
            self.is_for(whose)
            and self._knows(resume.token)
            and not self.is_given_up(now)
            and self.sender.can_resume(resume.last_seq)
        )

    # --- what came over it -----------------------------------------------------------------------
    @property
    def received(self) -> int | None:
        """How many messages of the client have come since the offer, over all its sockets."""
        return self._received if self.is_offered else None

    def count(self) -> None:
        """Another message of the client has come; whatever it says, it is not to come again."""
        self._received += 1

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

    def find(self, wire: Wire, resume: ResumeSession, sound: SoundPosition | None) -> None:
        """The client is back, by another socket, with what it knows. The sender is to be run.

        The token that it came by stays good until `confirm`: the new one may get lost on its way.
        """
        self._lost_at = None
        self.wire = wire
        self._former_token = resume.token
        offer, received = self._new_offer(), self._received
        self.sender.attach(
            wire, resume.last_seq, lambda missed: SessionResumed(missed, offer, received, sound)
        )

    def confirm(self) -> None:
        """The client has spoken at its present socket, so it knows the newest token."""
        self._former_token = None

    def _new_offer(self) -> ResumeOffer:
        self._token = neighbours.new_token()
        return ResumeOffer(self._token, RESUME_WITHIN_S)

    def _knows(self, token: str) -> bool:
        known = (self._token, self._former_token or self._token)
        return any(secrets.compare_digest(token.encode(), each.encode()) for each in known)


async def close_socket(wire: Wire, code: int) -> None:
    """Closes a socket that may not work any more."""
    try:
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await wire.close(code)
    except (OSError, RuntimeError) as error:
        logger.debug("the socket cannot be closed in order: %s", error)
