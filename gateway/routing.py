"""Which upstream of a public model is asked, and in which order the others are. Pure.

By priority; among equals by chance, in the proportion of their weights. One that keeps failing
rests, and is then tried by a single request before the others come back to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from random import random

from gateway.types import Target

FAILURES_BEFORE_REST = 3
REST_S = 15.0
LONGEST_REST_S = 120.0
# Requests to upstreams that answer one client's request, in all.
MOST_ATTEMPTS = 3


@dataclasses.dataclass(slots=True)
class _State:
    failures: int = 0
    rest_s: float = 0.0
    rests_until: float = 0.0
    # One request is finding out whether it is well again.
    is_tried: bool = False


class Health:
    """What a process knows about how its upstreams have been doing. Times are a clock's seconds."""

    def __init__(self, chance: Callable[[], float] = random) -> None:
        self._states: dict[str, _State] = {}
        self._chance = chance

    def order(self, targets: Sequence[Target], now: float) -> list[Target]:
        """All targets as they are to be asked; those that rest come last, as the last hope.

        One whose rest is over is taken for well by this request alone; if it fails again, it rests
        for longer.
        """
        if len(targets) == 1:
            return list(targets)
        keyed = []
        for target in targets:
            state = self._states.get(target.row_id)
            is_resting = state is not None and state.rests_until > now
            # The exponential race: the chance to be first is the share of the weight.
            draw = -(max(self._chance(), 1e-12) ** (1 / target.weight))
            keyed.append((is_resting, target.priority, draw, target))
        keyed.sort(key=lambda each: each[:3])
        first = self._states.get(keyed[0][3].row_id)
        if first is not None and first.rests_until and first.rests_until <= now:
            # Others that come meanwhile wait for what this one finds.
            first.rests_until, first.is_tried = now + first.rest_s, True
        return [target for *_, target in keyed]

    def failed(self, target: Target, now: float) -> None:
        """Notes that the target failed as a service, not for what it was asked.

        Requests that were on their way when its rest began fail for the same reason, and count not.
        """
        state = self._states.setdefault(target.row_id, _State())
        if state.rests_until > now and not state.is_tried:
            return
        state.failures += 1
        if state.failures >= FAILURES_BEFORE_REST:
            state.rest_s = min(LONGEST_REST_S, state.rest_s * 2 or REST_S)
            state.rests_until, state.is_tried = now + state.rest_s, False

    def succeeded(self, target: Target) -> None:
        """Notes that the target answered."""
        self._states.pop(target.row_id, None)

    def is_resting(self, target: Target, now: float) -> bool:
        """Whether others are asked first."""
        state = self._states.get(target.row_id)
        return state is not None and state.rests_until > now


def attempts(ordered: Sequence[Target]) -> list[Target]:
    """Whom to ask for one request: each in turn, the only one twice, never more than a few."""
    twice = [*ordered, *ordered] if len(ordered) == 1 else list(ordered)
    return twice[:MOST_ATTEMPTS]
