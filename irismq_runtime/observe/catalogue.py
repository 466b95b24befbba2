"""The names of all events that a node emits, each with its fields.

Events are for people, tests and metrics: nothing in the runtime depends on one.
The steps of one durable message carry `id`, the envelope id in hex, so that a
subscriber can follow it; STEPS lists them in the order in which they happen.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EVENTS", "STEPS"]

#: One durable message, from the caller's `tell` to the broker's FIN.
STEPS: Final = (
    "tell.encoded",
    "outbox.queued",
    "publisher.written",
    "publisher.confirmed",
    "consumer.received",
    "dispatch.decoded",
    "inbox.queued",
    "handler.started",
    "handler.returned",
    "settlement.finished",
)

#: Event name to what it says and the fields it carries.
EVENTS: Final[dict[str, str]] = {
    "tell.encoded": "a durable tell became bytes: id, address, size",
    "outbox.queued": "bytes wait to be written: id, topic, size",
    "publisher.written": "bytes were written to a broker: id, topic",
    "publisher.confirmed": "a broker stored them: id, topic",
    "consumer.received": "a broker gave a message out: broker_id, topic, attempts",
    "dispatch.decoded": "an envelope was read and accepted: id, broker_id, address, type, attempts",
    "inbox.queued": "a message waits for its turn: id",
    "handler.started": "a handler starts: id",
    "handler.returned": "a handler returned: id",
    "settlement.finished": "a message was FINished: id, address",
    "settlement.requeued": "a message was given back: id, address, delay, reason",
    "settlement.buried": "a message went to dead letters: id, address, reason",
    "dispatch.refused": "bytes were not accepted: address, reason, error",
    "dispatch.duplicate": "a message came again after it was finished: id, address",
    "dispatch.lease_lost": "the broker took a message back while it was held: id, address",
    "dispatch.late": "an answer came after its deadline: id, address",
    "ask.sent": "an ask left: id, address, type, timeout",
    "ask.answered": "an ask was answered: id, address",
    "ask.failed": "an ask failed: id, address, error",
    "node.started": "a node is ready: node, name",
    "node.bound": "an actor serves an address: address, urn",
    "node.unbound": "an actor serves it no more: address, urn",
    "node.draining": "a node stops taking work: node, reason",
    "node.stopped": "a node has stopped: node, seconds",
    "presence.joined": "a member appeared: node, address, urn",
    "presence.left": "a member went: node, address, urn",
    "presence.gone": "a node went: node",
    "health.changed": "readiness changed: ready, reasons",
}
