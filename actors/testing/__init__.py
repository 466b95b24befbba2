"""Tools for tests of actors: a clock that one moves by hand."""

from actors.testing.manual_clock import ManualClock

__all__ = ["ManualClock"]
