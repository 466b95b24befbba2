"""Stored messages to a durable actor: as to any other, but that giving one up is a commit.

A message that is put aside keeps its right as a dead row, so that a replay may run it;
one that has expired loses it; one that failed has its try counted in its row, since a row
that is published again begins with the broker's first attempt.

Ids of handled messages that have no row go early where they cannot come again: their senders do
not store them again any more, and whatever a broker has of them has come since, because the
mailbox was seen empty at all its brokers. Loop thread only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.dispatch import StoredDispatch
from irismq_runtime.durability.errors import NotInUnit
from irismq_runtime.durability.rights import right_of
from irismq_runtime.errors import RuntimeFault, StoreUnavailable
from irismq_runtime.ports.state_store import OwnedRight, StateKey
from irismq_runtime.wire.headers import ATTEMPTS, SENDERS_REPEAT, is_signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef, Outcome
    from irismq_runtime.dispatch.delivery import DurableDelivery
    from irismq_runtime.dispatch.settlement import Settlement
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports import Consumption, StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = ["AWAY", "PAUSE", "StatefulDispatch"]

#: Seconds between two deletions of what is of no use any more, for others to be served.
PAUSE: Final = 0.05
#: Why consumers are paused while the store cannot be used.
AWAY: Final = "store"
#: Seconds for which a message is put off whose end could not be written down.
_LATER: Final = 1.0
#: Looks in a row at which a mailbox was empty, from which on it is known to be: a broker that has
#: returned right before one of them has given out what it has by the next.
_SEEN_EMPTY: Final = 2
#: Seconds between two times that ids are forgotten.
_FORGET_EVERY: Final = 600.0
#: Ids that go in one transaction.
_AT_ONCE: Final = 1_000


class StatefulDispatch(StoredDispatch):
    """Feeds one durable actor from one (topic, channel)."""

    __slots__ = (
        "_consumption",
        "_empty",
        "_engine",
        "_forgotten",
        "_keep",
        "last_arrival",
        "owner",
    )

    def __init__(
        self,
        engine: DurableEngine,
        owner: str,
        *args: Any,
        keep: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._engine = engine
        #: Seconds for which results are kept; None: they are not. Those of what was handled are
        #: in its commit.
        self._keep = keep
        #: The address of the actor.
        self.owner = owner
        #: When a message came last, on the monotonic clock.
        self.last_arrival = engine.now()
        self._consumption: Consumption | None = None
        #: Looks in a row at which nothing had come for a while.
        self._empty = 0
        #: When ids were forgotten last.
        self._forgotten = -_FORGET_EVERY

    def attach(self, consumption: Consumption) -> None:
        """As `StoredDispatch.attach`."""
        super().attach(consumption)
        self._consumption = consumption

    def feeds(self, ref: ActorRef[Any]) -> bool:
        """Whether it is `ref` that this feeds."""
        return self._ref == ref

    def on_message(self, stored: StoredMessage) -> None:
        """Take one delivery; see `StoredDispatch`. Raises nothing."""
        self.last_arrival = self._engine.now()
        super().on_message(stored)

    def key_of(self, envelope: Envelope | None) -> StateKey:  # noqa: ARG002  # of who has many
        """Whose state a message is for."""
        return StateKey(self.owner)

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing has come for so long, though it was asked for."""
        waits = self.pause.reasons or self.held
        return not waits and self._engine.now() - self.last_arrival >= seconds

    async def forget_handled(self, quiet: float) -> None:
        """Forget the ids that cannot come again, if the mailbox is known to be empty.

        Args:
            quiet: Seconds without a message after which it is.

        Raises `StoreUnavailable`.
        """
        engine, consumption = self._engine, self._consumption
        well = consumption is not None and consumption.health().ok
        self._empty = self._empty + 1 if well and self.is_quiet(quiet) else 0
        if self._empty < _SEEN_EMPTY or engine.now() - self._forgotten < _FORGET_EVERY:
            return
        self._forgotten = engine.now()
        # What was given back comes within the broker's longest delay.
        age = max(SENDERS_REPEAT, engine.mailbox.max_delay, 2 * engine.publish_timeout)
        forget = engine.store.forget_handled
        while await forget(self.owner, self.channel, age, _AT_ONCE) == _AT_ONCE:
            await engine.sleep(PAUSE)

    def _owned(
        self, stored: StoredMessage, envelope: Envelope | None, *, aside: bool = True
    ) -> OwnedRight | None:
        """The row of a message, if it has one in this store."""
        engine = self._engine
        right = right_of(
            envelope, stored, self.channel, engine.origin, believed=engine.believes, aside=aside
        )
        return right if isinstance(right, OwnedRight) else None

    def _bury(
        self,
        stored: StoredMessage,
        envelope: Envelope | None,
        reason: str,
        error: BaseException | None = None,
    ) -> None:
        row = self._owned(stored, envelope)
        why = reason if error is None else error
        letter = self._after_failure(
            stored, envelope, why, partial(super()._bury, stored, envelope, reason, error)
        )
        if row is None:
            letter()
        else:
            self._engine.spawn(self._use_up(stored, self.key_of(envelope), row, letter))

    async def _use_up(
        self, stored: StoredMessage, key: StateKey, row: OwnedRight, then: Callable[[], None]
    ) -> None:
        """Row to dead, or gone; then the letter, or the word of its expiry; then FIN."""
        engine = self._engine
        try:
            await engine.use_up(key, row)
        except StoreUnavailable as fault:
            if fault.kind != "conflict":  # that is no fault of the store
                engine.committer.fault_seen(fault)
            stored.requeue(_LATER, penalty=False)
        except NotInUnit:  # another activation was faster: what it did is looked at again
            stored.requeue(_LATER, penalty=False)
        else:
            then()

    def _expired(self, stored: StoredMessage, envelope: Envelope | None, what: object) -> None:
        row = self._owned(stored, envelope, aside=False)
        said = self._after_failure(
            stored, envelope, "expired", partial(super()._expired, stored, envelope, what)
        )
        if row is None:
            said()
        else:
            self._engine.spawn(self._use_up(stored, self.key_of(envelope), row, said))

    def _after_failure(
        self,
        stored: StoredMessage,
        envelope: Envelope | None,
        error: BaseException | str,
        then: Callable[[], None],
    ) -> Callable[[], None]:
        """What does `then`, once it is kept that nothing comes of the message."""
        if self._keep is None:
            return then
        keep = self._engine.results.keep_failure
        return partial(keep, self, self._keep, stored, envelope, error, then)

    def let_go(self, delivery: DurableDelivery) -> None:
        """Finish this copy of a message: its row stands, and is told again.

        It is not given back: the broker counts that, and another process would take the count
        for attempts.
        """
        if delivery.envelope is not None:
            self._held.pop(delivery.envelope.id, None)
        for stored in (delivery.stored, *delivery.copies):
            stored.finish()

    def put_off(self, delivery: DurableDelivery, delay: float) -> None:
        """Store a message again whose handler has not begun, to come in `delay` seconds.

        It is not given back: see `let_go`. What it has had of attempts stands in it from then on.
        """
        if delivery.envelope is not None:
            self._held.pop(delivery.envelope.id, None)
        for stored in (delivery.stored, *delivery.copies):
            if not self._stored_again(stored, delivery.envelope, delay):
                stored.requeue(delay, penalty=False)

    def _stored_again(self, stored: StoredMessage, envelope: Envelope | None, delay: float) -> bool:
        """False: it says nothing of its attempts, and cannot be made to."""
        had = stored.attempts - 1
        if had == (0 if envelope is None else envelope.headers.get(ATTEMPTS, 0)):
            return stored.defer(delay)
        packer = self._engine.packer
        if envelope is None or (is_signed(envelope.headers) and not packer.signs):
            return False
        try:
            body = packer.leaving(stored.body, self._topic, {ATTEMPTS: had})
        except RuntimeFault:  # it has no room for one header more
            return False
        return stored.defer(delay, body)

    def _requeue(self, delivery: DurableDelivery, verdict: Settlement, outcome: Outcome) -> None:
        super()._requeue(delivery, verdict, outcome)
        row = self._owned(delivery.stored, delivery.envelope)
        if row is not None and outcome.kind in {"crashed", "retry"}:
            self._engine.count_try(row.id, verdict.delay or 0.0)
