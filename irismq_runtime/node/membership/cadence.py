"""How often a node speaks, and when and how it answers, by how many nodes there are.

Every rule is a function of the number of nodes, so that each node can tell what the
others do. What they bound is what one node hears: at rest `HEARD_AT_REST` announcements a
second, as the newcomer `ANSWERS` a second, whatever the size of the fleet. Pure.

Those who ask this node to introduce itself are gathered for a while (`Asked`). Then each
of them is answered alone, in its private cluster; or all nodes at once, if they are many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "LONGEST_PERIOD",
    "Answers",
    "Asked",
    "Pace",
    "answer_window",
    "answers_all",
    "period_of",
    "silence_of",
]

#: Announcements that a node hears in a second, when nothing happens.
HEARD_AT_REST: Final = 200
#: Seconds between two announcements of a node at most, whatever is configured or announced.
LONGEST_PERIOD: Final = 60.0
#: Answers that one who asks everybody gets in a second, more or less, up to `WINDOW` seconds.
ANSWERS: Final = 2000
WINDOW: Final = 2.0
#: So few nodes answer at once.
FEW: Final = 20
#: One in so many asks at the same time: then everybody is answered at once.
CROWD: Final = 3


def period_of(configured: float, nodes: int) -> float:
    """Seconds between two beats: as configured, or longer where there are many nodes."""
    return max(configured, min(nodes / HEARD_AT_REST, LONGEST_PERIOD))


def silence_of(period: float, misses: int) -> float:
    """Seconds without a word after which a node that announced `period` is gone."""
    return min(period, LONGEST_PERIOD) * (misses + 0.5)


def answer_window(nodes: int) -> float:
    """Seconds within which a question to all nodes is answered, at a random time."""
    return 0.0 if nodes <= FEW else min(nodes / ANSWERS, WINDOW)


def answers_all(askers: int, nodes: int) -> bool:
    """Whether one answer to all nodes costs less than one to each of those who asked."""
    return askers * CROWD > nodes


class Pace:
    """Lets `burst` things happen at once, and then as many in each `within` seconds."""

    __slots__ = ("_began", "_burst", "_count", "_within")

    def __init__(self, burst: int, within: float) -> None:
        self._burst = burst
        self._within = within
        self._began = float("-inf")
        self._count = 0

    def delay(self, now: float) -> float:
        """Seconds to wait before the next one, which is counted."""
        if now >= self._began + self._within:
            self._began = now
            self._count = 0
        self._count += 1
        if self._count <= self._burst:
            return 0.0
        wait = self._began + self._within - now
        self._began += self._within
        self._count = 1
        return wait


@dataclass(frozen=True, slots=True)
class Answers:
    """How those who asked are to be answered.

    Attributes:
        everybody: To everybody.
        nodes: Otherwise, to each of these alone.
    """

    everybody: bool
    nodes: tuple[str, ...] = ()


class Asked:
    """Those who asked since the last answer. It holds a third of the fleet at most."""

    def __init__(self) -> None:
        self._nodes: dict[str, None] = {}
        self._everybody = False

    def __bool__(self) -> bool:
        return self._everybody or bool(self._nodes)

    def add(self, node: str, known: int) -> None:
        """`node` asked; so many are known."""
        if not self._everybody:
            self._nodes[node] = None
            if answers_all(len(self._nodes), known):
                self._nodes.clear()
                self._everybody = True

    def take(self) -> Answers:
        """How to answer; nobody has asked from now on."""
        answers = Answers(self._everybody, tuple(self._nodes))
        self._nodes = {}
        self._everybody = False
        return answers
