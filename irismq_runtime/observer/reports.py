"""Reports of nodes and statistics of brokers: plain values in, checked records out.

A report comes over the network from a process that may be of another version, or
no friend: what does not have the expected shape raises `DecodeError` and nothing
else. Unknown fields are ignored, missing ones have a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from irismq_runtime.errors import DecodeError
from irismq_runtime.observe.meter import BOUNDS

if TYPE_CHECKING:
    from irismq_runtime.namespace import Namespace

__all__ = [
    "BrokerStats",
    "ExitReport",
    "MeterReport",
    "NodeReport",
    "OfferReport",
    "OffersReport",
    "PlaceReport",
    "StoreReport",
    "broker_stats_untrusted",
    "node_report_untrusted",
    "offers_untrusted",
]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Text = Annotated[str, msgspec.Meta(max_length=10_000)]
_Trace = Annotated[str, msgspec.Meta(max_length=20_000)]


class ExitReport(msgspec.Struct, frozen=True):
    """See `actors.Exit`; the error by its type and text."""

    reason: _Text
    error: _Text | None = None
    text: _Text | None = None
    message_type: _Text | None = None
    wall: float = 0.0


class PlaceReport(msgspec.Struct, frozen=True):
    """See `supervisors.TreeNode`."""

    name: _Text
    kind: Literal["supervisor", "worker"]
    state: _Text
    actor_class: _Text = msgspec.field(name="class", default="")
    restarts: _Count = 0
    last_exit: ExitReport | None = None
    ref: _Text | None = None
    address: _Text | None = None
    strategy: _Text | None = None
    inbox: _Count = 0
    handled: _Count = 0
    hidden: _Count = 0
    progress: _Text = ""
    children: tuple[PlaceReport, ...] = ()


class HealthReport(msgspec.Struct, frozen=True):
    """See `observe.Health`."""

    live: bool = True
    ready: bool = False
    reasons: tuple[_Text, ...] = ()


class LetterReport(msgspec.Struct, frozen=True):
    """A local dead letter; `time` on the node's clock."""

    target: _Text
    type: _Text
    reason: _Text
    time: float


class LettersReport(msgspec.Struct, frozen=True):
    """All local dead letters as a number, and the latest."""

    total: _Count = 0
    latest: tuple[LetterReport, ...] = ()


class MeterReport(msgspec.Struct, frozen=True):
    """The requests that one address has answered on one node since its start.

    `buckets`: how many took how long, as `observe.meter.BOUNDS` has it.
    """

    asked: _Count = 0
    failed: _Count = 0
    buckets: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=len(BOUNDS) + 1)] = ()


class StoreReport(msgspec.Struct, frozen=True):
    """What a node has committed since its start, in `seconds`, and what its store holds.

    `lost`: commits that another activation had won; `sent_again`: rows of the outbox that
    were; `uncommitted`: messages handled and not committed yet; `outbox`, `handled`: rows and
    ids that the store keeps, as the node saw it last.
    """

    url: _Text = ""
    fault: _Text = ""
    commits: _Count = 0
    messages: _Count = 0
    seconds: float = 0.0
    lost: _Count = 0
    sent_again: _Count = 0
    uncommitted: _Count = 0
    outbox: _Count = 0
    handled: _Count = 0


class EntitiesReport(msgspec.Struct, frozen=True):
    """What a node does for the entities of one address; see `entities.ownership.HostNumbers`."""

    address: _Text = ""
    shards: _Count = 0
    owned: _Count = 0
    active: _Count = 0
    failing: _Count = 0


class NodeReport(msgspec.Struct, frozen=True):
    """See `Overview.report`. `time`: the node's own clock."""

    node: _Text
    name: _Text
    trees: tuple[PlaceReport, ...] = ()
    health: HealthReport = HealthReport()
    time: float = 0.0
    pid: _Count = 0
    host: _Text = ""
    actors: _Count = 0
    lag: float = 0.0
    dead_letters: LettersReport = LettersReport()
    tracebacks: dict[str, _Trace] = {}
    meters: dict[str, MeterReport] = {}
    store: StoreReport | None = None
    entities: Annotated[tuple[EntitiesReport, ...], msgspec.Meta(max_length=100)] = ()


class OfferReport(msgspec.Struct, frozen=True):
    """What an address takes: the answer by the name of the message, and the exposed methods."""

    actor_class: _Text = msgspec.field(name="class", default="")
    version: _Text = ""
    messages: dict[_Text, _Text] = {}
    exposed: tuple[_Text, ...] = ()


class OffersReport(msgspec.Struct, frozen=True):
    """See `Overview.offers`: the versions of the runtime and of Python, and what is offered."""

    runtime: _Text = ""
    python: _Text = ""
    offers: dict[_Text, OfferReport] = {}


class ChannelStats(msgspec.Struct, frozen=True):
    """A channel, of nsqd's /stats."""

    channel_name: _Text
    depth: int = 0
    in_flight_count: int = 0
    deferred_count: int = 0
    message_count: int = 0
    #: Connections that consume; None where the broker does not say.
    client_count: int | None = None

    @property
    def settled(self) -> int:
        """Messages that have left it for good."""
        return self.message_count - self.depth - self.in_flight_count - self.deferred_count


class TopicStats(msgspec.Struct, frozen=True):
    """A topic, of nsqd's /stats."""

    topic_name: _Text
    depth: int = 0
    message_count: int = 0
    channels: tuple[ChannelStats, ...] = ()

    @property
    def held(self) -> int:
        """Messages that somebody has not finished: in the topic, and in all its channels."""
        return self.depth + sum(
            channel.depth + channel.in_flight_count + channel.deferred_count
            for channel in self.channels
        )

    def unattended(self) -> list[tuple[str, int]]:
        """Channels that nobody consumes, and how many wait there; "" for the topic itself.

        Ephemeral channels go with those who consume them.
        """
        if not self.channels:
            return [("", self.depth)] if self.depth else []
        return [
            (channel.channel_name, channel.depth)
            for channel in self.channels
            if channel.client_count == 0
            and channel.depth
            and not channel.channel_name.endswith("#ephemeral")
        ]


class BrokerStats(msgspec.Struct, frozen=True):
    """What nsqd's /stats?format=json says."""

    version: _Text = ""
    topics: tuple[TopicStats, ...] = ()


def node_report_untrusted(value: Any) -> NodeReport:
    """Read the report of a node. Raises `DecodeError`."""
    report: NodeReport = _read(value, NodeReport)
    return report


def offers_untrusted(value: Any) -> OffersReport:
    """Read what a node offers. Raises `DecodeError`."""
    report: OffersReport = _read(value, OffersReport)
    return report


def broker_stats_untrusted(value: Any, names: Namespace | None = None) -> BrokerStats:
    """Read the statistics of a broker. Raises `DecodeError`.

    `names`: leave the topics of this namespace, by their names in it; None: all as they are.
    """
    stats: BrokerStats = _read(value, BrokerStats)
    if names is None:
        return stats
    topics = tuple(
        topic if name == topic.topic_name else msgspec.structs.replace(topic, topic_name=name)
        for topic in stats.topics
        if (name := names.inside(topic.topic_name)) is not None
    )
    return msgspec.structs.replace(stats, topics=topics)


def _read(value: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"no {shape.__name__}: {error}"[:300]) from error
