"""What the actors of each class have done: counts that only grow, and what is there now.

Nothing is added up while messages are handled: every slot counts its own, and
`System.counters_by_class` reads them. What slots that have ended did is kept by class, so
the sums never shrink. There are as many entries as there are classes of actors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors._ending import Ending

__all__ = ["ClassCounters", "EndedCounters", "counters_of"]


@dataclass(slots=True)
class EndedCounters:
    """What the ended slots of one class did, and the crashes of all of them."""

    handled: int = 0
    restarts: int = 0
    crashes: int = 0


@dataclass(slots=True)
class ClassCounters:
    """The actors of one class. `actors` and `waiting` (messages) are of this moment."""

    actors: int = 0
    waiting: int = 0
    handled: int = 0
    restarts: int = 0
    crashes: int = 0


def counters_of(
    slots: Iterable[Ending], past: dict[type, EndedCounters]
) -> dict[type, ClassCounters]:
    """The counts by class, of living and ended slots."""
    found = {
        cls: ClassCounters(handled=then.handled, restarts=then.restarts, crashes=then.crashes)
        for cls, then in past.items()
    }
    for slot in slots:
        counters = found.get(slot.actor_class)
        if counters is None:
            counters = found[slot.actor_class] = ClassCounters()
        counters.actors += 1
        counters.waiting += len(slot.inbox)
        counters.handled += slot.handled
        if slot.incarnation > 1:
            counters.restarts += slot.incarnation - 1
    return found
