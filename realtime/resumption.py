"""The way back into a session whose socket was lost."""

from __future__ import annotations

import secrets

from realtime.admission import Guest
from realtime.messages import ResumeOffer

RESUME_WITHIN_S = 60
# Of one process. Beyond it, who is lost is gone; each holds up to some 2 MB.
MAX_LOST = 64
_TOKEN_BYTES = 24


class WayBack:
    """Who may go on with a session, by which token, and since when its client is lost."""

    def __init__(self, guest: Guest) -> None:
        self._whose = _whose(guest)
        self._token = ""
        self._lost_at: float | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the client is away."""
        return self._lost_at is not None

    def offer(self) -> ResumeOffer:
        """A new token; the one before it is good for nothing any more. The client is here."""
        self._lost_at = None
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        return ResumeOffer(self._token, RESUME_WITHIN_S)

    def lose(self, now: float) -> None:
        """The client is lost since now; `now` is any monotonic clock, in seconds."""
        self._lost_at = now

    def is_over(self, now: float) -> bool:
        """Whether the client has been away for too long."""
        return self._lost_at is not None and now - self._lost_at > RESUME_WITHIN_S

    def is_for(self, guest: Guest) -> bool:
        """Whether these are the same caller and the same assistant; strangers count as one."""
        return _whose(guest) == self._whose

    def opens_with(self, token: str) -> bool:
        """Whether this is the token that was given last."""
        return secrets.compare_digest(token.encode(), self._token.encode())


def _whose(guest: Guest) -> tuple[str, int | None]:
    principal = guest.caller.principal
    return guest.runtime.id, principal.user_id if principal else None
