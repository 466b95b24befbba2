"""The state of addresses and topics, from presence, brokers and nodes. No I/O.

A broker that does not answer leaves its last numbers out: what is not known is
None. An address is mapped to its topic as every node does; a topic that belongs to
no known address is shown under its own name.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from irismq_runtime.messaging import dead_topic, mailbox_topic
from irismq_runtime.observe.meter import BOUNDS, quantile
from irismq_runtime.observer.model import BrokerView, MemberView, ServiceView
from irismq_runtime.observer.time_series import GROWTH_SPAN, MOST, RATE_SPAN, TimeSeries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from irismq_runtime.namespace import Namespace
    from irismq_runtime.observer.reports import BrokerStats, MeterReport
    from irismq_runtime.refs import MemberInfo

__all__ = ["WatchedServices"]

#: How long dead letters that came are news, in seconds.
NEWS: Final = 30.0
#: Seconds for which messages have waited for nobody before that is a problem: who
#: starts has them in less, and a command that looks once still sees it.
LASTING: Final = 1.0
#: Latencies are those of the answers of the last so many seconds.
LATENCY_SPAN: Final = 10.0
#: Addresses remembered when nobody serves them any more.
_MOST_KNOWN: Final = 2000
_DEAD: Final = ".dead"


class _KnownTopic:
    """One topic over all brokers, as last told."""

    __slots__ = ("changed", "deferred", "done", "in_flight", "numbers", "told", "waiting", "waits")

    def __init__(self) -> None:
        self.waiting = self.in_flight = self.deferred = 0
        self.told = TimeSeries()
        self.done = TimeSeries()
        self.waits = TimeSeries()
        #: The numbers last told, and since when they are so.
        self.numbers: tuple[int, ...] = ()
        self.changed = 0.0

    def add(self, now: float, numbers: tuple[int, ...]) -> None:
        """Waiting, in flight, deferred, stored and done, of all brokers together."""
        if numbers != self.numbers:
            self.numbers, self.changed = numbers, now
        self.waiting, self.in_flight, self.deferred, stored, done = numbers
        self.told.add(now, stored)
        self.done.add(now, done)
        self.waits.add(now, self.waiting)

    def rests(self, now: float) -> bool:
        """Whether nothing has changed for so long that nothing more is to be said of it."""
        return now - self.changed > RATE_SPAN + GROWTH_SPAN


class _Use:
    """What one address does on all nodes."""

    __slots__ = ("_answers", "asked", "failed")

    def __init__(self) -> None:
        self.asked = TimeSeries()
        self.failed = TimeSeries()
        #: When there were how many answers in each bucket of latency.
        self._answers: deque[tuple[float, list[int]]] = deque(maxlen=MOST)

    def add(self, rows: Iterable[MeterReport], now: float) -> None:
        """All nodes have told."""
        rows = tuple(rows)
        self.asked.add(now, sum(row.asked for row in rows))
        self.failed.add(now, sum(row.failed for row in rows))
        buckets = [0] * (len(BOUNDS) + 1)
        for row in rows:
            for place, count in enumerate(row.buckets):
                buckets[place] += count
        self._answers.append((now, buckets))
        while len(self._answers) > 1 and self._answers[0][0] < now - LATENCY_SPAN:
            self._answers.popleft()

    def latency(self, share: float) -> float | None:
        """Within how many seconds `share` of the latest answers came."""
        if not self._answers:
            return None
        then, now = self._answers[0][1], self._answers[-1][1]
        # A node that ended takes its numbers with it.
        found = quantile([max(0, b - a) for a, b in zip(then, now, strict=True)], share)
        return None if found is None else float(f"{found:.3g}")


class WatchedServices:
    """All addresses and topics that presence, brokers or nodes have named. One loop only.

    `names`: the namespace of all of them.
    """

    def __init__(self, names: Namespace) -> None:
        self._names = names
        self._brokers: dict[str, BrokerView] = {}
        self._stats: dict[str, BrokerStats] = {}
        self._topics: dict[str, _KnownTopic] = {}
        #: Addresses, each with its topic and that of its dead letters.
        self._known: dict[str, tuple[str, str]] = {}
        #: The addresses by the one and by the other.
        self._by_topic: dict[str, str] = {}
        self._by_dead: dict[str, str] = {}
        #: Who serves an address as presence has it, and as it is shown.
        self._infos: dict[str, tuple[MemberInfo, ...]] = {}
        self._members: dict[str, tuple[MemberView, ...]] = {}
        #: The latest views, and what each was made of.
        self._views: dict[str, tuple[tuple[object, ...], ServiceView]] = {}
        self._uses: dict[str, _Use] = {}
        #: Address and channel -> since when its messages wait for nobody, and how many do.
        self._alone: dict[tuple[str, str], tuple[float, int]] = {}
        #: Address -> since when it has dead letters, and how many.
        self._letters: dict[str, tuple[float, int]] = {}
        #: When the topics were summed up before.
        self._looked: float | None = None

    # What happens -------------------------------------------------------------

    def serve(self, members: Mapping[str, Iterable[MemberInfo]]) -> None:
        """Presence: who serves which address now."""
        for address in [address for address in self._infos if address not in members]:
            del self._infos[address], self._members[address]
        for address, some in members.items():
            infos = tuple(some)
            if self._infos.get(address) != infos:
                self._infos[address] = infos
                self._members[address] = tuple(
                    MemberView(node=one.node, name=one.name, urn=one.urn)
                    for one in sorted(infos, key=lambda info: (info.name, info.node, info.urn))
                )
            if address not in self._known:
                self._know(address)
        unserved = [address for address in self._known if address not in self._infos]
        for address in unserved[:-_MOST_KNOWN]:
            topic, dead = self._known.pop(address)
            self._by_topic.pop(topic, None)
            self._by_dead.pop(dead, None)

    def _know(self, address: str) -> None:
        shown = self._names.shown
        topic, dead = shown(mailbox_topic(address)), shown(dead_topic(address))
        self._known[address] = topic, dead
        self._by_topic[topic] = address
        self._by_dead[dead] = address

    def broker_told(self, endpoint: str, stats: BrokerStats, now: float) -> None:
        """A broker has answered with its statistics."""
        self._brokers[endpoint] = BrokerView(endpoint=endpoint, version=stats.version)
        self._stats[endpoint] = stats
        self._sum_up(now)

    def broker_failed(self, endpoint: str, error: str) -> None:
        """Note that a broker did not answer, and why; what it has is not known then."""
        self._brokers[endpoint] = BrokerView(endpoint=endpoint, error=error[:300])
        self._stats.pop(endpoint, None)

    def _sum_up(self, now: float) -> None:
        sums: dict[str, list[int]] = {}
        for stats in self._stats.values():
            for told in stats.topics:
                channels = told.channels
                row = sums.setdefault(told.topic_name, [0] * 5)
                row[0] += told.depth + sum(c.depth for c in channels)
                row[1] += sum(c.in_flight_count for c in channels)
                row[2] += sum(c.deferred_count for c in channels)
                row[3] += told.message_count
                row[4] += sum(c.settled for c in channels)
        for name in [name for name in self._topics if name not in sums]:
            del self._topics[name]
        for name, numbers in sums.items():
            topic = self._topics.get(name)
            if topic is None:
                topic = self._topics[name] = _KnownTopic()
                if self._looked is not None:  # it was not there then
                    for series in (topic.told, topic.done, topic.waits):
                        series.add(self._looked, 0)
            topic.add(now, tuple(numbers))
        self._looked = now
        self._find_unattended(now)

    def _find_unattended(self, now: float) -> None:
        """Note what waits at the brokers without anybody who takes it."""
        alone: dict[tuple[str, str], int] = {}
        letters: dict[str, int] = {}
        addresses, dead = self._by_topic, self._by_dead
        for stats in self._stats.values():
            for topic in stats.topics:
                name = topic.topic_name
                if name in dead or name.endswith(_DEAD):
                    address = dead.get(name) or name.removesuffix(_DEAD)
                    letters[address] = letters.get(address, 0) + topic.held
                    continue
                for channel, count in topic.unattended():
                    key = (addresses.get(name, name), channel)
                    alone[key] = alone.get(key, 0) + count
        self._alone = {
            key: (self._alone.get(key, (now, 0))[0], count) for key, count in alone.items() if count
        }
        self._letters = {
            key: (self._letters.get(key, (now, 0))[0], count)
            for key, count in letters.items()
            if count
        }

    def used(self, meters: Iterable[Mapping[str, MeterReport]], now: float) -> None:
        """What the nodes say of their addresses, one map for each node."""
        sums: dict[str, list[MeterReport]] = {}
        for of_node in meters:
            for address, meter in of_node.items():
                sums.setdefault(address, []).append(meter)
        for address in [address for address in self._uses if address not in sums]:
            del self._uses[address]
        for address, rows in sums.items():
            self._uses.setdefault(address, _Use()).add(rows, now)

    # What it means ------------------------------------------------------------

    @property
    def brokers(self) -> tuple[BrokerView, ...]:
        """The brokers that are asked, by endpoint."""
        return tuple(self._brokers[endpoint] for endpoint in sorted(self._brokers))

    def arrived(self, now: float) -> dict[str, int]:
        """Dead letters that came lately, by address."""
        found = {}
        for address, topic in self._dead().items():
            count = int(topic.told.grown(now, NEWS))
            if count:
                found[address] = count
        return found

    def unattended(self, now: float) -> dict[tuple[str, str], int]:
        """How many messages wait for nobody, by address and channel; nothing unknown."""
        if not self._stats:
            return {}
        return {key: n for key, (since, n) in self._alone.items() if now - since >= LASTING}

    def letters(self, now: float) -> dict[str, int]:
        """How many dead letters there are, by address; nothing unknown."""
        if not self._stats:
            return {}
        return {key: n for key, (since, n) in self._letters.items() if now - since >= LASTING}

    def holding(self, address: str) -> set[str]:
        """The brokers, by endpoint, that have dead letters of `address`."""
        name = self._names.shown(dead_topic(address))
        return {
            endpoint
            for endpoint, stats in self._stats.items()
            for topic in stats.topics
            if topic.topic_name == name and topic.held
        }

    def _dead(self) -> dict[str, _KnownTopic]:
        """The topics of dead letters by the address they belong to."""
        return {
            self._by_dead.get(name) or name.removesuffix(_DEAD): topic
            for name, topic in self._topics.items()
            if name in self._by_dead or name.endswith(_DEAD)
        }

    def views(self, now: float) -> tuple[ServiceView, ...]:
        """All addresses and topics, by name."""
        dead = self._dead()
        topics = {
            self._by_topic.get(name, name): topic
            for name, topic in self._topics.items()
            if name not in self._by_dead and not name.endswith(_DEAD)
        }
        served = self._known.keys() & (self._members.keys() | topics.keys() | dead.keys())
        names = sorted(served | topics.keys() | dead.keys())
        before, self._views = self._views, {}
        for name in names:
            self._views[name] = self._shown(
                name, topics.get(name), dead.get(name), now, before.get(name)
            )
        return tuple(view for _, view in self._views.values())

    def _shown(
        self,
        address: str,
        topic: _KnownTopic | None,
        dead: _KnownTopic | None,
        now: float,
        before: tuple[tuple[object, ...], ServiceView] | None,
    ) -> tuple[tuple[object, ...], ServiceView]:
        """The view of one, the same as before where nothing moves, and what it is made of."""
        moves = self._uses.get(address) is not None or any(
            each is not None and not each.rests(now) for each in (topic, dead)
        )
        made_of = (
            None if topic is None else topic.numbers,
            None if dead is None else dead.numbers,
            self._infos.get(address),
            address in self._known,
            bool(self._stats),
        )
        if before is not None and not moves and before[0] == made_of:
            return before
        return (() if moves else made_of), self._view(address, topic, dead, now)

    def _view(
        self, address: str, topic: _KnownTopic | None, dead: _KnownTopic | None, now: float
    ) -> ServiceView:
        use = self._uses.get(address)
        known = bool(self._stats)
        return ServiceView(
            address=address,
            served=address in self._known,
            members=self._members.get(address, ()),
            waiting=topic.waiting if topic else 0 if known else None,
            in_flight=topic.in_flight if topic else 0 if known else None,
            deferred=topic.deferred if topic else 0 if known else None,
            dead=_held(dead) if dead else 0 if known else None,
            told=_rate(topic.told, now) if topic else None,
            done=_rate(topic.done, now) if topic else None,
            asked=_rate(use.asked, now) if use else None,
            failed=_rate(use.failed, now) if use else None,
            p50=use.latency(0.5) if use else None,
            p99=use.latency(0.99) if use else None,
            grows=topic is not None and topic.waits.grows(now),
        )


def _held(topic: _KnownTopic) -> int:
    return topic.waiting + topic.in_flight + topic.deferred


def _rate(series: TimeSeries, now: float) -> float | None:
    rate = series.rate(now)
    return None if rate is None else round(rate, 1)
