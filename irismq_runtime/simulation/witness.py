"""The witness: hears what all nodes tell, keeps the trace, and says when something broke.

It stands outside of every host, so it outlives them. The first complaint of an invariant
ends the run: what comes after is the consequence.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from irismq_runtime.simulation.failures import InvariantBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from actors import Event, Events
    from irismq_runtime.simulation.invariants import Complaint, Invariant, Life

__all__ = ["Happened", "Witness"]

#: One entry of the trace: when, in virtual seconds since the run began; whose event it is, or
#: None for what was done to machines; the event, or what was done, in words. A plain tuple:
#: one is made for each event of each node.
Happened: TypeAlias = "tuple[float, Life | None, Event | str]"

#: Entries of the trace that are kept.
_KEPT: Final = 50_000
#: Seconds that a process which stood still has for what fell due meanwhile.
CATCHES_UP: Final = 5.0


class Witness:
    """See the module.

    Args:
        now: The virtual time.
        on_broken: Called with the first thing that broke, and with an error of an invariant.
    """

    def __init__(
        self, now: Callable[[], float], on_broken: Callable[[BaseException], object]
    ) -> None:
        self._now = now
        self._on_broken = on_broken
        self._hearers: dict[str, list[Invariant]] = {}
        #: Until when what holds messages is excused, for each fault that struck it.
        self._excused: dict[str, dict[int, float]] = {}
        #: When each machine that stood still went on; infinity: it has not.
        self._went_on: dict[str, float] = {}
        self._over = False
        self.invariants: list[Invariant] = []
        self.broken: InvariantBroken | None = None
        self.trace: deque[Happened] = deque(maxlen=_KEPT)

    def end(self) -> None:
        """The test is over: what comes is no part of it."""
        self._over = True

    def hold(self, invariants: Iterable[Invariant]) -> None:
        """See that these hold, from now on."""
        for each in invariants:
            self.invariants.append(each)
            for name in sorted(each.hears):
                self._hearers.setdefault(name, []).append(each)

    def listen(self, life: Life, events: Events) -> None:
        """Hear what one process tells."""

        def saw(event: Event) -> None:
            if self._over:
                return
            now = self._now()
            self.trace.append((now, life, event))
            try:
                for each in self._hearers.get(event.name, ()):
                    self._complained(each, each.saw(life, event, now))
            except Exception as error:  # a subscriber that raises would be removed, and be deaf
                self._on_broken(error)

        events.subscribe(saw)

    def note(self, what: str) -> None:
        """Something was done to machines, or undone."""
        self.trace.append((self._now(), None, what))

    def excuse(self, holder: str, fault: int, seconds: float) -> None:
        """For `seconds` messages that a machine or a broker holds may come to others as well."""
        self._excused.setdefault(holder, {})[fault] = self._now() + seconds

    def stands_still(self, machine: str, *, still: bool) -> None:
        """A machine stands still from now on, or goes on."""
        self._went_on[machine] = math.inf if still else self._now()

    def disturbed(self, holder: str, now: float) -> bool:
        """Whether a machine or a broker was struck of late, so that what it holds may be lost."""
        return any(now < until for until in self._excused.get(holder, {}).values())

    def stood_still(self, life: Life, now: float) -> bool:
        """Whether the machine of a process stands still, or has only just gone on."""
        return now - self._went_on.get(life.host, -math.inf) < CATCHES_UP

    def died(self, life: Life) -> None:
        """A process ended."""
        now = self._now()
        for each in self.invariants:
            each.died(life, now)

    def look(self) -> None:
        """Look at the time; to be called every second of it."""
        now = self._now()
        for each in self.invariants:
            self._complained(each, each.looked(now))

    def look_for_losses(self, held: Container[str]) -> None:
        """All brokers run, and hold these: is anything lost?"""
        for each in self.invariants:
            self._complained(each, each.lost(held))

    def owed(self, since: float, later: Container[str]) -> Iterator[str]:
        """Say what began before `since` and has not ended, but for what is due only later."""
        yield from (owed for each in self.invariants if (owed := each.owed(since, later)))

    def _complained(self, invariant: Invariant, complaint: Complaint | None) -> None:
        if complaint is not None:
            self.breaks(invariant.holds, complaint.text, about=complaint.about)

    def breaks(self, holds: str, text: str, *, about: str = "") -> None:
        """Something that must hold does not."""
        if self.broken is None and not self._over:
            self.broken = InvariantBroken(holds, text, at=self._now(), about=about)
            self._on_broken(self.broken)
