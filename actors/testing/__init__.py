"""Tools for tests of actors: a clock that one moves by hand, probes, rest, waiting.

`actors.testing.pytest_plugin` gives them as fixtures.
"""

from actors.testing.manual_clock import ManualClock
from actors.testing.probe import Probe, Received
from actors.testing.settling import settle
from actors.testing.waiting import eventually, expect_event

__all__ = ["ManualClock", "Probe", "Received", "eventually", "expect_event", "settle"]
