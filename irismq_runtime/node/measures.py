"""The numbers of a node, as samples for metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.observe.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.observe.health import Health

__all__ = ["samples_of"]

_HELP = {
    "stored": "stored messages taken from a broker",
    "finished": "stored messages handled and FINished",
    "requeued": "stored messages given back",
    "buried": "messages stored as dead letters",
    "duplicates": "messages that came again after they were finished",
    "expired": "messages that came after their expiry",
    "deferred": "messages that came before their due time",
    "leases_lost": "messages whose handler outlived the broker's limit",
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


def samples_of(parts: Parts, health: Health) -> Iterator[Sample]:
    """Return all numbers of the node now."""
    for name, count in parts.incoming.counters.to_dict().items():
        yield Sample(f"{name}_total", count, "counter", _HELP.get(name, ""))
    yield Sample("late_answers_total", parts.outbound.late, "counter", "answers to ended asks")
    yield Sample("live", health.live, help="1 unless restarting the process would help")
    yield Sample("ready", health.ready, help="1 when work given to the node is done now")
    yield Sample("actors", len(parts.system), help="slots that have not ended")
    yield Sample(
        "dead_letters_total",
        parts.system.dead_letters.total,
        "counter",
        "local messages that nobody handled",
    )
    yield Sample("nodes", len(parts.presence.nodes()), help="nodes heard of, this one included")
    for binding in parts.binder:
        labels = {"actor": binding.ref.actor_urn}
        yield Sample("inbox_room", binding.ref.room, help="free places in an inbox", labels=labels)
        for dispatch, consumption in binding.stored:
            more = {**labels, "topic": dispatch.address}
            yield Sample(
                "in_flight", consumption.in_flight, help="stored messages held", labels=more
            )
