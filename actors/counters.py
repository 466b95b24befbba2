"""What the actors of a system have done: counts that only grow, and what is there now.

`Counters` is of a whole system: what happened that nobody was told of. `ClassCounters`
is of one class of actors. Nothing of that is added up while messages are handled: every
slot counts its own, and `System.counters_by_class` reads them. What slots that have ended
did is kept by class, so the sums never shrink. There are as many entries as there are
classes of actors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

__all__ = ["ClassCounters", "Counters", "EndedCounters", "counters_of"]


@dataclass(slots=True)
class Counters:
    """What happened in a system that nobody was told of otherwise. Only ever grows."""

    #: Answers that came after the caller had given up.
    late_answers: int = 0
    #: Asks whose caller had given up when their turn came: not handled. And promised
    #: answers (`reply_later`) whose deadline came first.
    expired: int = 0
    #: Messages that a full inbox refused.
    refused: int = 0


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


class _Countable(Protocol):
    """What is read of a slot."""

    actor_class: type[Any]
    handled: int
    incarnation: int

    @property
    def inbox(self) -> Sized: ...


def counters_of(
    slots: Iterable[_Countable], ended: dict[type, EndedCounters]
) -> dict[type, ClassCounters]:
    """Return the counts by class, of living and ended slots."""
    found = {
        cls: ClassCounters(handled=then.handled, restarts=then.restarts, crashes=then.crashes)
        for cls, then in ended.items()
    }
    for slot in slots:
        counters = found.get(slot.actor_class)
        if counters is None:
            counters = found[slot.actor_class] = ClassCounters()
        counters.actors += 1
        counters.handled += slot.handled
        if slot.inbox:  # of thousands that rest nearly none has one, or a second incarnation
            counters.waiting += len(slot.inbox)
        if slot.incarnation > 1:
            counters.restarts += slot.incarnation - 1
    return found
