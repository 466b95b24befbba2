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
    "publisher.failed": "a tell was not confirmed in time: id, topic, error",
    "consumer.finished": "FIN was written for a message: message (the broker's id), topic",
    "consumer.stuck": "messages are held and none is settled for long: topic, channel",
    "iris.connected": "a connection to the relay stands: peer, cluster",
    "iris.lost": "a connection to the relay was cut: peer, cluster, reason",
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
    "health.changed": "readiness changed: ready, reasons",
    "presence.joined": "a member appeared: node, address, urn",
    "presence.left": "a member went: node, address, urn",
    "presence.gone": "a node went: node",
    "actor.started": "an incarnation takes messages: ref, incarnation",
    "actor.down": "an incarnation is over: ref, exit",
    "actor.ended": "a slot has ended: ref, exit",
    "actor.crashed": "an exception left a handler: ref, exit",
    "actor.stuck": "something did not end and was abandoned: ref, what, running",
    "actor.slow_handler": "a handler has been running for long: ref, seconds, stack",
    "loop.blocked": "a handler holds the loop up: ref, seconds, stack",
    "ask.late_answer": "a local answer came after its deadline: ref, message_type",
    "tell.refused": "an actor refused a local tell: ref, message, error",
    "dead_letter": "a local message that nobody will handle: letter",
    "supervisor.progress": "a child has started: report",
    "supervisor.child_terminated": "a child ended: report",
    "supervisor.start_error": "a child did not start: report",
    "supervisor.shutdown": "a supervisor gave up: report",
    "supervisor.shutdown_error": "a child did not end as asked: report",
}
