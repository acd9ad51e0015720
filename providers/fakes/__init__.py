"""Stand-ins for model vendors that speak the real protocols over HTTP.

Tests use `FakeUpstream` in a thread of their own; the bench and demos run
`python -m providers.fakes` as a process. Loads neither Django nor a vendor's SDK.
"""

from providers.fakes.behaviour import Behaviour, Stats, Step
from providers.fakes.thread import FakeUpstream

__all__ = ["Behaviour", "FakeUpstream", "Stats", "Step"]
