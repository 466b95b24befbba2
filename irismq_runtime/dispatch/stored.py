"""Stored messages to one actor: bytes -> envelope -> message -> inbox -> settlement.

One `StoredDispatch` stands between a consumer and an actor. In this order:

    envelope read and signature checked     else buried at once, the actor untouched
    attempts, due time, expiry              `settlement.admission`
    already finished, or in hand            finished as a copy, or joined to that delivery
    message read and validated              else back, as newer code may read it (`unread_rounds`);
                                            or buried
    `ref.deliver`                           full inbox: given back, consumer paused
    handler starts                          only if the broker's lease still stands
    outcome                                 `retry_policy.settled`

Each stored message is settled exactly once, whatever happens. A second handling
of one envelope never starts beside the first here: its new lease replaces the old
one, or it is settled as a copy (`DurableDelivery.again`). No task is made per message.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from actors.delivery import NOTHING
from actors.errors import ActorDeadError, MailboxFull
from irismq_runtime.dispatch.consumer_pause import FULL, ConsumerPause
from irismq_runtime.dispatch.context import SettledCounts
from irismq_runtime.dispatch.dead import dead_record, said_dead
from irismq_runtime.dispatch.delivery import DurableDelivery, ScopedDurableDelivery
from irismq_runtime.dispatch.retry_policy import settled
from irismq_runtime.dispatch.settlement import (
    FINISH,
    GIVE_BACK,
    UNREAD,
    AttemptLimits,
    Settlement,
    admission,
    hops,
    is_unread,
)
from irismq_runtime.dispatch.unread_rounds import UNREAD_AFTER, left_to_others
from irismq_runtime.errors import DecodeError
from irismq_runtime.messaging import DEAD_CHANNEL, mailbox_topic
from irismq_runtime.messaging.foreign import foreign_value_untrusted
from irismq_runtime.observe.tracing import TRACEPARENT
from irismq_runtime.recent import Recent
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.dispatch.retry_policy import RetryPolicy
    from irismq_runtime.messaging.foreign import ForeignRule
    from irismq_runtime.observe.tracing import Tracing
    from irismq_runtime.ports import Consumption, StoredMessage

__all__ = ["StoredDispatch"]

#: How long a full inbox keeps its consumer waiting before it is looked at again.
_ROOM_CHECK = 0.1


class StoredDispatch:
    """Feeds one actor from one (topic, channel).

    `address`: for texts, events and dead letters. `kind`: "tell" for a mailbox,
    "event" for a subscription, which has a `channel` of its own.
    """

    __slots__ = (
        "_context",
        "_done",
        "_foreign",
        "_held",
        "_limits",
        "_looked_over",
        "_otherwise",
        "_ref",
        "_retry",
        "_settled",
        "_topic",
        "address",
        "channel",
        "claim",
        "dead_topic",
        "disclaim",
        "kind",
        "pause",
    )

    def __init__(
        self,
        context: DispatchContext,
        ref: ActorRef[Any],
        *,
        address: str,
        dead_topic: str,
        limits: AttemptLimits,
        retry: RetryPolicy | None = None,
        foreign: ForeignRule = "json",
        dedupe: int = 10_000,
        kind: Any = "tell",
        channel: str = "",
    ) -> None:
        self._context = context
        self._ref = ref
        self.address = address
        self._topic = mailbox_topic(address)
        self.dead_topic = dead_topic
        self._otherwise = limits.max_attempts
        if retry is not None:
            limits = replace(limits, max_attempts=retry.most(limits.max_attempts))
        self._limits = limits
        #: A message that has had more attempts than these is looked over before its handler.
        self._looked_over = limits.max_attempts if limits.expires is None else 0
        self._retry = retry
        self._foreign: ForeignRule = foreign
        self._done: Recent[bytes, None] = Recent(dedupe)
        self._held: dict[bytes, DurableDelivery] = {}
        self._settled = context.mailboxes.setdefault(address, SettledCounts())
        self.kind = kind
        self.channel = channel
        #: Tells the transport that the handler starts; False: it must not.
        self.claim: Callable[[StoredMessage], bool] = _claim_without_lease
        #: Takes that back: the handler's work came to nothing, and not through the message.
        self.disclaim: Callable[[StoredMessage], bool] = _claim_without_lease
        self.pause = ConsumerPause()

    def attach(self, consumption: Consumption) -> None:
        """Name the consumer that feeds this."""
        self.claim = consumption.claim
        self.disclaim = consumption.disclaim
        self.pause.attach(consumption)

    @property
    def held(self) -> int:
        """Messages that wait in the inbox, or whose handler runs."""
        return len(self._held)

    def on_message(self, stored: StoredMessage) -> None:
        """Take one delivery; see the order above. Raises nothing."""
        context = self._context
        context.counters.stored += 1
        try:
            envelope = context.packer.open_untrusted(
                stored.body, "store", self._topic, None, stored.timestamp
            )
            if not isinstance(envelope, Envelope):
                self._take_foreign(stored, envelope)
                return
        except DecodeError as error:
            self._not_read(stored, None, error, self._limits.max_attempts)
            return
        headers = envelope.headers
        allowed = self._limits.max_attempts
        if (
            stored.attempts > self._looked_over
            or "t" in headers
            or "x" in headers
            or "b" in headers
        ):
            if not self._admitted(stored, envelope):
                return
            allowed = self._allowed(stored, headers)
        envelope_id = envelope.id
        if envelope_id in self._held:
            if self._held[envelope_id].again(stored):
                self.said_copy(envelope_id)
            return
        done = self._done
        if envelope_id in done.young or envelope_id in done.old:
            self._finish_copy(stored, envelope_id)
            return
        try:
            message = context.packer.load_untrusted(envelope)
        except DecodeError as error:
            self._not_read(stored, envelope, error, allowed)
            return
        self._deliver(stored, envelope, message, allowed)

    def _not_read(
        self, stored: StoredMessage, envelope: Envelope | None, error: DecodeError, allowed: int
    ) -> None:
        """The message cannot be read here. Newer code may: it comes again, for a while."""
        self._context.refused(self.address, error)
        if error.unknown_here and stored.attempts < allowed:
            self.claim(stored)  # a delivery that counts
            self._went_back(stored, envelope, UNREAD, "unread")
        elif not (error.unknown_here and self._left_to_others(stored, envelope)):
            self._bury(stored, envelope, f"decode: {error.reason}")

    def _left_to_others(self, stored: StoredMessage, envelope: Envelope | None) -> bool:
        """Whether what cannot be read here was stored again; see `unread_rounds`."""
        if self.kind != "tell":
            return False
        if left := left_to_others(self._context, self.address, stored, envelope):
            self._said_back(envelope, UNREAD_AFTER, "unread")
        return left

    # Before the handler -------------------------------------------------------

    def _admitted(self, stored: StoredMessage, envelope: Envelope) -> bool:
        due, expires = envelope.headers.get("t"), envelope.headers.get("x")
        stored.attempts += envelope.headers.get("b", 0)
        verdict = admission(
            attempts=stored.attempts,
            now=self._context.clock.time(),
            stored=stored.timestamp,
            due=None if due is None else due / 1000,
            expires=None if expires is None else expires / 1000,
            limits=self._limits,
            counts_hops=self.kind != "tell",
        )
        match verdict.action:
            case "handle":
                return True
            case "requeue":
                self._context.counters.deferred += 1
                if self.kind == "tell":
                    stored.defer(verdict.delay or 0.0)
                else:  # a copy would reach the other channels of the topic too
                    self.claim(stored)  # a delivery that counts: `hops` allows for it
                    stored.requeue(verdict.delay, penalty=False)
            case "bury":
                self._bury(stored, envelope, verdict.reason)
            case "finish":
                self._expired(stored, envelope, envelope.type)
        return False

    def _allowed(self, stored: StoredMessage, headers: dict[str, Any]) -> int:
        due = headers.get("t")
        if due is None or self.kind == "tell":
            return self._limits.max_attempts
        more = hops(due / 1000, stored.timestamp, self._limits.max_delay)
        return self._limits.max_attempts + more

    def _finish_copy(self, stored: StoredMessage, envelope_id: bytes) -> None:
        self.said_copy(envelope_id)
        stored.finish()

    def said_copy(self, envelope_id: bytes) -> None:
        """Count one more delivery of what has been handled, and say so."""
        self._context.counters.duplicates += 1
        if self._context.events.active:
            self._context.events.emit(
                "dispatch.duplicate", id=envelope_id.hex(), address=self.address
            )

    def _expired(self, stored: StoredMessage, envelope: Envelope | None, what: object) -> None:
        self._context.counters.expired += 1
        self._context.lost(what, self._ref, "expired")
        if self._context.events.active:
            self._context.events.emit(
                "settlement.finished",
                id=envelope.id.hex() if envelope else "",
                address=self.address,
                reason="expired",
            )
        stored.finish()

    def _take_foreign(self, stored: StoredMessage, foreign: Any) -> None:
        """A body without an envelope: no id, so no window against copies."""
        if stored.attempts > self._limits.max_attempts:
            self._bury(stored, None, f"given out {stored.attempts} times, never finished")
            return
        message = foreign_value_untrusted(foreign.data, self._foreign)
        self._hand_over(DurableDelivery(self, stored, None, message, self._limits.max_attempts))

    def _deliver(
        self, stored: StoredMessage, envelope: Envelope, message: object, allowed: int
    ) -> None:
        tracing = self._context.tracing
        if tracing is None or TRACEPARENT not in envelope.headers:
            delivery = DurableDelivery(self, stored, envelope, message, allowed)
        else:
            delivery = self._traced(
                tracing, ScopedDurableDelivery(self, stored, envelope, message, allowed)
            )
        self._held[envelope.id] = delivery
        if self._context.events.active:
            self._context.events.emit(
                "dispatch.decoded",
                id=envelope.id.hex(),
                address=self.address,
                type=envelope.type,
                attempts=stored.attempts,
                broker_id=stored.id,
            )
        self._hand_over(delivery)

    def _traced(self, tracing: Tracing, delivery: ScopedDurableDelivery) -> DurableDelivery:
        headers = {} if delivery.envelope is None else delivery.envelope.headers
        scope = tracing.consumer(headers, self.address, system="nsq", about=delivery.described)
        if scope is None:  # the header names no span
            return DurableDelivery(
                self, delivery.stored, delivery.envelope, delivery.message, delivery.allowed
            )
        delivery.scope = scope
        return delivery

    def _hand_over(self, delivery: DurableDelivery, _ref: ActorRef[Any] | None = None) -> None:
        """Put it in the inbox of the actor: of `_ref`, where that is not the one that is fed."""
        stored = delivery.stored
        try:
            (self._ref if _ref is None else _ref).put(delivery)
        except (MailboxFull, ActorDeadError) as error:
            if delivery.envelope is not None:
                self._held.pop(delivery.envelope.id, None)
            full = isinstance(error, MailboxFull)
            stored.requeue(_ROOM_CHECK if full else 0.0, penalty=False)
            if full:
                self._wait_for_room()
        else:
            stored.on_lease_lost = delivery.lease_lost

    # Room ---------------------------------------------------------------------

    def _wait_for_room(self) -> None:
        if FULL not in self.pause.reasons:
            self.pause.add(FULL)
            self._context.clock.call_later(_ROOM_CHECK, self._look_for_room)

    def _look_for_room(self) -> None:
        if self._ref.room > 0 or not self._ref.is_alive():
            self.pause.remove(FULL)
        else:
            self._context.clock.call_later(_ROOM_CHECK, self._look_for_room)

    def sender(self, headers: Mapping[str, Any]) -> object | None:
        """See `DispatchContext.sender`."""
        return self._context.sender(headers)

    # After the handler --------------------------------------------------------

    def handled(self, delivery: DurableDelivery, value: object) -> None:  # noqa: ARG002  # of who keeps it
        """The handler has returned: `settle`, for nearly all messages the short way."""
        envelope = delivery.envelope
        if delivery.copies or envelope is None:
            self.settle(delivery, NOTHING)
            return
        envelope_id = envelope.id
        del self._held[envelope_id]
        self._done.put(envelope_id, None)
        delivery.stored.finish()
        self._said_finished(envelope_id)

    def settle(self, delivery: DurableDelivery, outcome: Outcome) -> None:
        """Carry out what the table says of `outcome`."""
        stored, envelope = delivery.stored, delivery.envelope
        if outcome.kind == "replied":
            verdict = FINISH
        elif delivery.gone:
            verdict = GIVE_BACK
        else:
            verdict = settled(
                self._retry,
                outcome,
                attempts=stored.attempts,
                allowed=delivery.allowed,
                otherwise=self._otherwise,
                chance=self._context.chance.random(),
            )
        if envelope is not None:
            self._held.pop(envelope.id, None)
            if verdict.action == "finish":  # what is buried may be replayed
                self._done.put(envelope.id, None)
        if not verdict.counted:
            self.take_back(delivery)
        for copy in delivery.copies:
            if verdict.action == "requeue":
                copy.requeue(verdict.delay, penalty=False)
            else:
                copy.finish()
        if verdict.action == "finish":
            self._finish(delivery, verdict)
        elif verdict.action == "bury":
            self._give_up(stored, envelope, verdict, outcome)
        else:
            self._requeue(delivery, verdict, outcome)

    def _give_up(
        self,
        stored: StoredMessage,
        envelope: Envelope | None,
        verdict: Settlement,
        outcome: Outcome,
    ) -> None:
        if not (is_unread(outcome) and self._left_to_others(stored, envelope)):
            self._bury(stored, envelope, verdict.reason, outcome.error)

    def take_back(self, delivery: DurableDelivery) -> None:
        """No handler had a real chance with it: what is requeued now has used up no attempt."""
        for stored in (delivery.stored, *delivery.copies):
            self.disclaim(stored)

    def give_back(self, delivery: DurableDelivery) -> None:
        """Let go of a message whose outcome could not be carried out."""
        if delivery.envelope is not None:
            self._held.pop(delivery.envelope.id, None)
        for stored in (delivery.stored, *delivery.copies):
            stored.requeue()
        self._context.counters.requeued += 1
        self._settled.requeued += 1

    def _finish(self, delivery: DurableDelivery, verdict: Settlement) -> None:
        envelope = delivery.envelope
        if verdict.reason:
            self._expired(delivery.stored, envelope, self.address)
            return
        delivery.stored.finish()
        self._said_finished(envelope.id if envelope else b"")

    def _said_finished(self, envelope_id: bytes) -> None:
        self._context.counters.finished += 1
        self._settled.finished += 1
        if self._context.events.active:
            self._context.events.emit(
                "settlement.finished", id=envelope_id.hex(), address=self.address
            )

    def _requeue(self, delivery: DurableDelivery, verdict: Settlement, outcome: Outcome) -> None:
        self._went_back(delivery.stored, delivery.envelope, verdict, outcome.kind)

    def _went_back(
        self, stored: StoredMessage, envelope: Envelope | None, verdict: Settlement, why: str
    ) -> None:
        stored.requeue(verdict.delay, penalty=verdict.penalty)
        self._said_back(envelope, verdict.delay, why)

    def _said_back(self, envelope: Envelope | None, delay: float | None, why: str) -> None:
        self._context.counters.requeued += 1
        self._settled.requeued += 1
        if self._context.events.active:
            self._context.events.emit(
                "settlement.requeued",
                id=envelope.id.hex() if envelope else "",
                address=self.address,
                delay=delay,
                reason=why,
            )

    def _bury(
        self,
        stored: StoredMessage,
        envelope: Envelope | None,
        reason: str,
        error: BaseException | None = None,
    ) -> None:
        record = dead_record(
            self._context,
            self.address,
            stored,
            envelope,
            reason=reason,
            error=error,
            channel=self.channel,
        )
        stored.bury(self.dead_topic, record, channel=DEAD_CHANNEL)
        self._settled.buried += 1
        said_dead(self._context, self.address, stored, envelope, self.dead_topic, reason)

    def lease_lost(self, delivery: DurableDelivery) -> None:
        """The broker may have given a message whose handler has begun to somebody else."""
        self._context.counters.leases_lost += 1
        self._context.log.note(
            "lease",
            "%s: a message went back to the broker while its handler runs (the "
            "connection broke, or the broker's limit is over); another may run it again",
            self.address,
            like=(self.address,),
        )
        if self._context.events.active:
            self._context.events.emit(
                "dispatch.lease_lost",
                id=delivery.envelope.id.hex() if delivery.envelope else "",
                address=self.address,
            )


def _claim_without_lease(_stored: StoredMessage) -> bool:
    """No consumer is named: there is no lease to ask for."""
    return True
