"""How many restarts within how long: the window that makes a supervisor give up.

One list of entries per supervisor, not per child (OTP's rule). Each restart adds
`now`; entries older than `max_seconds` go, and one that is exactly that old stays;
more than `max_restarts` entries means: give up. Times are monotonic seconds.

An entry ages only while its child runs. The time a restart takes (stop, backoff,
start) is not counted, so that a child whose start takes longer than the window
and then fails still comes to the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Intensity", "Window"]


class Intensity(NamedTuple):
    """At most `max_restarts` restarts within `max_seconds`; `None` sets no limit."""

    max_restarts: int | None = 3
    max_seconds: float = 5.0

    def __str__(self) -> str:
        times = f"{self.max_restarts} restart{'' if self.max_restarts == 1 else 's'}"
        return f"{times} in {self.max_seconds:g} s"


class Entry(NamedTuple):
    """One restart: when it was decided, and of which child."""

    time: float
    child: str


class Window(NamedTuple):
    """The restarts that still count. Immutable."""

    entries: tuple[Entry, ...] = ()

    def add(
        self,
        intensity: Intensity,
        child: str,
        now: float,
        held: Callable[[str], bool],
    ) -> tuple[Window, bool]:
        """Count one restart of `child`; return the window and whether the limit is passed.

        `held(name)` is true while that child is being restarted: its entries do not age.
        """
        if intensity.max_restarts is None:
            return self, False
        oldest = now - intensity.max_seconds
        kept = [entry for entry in self.entries if entry.time >= oldest or held(entry.child)]
        kept.append(Entry(now, child))
        return Window(tuple(kept)), len(kept) > intensity.max_restarts

    def resume(self, child: str, began: float, now: float) -> Window:
        """`child` runs again after a restart that began at `began`: that time did not count."""
        spent = now - began
        if not self.entries or spent <= 0:
            return self
        return Window(
            tuple(
                Entry(min(entry.time + spent, now), child) if entry.child == child else entry
                for entry in self.entries
            )
        )
