"""Whether whoever reads a long answer may still read on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError

from accounts.principals import Principal, refreshed
from core.db import in_db
from core.errors import AppError

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 30.0


class Standing:
    """A principal that was let in, looked at again from time to time while an answer goes on.

    `still` raises an AppError where the principal, as it is by then, would not be let in any more.
    """

    def __init__(
        self,
        principal: Principal,
        still: Callable[[Principal], object],
        *,
        every_s: float = CHECK_EVERY_S,
    ) -> None:
        self._principal, self._still, self._every_s = principal, still, every_s
        self._checked_at = time.monotonic()

    async def check(self) -> None:
        """Raises an AppError where the reader may go no further, as far as is known by now."""
        if time.monotonic() - self._checked_at < self._every_s:
            return
        try:
            await in_db(self._look_again)
        except (DatabaseError, InterfaceError) as error:
            # Nobody lost a right by that; it is asked again soon.
            logger.warning("Whether user %s may read on: %r", self._principal.user_id, error)
            return
        self._checked_at = time.monotonic()

    async def holds(self) -> bool:
        """Whether the reader may go on, as far as is known by now."""
        try:
            await self.check()
        except AppError as error:
            logger.info("User %s may read no further: %s", self._principal.user_id, error)
            return False
        return True

    def _look_again(self) -> None:
        self._still(refreshed(self._principal))
