"""What this node serves, and by which steps the others come to know it. Pure.

A list with a version. A change waits until it is taken into a step, `next_step`: the
changes of some pairs from one version to the next, small enough for one message. Once
the step was sent it is made the current version by `commit`. A pair that is by then as
it was is in no step: a membership that was cut off and stands again before anybody could
be told costs nothing.

For each pair the version of its last change is kept, the latest last, and for some time
that of pairs that are gone. So the way from an older version to this one is what stands
at the end, `since`; it costs what changed, and not what there is.

Who reads the whole list in parts goes on from the version that a part leads to, so that has
to be one that differences are known from. Therefore, when pairs that are gone are forgotten,
what stands since before them is given versions of its own again, that nobody was at before:
those that the next step skips.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, Literal

from irismq_runtime.messaging import NODE_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from irismq_runtime.node.membership.announcements import Pair

__all__ = ["OwnAddresses", "Step", "size_of"]

State = Literal["stands", "away", "absent"]

#: Pairs that are gone and remembered, so that who missed some changes is told differences;
#: if there are more, the next step forgets the older half of these.
MAX_DROPPED: Final = 10_000
#: Bytes that a pair takes besides its two texts: their heads, and that of the pair.
_HEADS: Final = 1 + 2 * 3
#: Pairs that are looked for at addresses where one is found already; no message has more.
_MOST_OTHERS: Final = 4096


def size_of(pair: Pair) -> int:
    """Bytes that a pair takes in an announcement, at most."""
    return _HEADS + len(pair[0].encode(errors="replace")) + len(pair[1].encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Step:
    """Changes that lead from version `since` to `version`; pairs as in `Announcement`."""

    since: int
    version: int
    add: tuple[Pair, ...] = ()
    drop: tuple[Pair, ...] = ()
    away: tuple[Pair, ...] = ()


class OwnAddresses:
    """The pairs that a node serves. Those of its own cluster are never served, only away.

    Attributes:
        version: Of what was committed last; 0 is the empty list.
        too_large: Pairs that have no room in a message, and the bytes that each takes.
    """

    def __init__(self) -> None:
        self.version = 0
        self.too_large: dict[Pair, int] = {}
        self._served: dict[str, dict[str, None]] = {}
        self._away: dict[Pair, None] = {}
        self._count = 0
        self._size = 0
        #: Pairs changed since the current version, and how each was then.
        self._waiting: dict[Pair, State] = {}
        #: The version of the last change of each pair, and the pairs by that version.
        self._changed: dict[Pair, int] = {}
        self._steps: dict[int, dict[Pair, None]] = {}
        #: Versions in order; some are in `_steps` no more.
        self._versions: list[int] = []
        self._dropped: dict[Pair, None] = {}
        #: Differences are known from this version on.
        self._oldest = 0

    # What changes --------------------------------------------------------------

    def bind(self, pair: Pair) -> None:
        """The node serves it."""
        address, urn = pair
        urns = self._served.setdefault(address, {})
        if urn not in urns:
            self._waits(pair)
            urns[urn] = None
            self._count += 1
            self._size += size_of(pair)

    def unbind(self, pair: Pair) -> bool:
        """It does so no more; whether it did."""
        address, urn = pair
        urns = self._served.get(address)
        if urns is None or urn not in urns:
            self._away.pop(pair, None)
            return False
        self._waits(pair)
        del urns[urn]
        if not urns:
            del self._served[address]
        self._away.pop(pair, None)
        self._count -= 1
        self._size -= size_of(pair)
        return True

    def stands(self, pair: Pair, *, yes: bool) -> bool:
        """The membership of `pair` stands, or is cut off; whether that is news."""
        if yes is not (pair in self._away):
            return False
        self._waits(pair)
        if yes:
            del self._away[pair]
        else:
            self._away[pair] = None
        return True

    def _waits(self, pair: Pair) -> None:
        self._waiting.setdefault(pair, self._state(pair))

    def _state(self, pair: Pair) -> State:
        address, urn = pair
        if urn != NODE_TARGET and urn not in self._served.get(address, ()):
            return "absent"
        return "away" if pair in self._away else "stands"

    # What it is ----------------------------------------------------------------

    def __len__(self) -> int:
        """How many pairs are served."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes that the whole list takes, with those that are cut off."""
        return self._size + sum(map(size_of, self._away))

    def serves(self) -> tuple[Pair, ...]:
        """All pairs."""
        return tuple((address, urn) for address, urns in self._served.items() for urn in urns)

    def away(self) -> tuple[Pair, ...]:
        """Those whose memberships are cut off, that of the node itself among them."""
        return tuple(self._away)

    def is_served(self, pair: Pair) -> bool:
        """Whether `pair` is served."""
        return pair[1] in self._served.get(pair[0], ())

    def is_away(self, pair: Pair) -> bool:
        """Whether the membership of `pair` is cut off."""
        return pair in self._away

    def serves_at(self, address: str) -> bool:
        """Whether any pair is served at `address`."""
        return address in self._served

    def at(self, addresses: Iterable[str]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """The pairs of `addresses`: one of each, and the others."""
        served = [(each, urns) for each in addresses if (urns := self._served.get(each))]
        first = tuple((each, next(iter(urns))) for each, urns in served)
        others = ((each, urn) for each, urns in served for urn in islice(urns, 1, _MOST_OTHERS))
        return first, tuple(islice(others, _MOST_OTHERS))

    # How it is told -------------------------------------------------------------

    def next_step(self, room: int) -> Step | None:
        """What waits, as much as `room` bytes hold; None when nothing does."""
        self.too_large.clear()
        taken: list[Pair] = []
        as_before: list[Pair] = []
        left = room
        for pair, before in self._waiting.items():
            size = size_of(pair)
            if self._state(pair) == before:
                as_before.append(pair)
            elif size > room:
                self.too_large[pair] = size
            elif size > left:
                break
            else:
                taken.append(pair)
                left -= size
        for pair in as_before:
            del self._waiting[pair]
        if not taken:
            return None
        _, older = self._outlived()
        version = self.version + len(older) + 1
        return self._step(self.version, version, {pair: self._state(pair) for pair in taken})

    def commit(self, step: Step) -> None:
        """`step` was sent: its version is the current one."""
        forgotten, older = self._outlived()
        for pair in forgotten:
            self._oldest = self._changed[pair]
            self._forget(pair)
        for number, pair in enumerate(older, self.version + 1):
            self._changed_in(number, (pair,))
        self.version = step.version
        changed = (*step.add, *step.away, *step.drop)
        for pair in changed:
            del self._waiting[pair]
        self._changed_in(step.version, changed)
        self._dropped.update(dict.fromkeys(step.drop))
        if len(self._versions) > 2 * len(self._steps) + 16:
            self._versions = [version for version in self._versions if version in self._steps]

    def _outlived(self) -> tuple[list[Pair], list[Pair]]:
        """The pairs that the next step forgets, and what stands since before those were gone."""
        excess = len(self._dropped) - MAX_DROPPED
        if excess <= 0:
            return [], []
        last = next(islice(self._dropped, excess + MAX_DROPPED // 2 - 1, None))
        oldest = self._changed[last]
        forgotten = list(takewhile(lambda pair: self._changed[pair] <= oldest, self._dropped))
        before = self._versions[: bisect_right(self._versions, oldest)]
        pairs = (pair for version in before for pair in self._steps.get(version, ()))
        return forgotten, [pair for pair in pairs if pair not in self._dropped]

    def _changed_in(self, version: int, pairs: tuple[Pair, ...]) -> None:
        """Their last change is that to `version`."""
        for pair in pairs:
            self._forget(pair)
            self._changed[pair] = version
        self._steps[version] = dict.fromkeys(pairs)
        self._versions.append(version)

    def _forget(self, pair: Pair) -> None:
        """Its last change is not the last one any more."""
        self._dropped.pop(pair, None)
        version = self._changed.pop(pair, None)
        if version is not None:
            del self._steps[version][pair]
            if not self._steps[version]:
                del self._steps[version]

    def since(self, version: int, room: int) -> Step:
        """The first changes after `version` that `room` bytes hold; the whole is `self.version`.

        They begin at 0 if `version` is none that differences are known from. What waits is told
        as it was: it may be so again, and then no step says that it was not.
        """
        if not self._oldest <= version <= self.version:
            version = 0
        reached = version
        taken: dict[Pair, State] = {}
        for index in range(bisect_right(self._versions, version), len(self._versions)):
            group = self._steps.get(self._versions[index], ())
            states = {pair: self._waiting.get(pair) or self._state(pair) for pair in group}
            if not version:
                states = {pair: state for pair, state in states.items() if state != "absent"}
            room -= sum(map(size_of, states))
            if room < 0 and taken:
                return self._step(version, reached, taken)
            taken |= states
            reached = self._versions[index]
        return self._step(version, self.version, taken)

    @staticmethod
    def _step(since: int, version: int, states: Mapping[Pair, State]) -> Step:
        by_state: dict[State, list[Pair]] = {"stands": [], "away": [], "absent": []}
        for pair, state in states.items():
            by_state[state].append(pair)
        return Step(
            since,
            version,
            add=tuple(by_state["stands"]),
            drop=tuple(by_state["absent"]),
            away=tuple(by_state["away"]),
        )
