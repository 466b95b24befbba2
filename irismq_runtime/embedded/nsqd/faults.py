"""What an embedded nsqd does wrong on purpose: what a real one may do on a bad day.

`NsqdFaults()` does nothing of it. Chance comes from a seed, so that a failing run can be had
again. Decisions only; the session carries them out. Messages that come twice, late and out of
order are no faults of a broker: NSQ promises nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from actors.rules import need, number

__all__ = ["NsqdFaultInjector", "NsqdFaults"]

_CHANCE = number(0, 1, "")


@dataclass(frozen=True, slots=True)
class NsqdFaults:
    """Chances between 0 and 1; raises `ValueError` for others."""

    #: Seed of every chance below.
    seed: int = 0
    #: That a publish is refused and nothing of it stored (E_PUB_FAILED, as with a full disk).
    refuse_publish: float = 0.0
    #: That a publish is stored and its connection lost before the OK: who published cannot know.
    lose_confirmation: float = 0.0
    #: That a FIN is lost: the message is given out again, at once.
    lose_finish: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "seed":
                need(_CHANCE, field.name, getattr(self, field.name))


class NsqdFaultInjector:
    """The chances of one broker, in the order in which they are asked for."""

    __slots__ = ("_random", "faults")

    def __init__(self, faults: NsqdFaults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)

    def refuses(self) -> bool:
        """Whether this publish is refused."""
        return self._random.random() < self.faults.refuse_publish

    def loses_confirmation(self) -> bool:
        """Whether the connection is lost before this publish is confirmed."""
        return self._random.random() < self.faults.lose_confirmation

    def loses_finish(self) -> bool:
        """Whether this FIN is lost."""
        return self._random.random() < self.faults.lose_finish
