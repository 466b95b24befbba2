"""How much a node does, second by second: a ring of the last minutes, always on.

Nothing is added up while messages are handled. Once a second the meter reads
what actors and dispatch have counted anyway and keeps the differences, one
`Second` each; with very many actors it looks less often, so that looking never
takes a measurable part of the loop. Only asks between nodes are timed one by
one: their latencies fall into the buckets of BOUNDS, by address.

Bounded: SPAN seconds, one group for each class of actors, at most MAX_ADDRESSES
addresses (what comes after is called "other"). Loop thread only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import Clock, System, TimerHandle
    from actors.counters import ClassCounters

__all__ = ["BOUNDS", "MAX_ADDRESSES", "SPAN", "Asks", "Group", "Latencies", "Meter", "Second"]

#: Upper bounds of the buckets of latencies, in seconds; one more is for what is longer.
BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Entries of the ring: seconds, as long as there are not very many actors.
SPAN: Final = 300
#: Addresses that are told apart.
MAX_ADDRESSES: Final = 200
#: Actors that are looked at in a second, on average: a look at more of them comes less often.
_ACTORS_PER_SECOND: Final = 2_500
_OTHER: Final = "other"


class Latencies:
    """How many took how long. `buckets`: one for each of BOUNDS, and one beyond."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        #: The sum of all, in seconds.
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)


def quantile(buckets: list[int], share: float) -> float | None:
    """The time within which `share` (0 to 1) of them were; None when there were none.

    Between two bounds it is guessed on a straight line; beyond the last it is the last.
    """
    wanted = share * sum(buckets)
    if not wanted:
        return None
    below, seen = 0.0, 0
    for bound, count in zip(BOUNDS, buckets, strict=False):
        if count and seen + count >= wanted:
            return below + (bound - below) * (wanted - seen) / count
        seen += count
        below = bound
    return BOUNDS[-1]


class Asks:
    """The asks of one address: how they ended, and how long they took."""

    __slots__ = ("_others", "latencies", "replied")

    def __init__(self) -> None:
        self.replied = 0
        self._others: Counter[str] = Counter()
        self.latencies = Latencies()

    @property
    def outcomes(self) -> Counter[str]:
        """Counts by outcome: "replied", or what became of it instead.

        That is a word of ours ("late", "expired", "cancelled"), or the class of the
        error that the asker got.
        """
        return Counter({"replied": self.replied}) + self._others

    def note(self, seconds: float, outcome: str) -> None:
        """Count one that took `seconds`. In the way of every ask: as little as can be."""
        if outcome == "replied":
            self.replied += 1
        else:
            self._others[outcome] += 1
        latencies = self.latencies
        latencies.buckets[bisect_left(BOUNDS, seconds)] += 1
        latencies.total += seconds


@dataclass(frozen=True, slots=True)
class Second:
    """What happened since the `Second` before. A value, for any thread.

    Args:
        time: Seconds since 1970.
        actors: Slots that have not ended.
        handled: Messages that actors took, per second.
        waiting: Messages in inboxes now.
        crashes: Handlers that raised, since the second before.
        restarts: Starts after the first of a slot, since the second before.
        asked: Asks of this node that ended, per second.
        served: Requests to this node that were answered, per second.
        failed: Asks and requests without a reply, per second.
        p50: Seconds within which half of the asks ended; None: there were none.
        p99: Seconds within which 99 of 100 asks ended; None: there were none.
        finished: Stored messages that were handled, per second.
        requeued: Stored messages that went back to the broker, per second.
        buried: Stored messages that became dead letters, per second.
        dead_letters: Local dead letters, since the second before.
        lag: Seconds by which the loop was late.
    """

    time: float
    actors: int
    handled: float
    waiting: int
    crashes: int
    restarts: int
    asked: float
    served: float
    failed: float
    p50: float | None
    p99: float | None
    finished: float
    requeued: float
    buried: float
    dead_letters: int
    lag: float


@dataclass(frozen=True, slots=True)
class Group:
    """The actors of one class. `rate`: messages a second, when last looked."""

    name: str
    address: str | None
    actors: int
    waiting: int
    handled: int
    restarts: int
    crashes: int
    rate: float


@dataclass(slots=True)
class _Sums:
    """What all counters stood at when last looked."""

    handled: int = 0
    crashes: int = 0
    restarts: int = 0
    dead_letters: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0
    served: int = 0
    failed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    by_class: dict[type, int] = field(default_factory=dict)


class Meter:
    """Measures a node, a `Second` at a time; `Node.meter` is one. Loop thread only.

    Args:
        system: The actors that are measured.
        counts: Gives what dispatch has counted so far, by name.
        span: Seconds that are kept.
    """

    def __init__(
        self, system: System, counts: Callable[[], Mapping[str, int]], *, span: int = SPAN
    ) -> None:
        self._system = system
        self._clock: Clock = system.clock
        self._counts = counts
        self._timer: TimerHandle | None = None
        self._last = _Sums()
        self._at = 0.0
        self._due = 0.0
        self._by_class: dict[type, ClassCounters] = {}
        self._rates: dict[type, float] = {}
        #: The last minutes, oldest first.
        self.seconds: deque[Second] = deque(maxlen=span)
        #: Asks that left this node, and requests that came to it, by address.
        self.asked: dict[str, Asks] = {}
        self.served: dict[str, Asks] = {}

    def start(self) -> None:
        """Begin to measure."""
        self._at = self._clock.monotonic()
        self._last = self._sums(self._system.counters_by_class())
        self._arm()

    def stop(self) -> None:
        """End the measuring; what was measured stays. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        period = max(1.0, len(self._system) / _ACTORS_PER_SECOND)
        self._due = self._clock.monotonic() + period
        self._timer = self._clock.call_later(period, self._look)

    # What asks report ---------------------------------------------------------

    @staticmethod
    def of(table: dict[str, Asks], address: str) -> Asks:
        """Return the asks of `address`; made on demand, up to the limit.

        Args:
            table: `asked` or `served`.
            address: Beyond `MAX_ADDRESSES` of them, "other" stands for all that are new.
        """
        asks = table.get(address)
        if asks is None:
            if len(table) >= MAX_ADDRESSES:
                address = _OTHER
            asks = table.setdefault(address, Asks())
        return asks

    def ask_ended(self, address: str, seconds: float, outcome: str) -> None:
        """Note that an ask of this node ended after `seconds`, and how: see `Asks.outcomes`."""
        asks = self.asked.get(address) or self.of(self.asked, address)
        asks.note(seconds, outcome)

    def request_ended(self, address: str, seconds: float, outcome: str) -> None:
        """Note that a request to this node was answered after `seconds`, or will not be."""
        asks = self.served.get(address) or self.of(self.served, address)
        asks.note(seconds, outcome)

    # Looking ------------------------------------------------------------------

    def _sums(self, counters: dict[type, ClassCounters]) -> _Sums:
        buckets = [0] * (len(BOUNDS) + 1)
        for asks in self.asked.values():
            buckets = [a + b for a, b in zip(buckets, asks.latencies.buckets, strict=True)]
        asked, served = list(self.asked.values()), list(self.served.values())
        return _Sums(
            handled=sum(each.handled for each in counters.values()),
            crashes=sum(each.crashes for each in counters.values()),
            restarts=sum(each.restarts for each in counters.values()),
            dead_letters=self._system.dead_letters.total,
            counts=self._counts(),
            asked=sum(buckets),
            served=sum(each.latencies.count for each in served),
            failed=sum(e.latencies.count - e.replied for e in (*asked, *served)),
            buckets=buckets,
            by_class={cls: each.handled for cls, each in counters.items()},
        )

    def _look(self) -> None:
        now = self._clock.monotonic()
        lag = max(0.0, now - self._due)
        counters = self._system.counters_by_class()
        before, sums = self._last, self._sums(counters)
        passed = max(now - self._at, 1e-3)
        self._last, self._at, self._by_class = sums, now, counters
        then = before.by_class
        self._rates = {
            cls: (count - then.get(cls, 0)) / passed for cls, count in sums.by_class.items()
        }
        self.seconds.append(self._second(before, sums, passed, lag))
        self._arm()

    def _second(self, before: _Sums, now: _Sums, passed: float, lag: float) -> Second:
        def stored(name: str) -> float:
            return (now.counts.get(name, 0) - before.counts.get(name, 0)) / passed

        buckets = [a - b for a, b in zip(now.buckets, before.buckets, strict=True)]
        return Second(
            time=self._clock.time(),
            actors=len(self._system),
            handled=(now.handled - before.handled) / passed,
            waiting=sum(each.waiting for each in self._by_class.values()),
            crashes=now.crashes - before.crashes,
            restarts=now.restarts - before.restarts,
            asked=(now.asked - before.asked) / passed,
            served=(now.served - before.served) / passed,
            failed=(now.failed - before.failed) / passed,
            p50=quantile(buckets, 0.5),
            p99=quantile(buckets, 0.99),
            finished=stored("finished"),
            requeued=stored("requeued"),
            buried=stored("buried"),
            dead_letters=now.dead_letters - before.dead_letters,
            lag=lag,
        )

    # Telling ------------------------------------------------------------------

    def groups(self) -> list[Group]:
        """The classes of actors, by name, as they are now."""
        found = [
            Group(
                name=cls.__qualname__,
                address=_address(cls),
                actors=each.actors,
                waiting=each.waiting,
                handled=each.handled,
                restarts=each.restarts,
                crashes=each.crashes,
                rate=self._rates.get(cls, 0.0),
            )
            for cls, each in self._system.counters_by_class().items()
        ]
        return sorted(found, key=lambda group: group.name)

    def to_dict(self, last: int = SPAN) -> dict[str, Any]:
        """Return the numbers as plain values for JSON.

        Args:
            last: How many of the latest seconds.

        Returns:
            {"bounds": [...], "seconds": [{...}], "groups": [{...}],
            "asked": {address: {"outcomes": {...}, "buckets": [...], "total": s}},
            "served": the same}
        """
        seconds = list(self.seconds)[-last:] if last > 0 else []
        return {
            "bounds": list(BOUNDS),
            "seconds": [asdict(second) for second in seconds],
            "groups": [asdict(group) for group in self.groups()],
            "asked": {name: _plain(asks) for name, asks in self.asked.items()},
            "served": {name: _plain(asks) for name, asks in self.served.items()},
        }


def _plain(asks: Asks) -> dict[str, Any]:
    latencies = asks.latencies
    return {
        "outcomes": dict(asks.outcomes),
        "buckets": list(latencies.buckets),
        "total": latencies.total,
        "p50": quantile(latencies.buckets, 0.5),
        "p99": quantile(latencies.buckets, 0.99),
    }


def _address(cls: type) -> str | None:
    address = getattr(cls, "address", None)
    return address if isinstance(address, str) else None
