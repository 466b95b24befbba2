"""Events of messages: the steps of durable ones, and asks between nodes.

The steps of one durable message carry `id`, the envelope id in hex ("" where it
is not known), so that a subscriber can follow it; STEPS lists them in the order
in which they happen. `topic` is the broker's, `address` the user's.
"""

from __future__ import annotations

from typing import Final

from irismq_runtime.observe.records import Record, event

__all__ = [
    "STEPS",
    "AskAnswered",
    "AskFailed",
    "AskSent",
    "ConsumerFinished",
    "ConsumerReceived",
    "ConsumerStuck",
    "DispatchDecoded",
    "DispatchDuplicate",
    "DispatchLate",
    "DispatchLeaseLost",
    "DispatchRefused",
    "HandlerReturned",
    "HandlerStarted",
    "InboxQueued",
    "OutboxQueued",
    "PublisherConfirmed",
    "PublisherFailed",
    "PublisherWritten",
    "SettlementBuried",
    "SettlementFinished",
    "SettlementRequeued",
    "TellEncoded",
]

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


# One durable message --------------------------------------------------------------


@event("tell.encoded")
class TellEncoded(Record, frozen=True):
    """A durable tell became bytes. By refs, at the caller's `tell`."""

    id: str
    address: str
    size: int


@event("outbox.queued")
class OutboxQueued(Record, frozen=True):
    """Its bytes wait to be written. By mailbox."""

    id: str
    topic: str
    size: int


@event("publisher.written")
class PublisherWritten(Record, frozen=True):
    """They were written to a broker. By mailbox."""

    id: str
    topic: str
    broker: str


@event("publisher.confirmed")
class PublisherConfirmed(Record, frozen=True):
    """The broker has stored them. By mailbox."""

    id: str
    topic: str
    broker: str


@event("publisher.failed")
class PublisherFailed(Record, frozen=True):
    """They were not confirmed in time; the receipt fails. By mailbox."""

    id: str
    topic: str
    error: str


@event("consumer.received")
class ConsumerReceived(Record, frozen=True):
    """A broker gave a message out; `message` is the broker's id of it. By mailbox."""

    id: str
    message: str
    topic: str
    channel: str
    attempts: int
    broker: str


@event("consumer.finished")
class ConsumerFinished(Record, frozen=True):
    """FIN was written for it. By mailbox."""

    id: str
    message: str
    topic: str
    channel: str
    attempts: int
    broker: str


@event("consumer.stuck")
class ConsumerStuck(Record, frozen=True):
    """Messages are held, or waited for, and nothing happens for long. By mailbox."""

    topic: str
    channel: str
    reason: str


@event("dispatch.decoded")
class DispatchDecoded(Record, frozen=True):
    """An envelope was read and accepted. By dispatch."""

    id: str
    address: str
    type: str
    attempts: int
    broker_id: str


@event("inbox.queued")
class InboxQueued(Record, frozen=True):
    """A message of a transport waits for its turn. By actors."""

    id: str | None
    actor: str
    attempt: int


@event("handler.started")
class HandlerStarted(Record, frozen=True):
    """Its handler starts. By actors."""

    id: str | None
    actor: str
    attempt: int


@event("handler.returned")
class HandlerReturned(Record, frozen=True):
    """Its handler has ended; `outcome` is a kind of `Outcome`. By actors."""

    id: str | None
    actor: str
    attempt: int
    outcome: str


@event("settlement.finished")
class SettlementFinished(Record, frozen=True):
    """A message was FINished; `reason` when its handler had no part in it. By dispatch."""

    id: str
    address: str
    reason: str = ""


@event("settlement.requeued")
class SettlementRequeued(Record, frozen=True):
    """A message was given back; `delay` None is the mailbox's growing one. By dispatch."""

    id: str
    address: str
    delay: float | None
    reason: str


@event("settlement.buried")
class SettlementBuried(Record, frozen=True):
    """A message went to the dead letters of its address. By dispatch."""

    id: str
    address: str
    reason: str


@event("dispatch.refused")
class DispatchRefused(Record, frozen=True):
    """Bytes were not accepted: "undecodable" or "unsigned". By dispatch."""

    address: str
    reason: str
    error: str


@event("dispatch.duplicate")
class DispatchDuplicate(Record, frozen=True):
    """A message came again beside, or after, the one that was handled. By dispatch."""

    id: str
    address: str


@event("dispatch.lease_lost")
class DispatchLeaseLost(Record, frozen=True):
    """The broker took a message back while its handler ran: another may run it. By dispatch."""

    id: str
    address: str


# Asks between nodes ---------------------------------------------------------------


@event("ask.sent")
class AskSent(Record, frozen=True):
    """An ask left; `timeout` in seconds. By refs."""

    id: str
    address: str
    type: str
    timeout: float


@event("ask.answered")
class AskAnswered(Record, frozen=True):
    """It was answered with a value. By refs."""

    id: str
    address: str


@event("ask.failed")
class AskFailed(Record, frozen=True):
    """It failed, or telling the other end to stop did. By refs."""

    id: str
    address: str
    error: str


@event("dispatch.late")
class DispatchLate(Record, frozen=True):
    """An answer came after its deadline. By dispatch."""

    id: str
    address: str
