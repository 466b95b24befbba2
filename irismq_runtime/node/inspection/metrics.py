"""The numbers of a node, as samples for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from irismq_runtime.node.assembly import ownership_in
from irismq_runtime.observe.meter import BOUNDS
from irismq_runtime.observe.metrics import Sample, histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.entities import Ownership
    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.observe.health import Health
    from irismq_runtime.observe.meter import Asks, Group

__all__ = ["samples_of"]

_HELP = {
    "stored": "stored messages taken from a broker",
    "finished": "stored messages handled and FINished",
    "requeued": "stored messages given back",
    "buried": "messages stored as dead letters",
    "duplicates": "messages that came again after they were finished",
    "expired": "messages that came after their expiry",
    "deferred": "messages that came before their due time",
    "leases_lost": "messages that the broker took back while their handler ran",
    "undecodable": "messages that could not be read",
    "unsigned": "messages without a valid signature",
    "requests": "requests taken",
    "answered": "requests answered in time",
    "failed": "requests answered with an error",
    "late": "answers that came too late",
    "cancelled": "requests given up by their asker",
    "broadcasts": "broadcasts taken",
    "refused": "broadcasts and events without room in an inbox",
    "tunnels": "tunnels taken",
    "events": "live events taken",
}


#: Reasons of dead letters that are told apart.
_MOST_REASONS: Final = 20
#: Looks of the meter over which the loop's worst delay is told: a scrape misses none.
_LAG_SECONDS: Final = 60


def samples_of(parts: Parts, health: Health) -> Iterator[Sample]:
    """Return all numbers of the node now."""
    for name, count in parts.dispatch.counters.to_dict().items():
        yield Sample(f"{name}_total", count, "counter", _HELP.get(name, ""))
    yield Sample("late_answers_total", parts.outbound.late, "counter", "answers to ended asks")
    yield Sample("live", health.live, help="1 unless restarting the process would help")
    yield Sample("ready", health.ready, help="1 when work given to the node is done now")
    yield Sample("nodes", len(parts.presence.nodes()), help="nodes heard of, this one included")
    lags = [second.lag for second in tuple(parts.meter.seconds)[-_LAG_SECONDS:]]
    help_ = "the loop's longest delay that was seen in the last minute"
    yield Sample("loop_lag_seconds", max(lags, default=0.0), help=help_)
    if parts.durable is not None:
        yield from _of_durable(parts.durable)
    yield from _of_actors(parts)
    yield from _of_dead_letters(parts)
    yield from _of_mailboxes(parts)
    yield from _of_asks("ask", "asks of this node", parts.meter.asked)
    yield from _of_asks("request", "requests to this node", parts.meter.served)


def _of_durable(durable: DurableEngine) -> Iterator[Sample]:
    """What the committer of a node with a store has done."""
    numbers = durable.numbers
    counts = (
        ("commits_total", numbers.commits, "commits of durable actors"),
        ("committed_messages_total", numbers.messages, "messages in them"),
        ("commit_seconds_total", numbers.seconds, "seconds that they took"),
        ("commits_lost_total", numbers.lost, "commits that another activation had won"),
        ("rows_sent_again_total", numbers.sent_again, "outbox rows that were published again"),
    )
    for name, count, text in counts:
        yield Sample(name, count, "counter", text)
    sizes = numbers.sizes
    yield Sample("outbox_rows", sizes.outbox, help="rows in the outbox of the store")
    yield Sample("handled_ids", sizes.handled, help="ids of handled messages in the store")
    yield Sample("uncommitted", durable.uncommitted, help="messages handled and not committed")
    ownership = ownership_in(durable)
    if ownership is not None:
        yield from _of_entities(ownership)


def _of_entities(ownership: Ownership) -> Iterator[Sample]:
    """What a node does for its entities; a series for each address, and none for a key."""
    yield Sample("shards_held", ownership.holds, help="1 while what it has of shards is its own")
    moves = (
        ("shards_taken_total", ownership.taken, "shards that came to this node"),
        ("shards_given_total", ownership.given, "shards that it has given up in order"),
    )
    for name, count, text in moves:
        yield Sample(name, count, "counter", text)
    for host in ownership.numbers():
        labels = {"address": host.address}
        now = (
            ("shards_owned", host.owned, "shards that this node has"),
            ("entities_active", host.active, "entities that are active"),
            ("entities_failing", host.failing, "those that wait after a crash"),
        )
        for name, count, text in now:
            yield Sample(name, count, "gauge", text, labels)
        since = (
            ("entities_activated_total", host.activated, "entities that were made active"),
            ("entities_rested_total", host.rested, "entities that were let go"),
        )
        for name, count, text in since:
            yield Sample(name, count, "counter", text, labels)


def _of_actors(parts: Parts) -> Iterator[Sample]:
    for group in _by_name(parts.meter.groups()):
        labels = {"class": group.name}
        yield Sample("actors", group.actors, "gauge", "slots that have not ended", labels)
        yield Sample("inbox_messages", group.waiting, "gauge", "messages in inboxes", labels)
        counts = (
            ("handled_total", group.handled, "messages that handlers took"),
            ("crashes_total", group.crashes, "handlers that raised"),
            ("restarts_total", group.restarts, "starts of actors after their first"),
        )
        for name, count, text in counts:
            yield Sample(name, count, "counter", text, labels)
    now = parts.system.statistics()
    yield Sample("pending_asks", now.pending_asks, help="local asks without an answer yet")
    yield Sample("stuck_threads", len(now.stuck_threads), help="threads that were abandoned")
    slow = "handlers that have been running for very long"
    yield Sample("slow_handlers", len(now.slow_handlers), help=slow)
    refused = "messages that a full inbox refused"
    yield Sample("inbox_refused_total", now.refused, "counter", refused)


def _by_name(groups: Iterable[Group]) -> Iterator[Group]:
    """One group for each name: classes of one name are one series, and their sum.

    A series that is there twice would be refused, with all others of the page.
    """
    summed: dict[str, Group] = {}
    for group in groups:
        before = summed.get(group.name)
        if before is None:
            summed[group.name] = group
        else:
            counts = {name: getattr(before, name) + getattr(group, name) for name in _COUNTS}
            summed[group.name] = replace(before, **counts)
    yield from summed.values()


#: What of a group is a number of things, and can be added up.
_COUNTS: Final = ("actors", "waiting", "handled", "restarts", "crashes")


def _of_dead_letters(parts: Parts) -> Iterator[Sample]:
    by_reason: Counter[str] = Counter()
    for reason, count in parts.system.dead_letters.counts.items():
        kind = reason.partition(":")[0]  # what follows is a text of a user's
        known = kind in by_reason or len(by_reason) < _MOST_REASONS
        by_reason[kind if known else "other"] += count
    text = "local messages that nobody handled"
    for reason, count in by_reason.items():
        yield Sample("dead_letters_total", count, "counter", text, {"reason": reason})


def _of_mailboxes(parts: Parts) -> Iterator[Sample]:
    held: Counter[str] = Counter()
    for binding in parts.binder:
        for dispatch, consumption in binding.stored:
            held[dispatch.address] += consumption.in_flight
    for address, counts in parts.dispatch.mailboxes.items():
        labels = {"address": address}
        yield Sample("in_flight", held[address], "gauge", "stored messages held", labels)
        for name, count in counts.to_dict().items():
            text = f"{_HELP[name]}, by mailbox"
            yield Sample(f"mailbox_{name}_total", count, "counter", text, labels)


def _of_asks(what: str, text: str, table: Mapping[str, Asks]) -> Iterator[Sample]:
    for address, asks in table.items():
        for outcome, count in asks.outcomes.items():
            labels = {"address": address, "outcome": outcome}
            yield Sample(f"{what}s_ended_total", count, "counter", f"{text}, ended", labels)
        latencies = asks.latencies
        yield from histogram(
            f"{what}_seconds",
            latencies.buckets,
            BOUNDS,
            latencies.total,
            help=f"how long {text} took",
            labels={"address": address},
        )
