"""How often a node speaks, and when and how it answers, by how many nodes there are.

Every rule is a function of the number of nodes, so that each node can tell what the
others do. What they bound is what one node hears: at rest `HEARD_AT_REST` announcements a
second, as the newcomer `ANSWERS` a second, whatever the size of the fleet. Pure.

Where a relay tells of a death, beats are for what it cannot tell (a host without power, a
process that is stopped), and come less often: `HEARD_WITH_WILLS`. Each node says its period,
and is believed, so that nodes of both kinds live in one fleet.

Those who ask this node to introduce itself, or what it serves of some addresses, are gathered
for a while (`Asked`). Then each of them is answered alone, in its private cluster; or all
nodes at once, if they are many.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LONGEST_PERIOD",
    "Answers",
    "Asked",
    "Pace",
    "SaidPeriods",
    "answer_window",
    "answers_all",
    "gathering",
    "period_of",
    "silence_of",
]

#: Announcements that a node hears in a second, when nothing happens.
HEARD_AT_REST: Final = 200
#: Seconds between two announcements of a node at most, whatever is configured or announced.
LONGEST_PERIOD: Final = 60.0
#: The same of those whose death a relay tells, and how far the period stretches for that.
HEARD_WITH_WILLS: Final = 40
LONGEST_WITH_WILL: Final = 30.0
#: Periods that a node with a last will says when it comes: it does not know yet how many there
#: are, and the beats of all who come with it would be heard by all.
FIRST_PERIODS: Final = 5
#: Answers that one who asks everybody gets in a second, more or less, up to `WINDOW` seconds.
ANSWERS: Final = 2000
WINDOW: Final = 2.0
#: Who has come, or come back, within so many seconds is hardly alone: it gathers those who ask
#: so many times as long, up to a second, until all of them are there.
LATELY: Final = 2.0
_LONGER: Final = 8
_LONGER_AT_MOST: Final = 1.0
#: So few nodes answer at once.
FEW: Final = 20
#: One in so many asks at the same time: then everybody is answered at once.
CROWD: Final = 3


def period_of(configured: float, nodes: int, *, will: bool = False) -> float:
    """Seconds between two beats: as configured, or longer where there are many nodes.

    `will`: a relay that outlives the node has its last will.
    """
    longer = min(nodes / HEARD_AT_REST, LONGEST_PERIOD)
    if will:
        longer = max(longer, min(nodes / HEARD_WITH_WILLS, LONGEST_WITH_WILL))
    return max(configured, longer)


class SaidPeriods:
    """The periods that a node said last, which bind it: some of its words may be lost.

    Who has missed the words of a longer period still goes by the shorter one. So the node speaks
    within the shortest of as many as may be lost, and nobody who misses less than `misses` in
    a row takes it for gone (`silence_of`).
    """

    __slots__ = ("_said",)

    def __init__(self, misses: int) -> None:
        self._said: deque[float] = deque(maxlen=max(misses, 1))

    def note(self, period: float) -> None:
        """An announcement to all has said `period`."""
        self._said.append(period)

    def shortest(self) -> float:
        """Seconds within which the node has to speak again."""
        return min(self._said, default=LONGEST_PERIOD)


def silence_of(period: float, misses: int) -> float:
    """Seconds without a word after which a node that announced `period` is gone."""
    return min(period, LONGEST_PERIOD) * (misses + 0.5)


def answer_window(nodes: int) -> float:
    """Seconds within which a question to all nodes is answered, at a random time."""
    return 0.0 if nodes <= FEW else min(nodes / ANSWERS, WINDOW)


def gathering(nodes: int, since_came: float) -> tuple[float, float]:
    """Between how many seconds a node answers that has come, or come back, `since_came` ago."""
    window = answer_window(nodes)
    if since_came > LATELY:
        return 0.0, window
    longer = min(_LONGER * window, _LONGER_AT_MOST)
    return longer / 2, longer


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
        everybody: To everybody, with what any of them asked for; None if not so.
        nodes: Otherwise, to each of these alone, with what it asked for.
    """

    everybody: tuple[str, ...] | None
    nodes: Mapping[str, tuple[str, ...]]


class Asked:
    """Those who asked since the last answer. It holds a third of the fleet at most."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, None]] = {}
        self._everybody: dict[str, None] | None = None

    def __bool__(self) -> bool:
        return self._everybody is not None or bool(self._nodes)

    def add(self, node: str, known: int, addresses: Iterable[str] = ()) -> None:
        """`node` asked, for `addresses` if for any; so many nodes are known."""
        if self._everybody is None:
            self._nodes.setdefault(node, {}).update(dict.fromkeys(addresses))
            if answers_all(len(self._nodes), known):
                self._everybody = {a: None for asked in self._nodes.values() for a in asked}
                self._nodes = {}
        else:
            self._everybody.update(dict.fromkeys(addresses))

    def take(self) -> Answers:
        """How to answer; nobody has asked from now on."""
        everybody = None if self._everybody is None else tuple(self._everybody)
        answers = Answers(everybody, {node: tuple(asked) for node, asked in self._nodes.items()})
        self._nodes = {}
        self._everybody = None
        return answers
