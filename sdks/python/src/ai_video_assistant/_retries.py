"""Whether, and when, a request is made again. Pure but for the dice."""

from __future__ import annotations

import dataclasses
import datetime
import random
from email.utils import parsedate_to_datetime
from typing import Literal

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
# Who is told to wait for longer is told so by an error instead.
LONGEST_RETRY_AFTER_S = 60.0

# How far a request came that has no answer: it did not leave, or nobody knows.
Fate = Literal["unsent", "unknown"]

# Of somebody between, or of a server that stumbled: it may have been done.
_FAILED = {502, 503, 504}


@dataclasses.dataclass(slots=True)
class Retries:
    """The attempts of one request that are left."""

    left: int
    is_repeatable: bool
    made: int = 0

    def after_status(self, status: int, retry_after: float | None) -> float | None:
        """Seconds to wait before the next attempt; None: take the answer."""
        # Who says when to come back has done nothing yet.
        is_refused = status == 429 or (status == 503 and retry_after is not None)
        may = is_refused or (status in _FAILED and self.is_repeatable)
        if not may or (retry_after is not None and retry_after > LONGEST_RETRY_AFTER_S):
            return None
        return self._next(retry_after)

    def after_failure(self, fate: Fate) -> float | None:
        """The same where no answer came."""
        return self._next(None) if fate == "unsent" or self.is_repeatable else None

    def _next(self, retry_after: float | None) -> float | None:
        if self.left <= 0:
            return None
        self.left -= 1
        self.made += 1
        return backoff(self.made) if retry_after is None else retry_after + random.random() / 4  # noqa: S311


def backoff(attempt: int) -> float:
    """Seconds before the n-th repetition: doubled each time, with half of it left to chance."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempt - 1))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads clients, guards nothing


def seconds_in(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a moment."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    now = datetime.datetime.now(datetime.UTC)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (aware - now).total_seconds())
