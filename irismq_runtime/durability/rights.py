"""The right of a message to be applied: what it is, and whether it still stands.

    a message of this store (the header "o" names it)   its row in the outbox
    any other stored message                            its id, noted as handled
    a body without an envelope                          the broker's id and time of it
    everything else                                     none: it has no identity

A right is taken by the commit. It is looked up before the handler as well where it may be
gone: for what is given out again, and on a state on which nothing has been committed yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Reject
from actors.delivery import Outcome
from actors.runtime import take_current
from irismq_runtime.dispatch import DurableDelivery
from irismq_runtime.durability.asked import question_of
from irismq_runtime.durability.origin import RowOrigin
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import HandledRight, OwnedRight
from irismq_runtime.wire.headers import REPEATS, SENDERS_REPEAT

if TYPE_CHECKING:
    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.ports.state_store import Right
    from irismq_runtime.wire import Envelope

__all__ = ["Rights", "right_of"]

#: Seconds for which a message is put off that comes before an earlier one; it doubles
_EARLY_FIRST: Final = 0.05
#: up to this.
_EARLY_MOST: Final = 2.0
#: Without keys anybody can write such a message: it stops nobody else's.
_NEWER: Final = (
    "it says that the store was further than it is: the store went back in time (then accept that: "
    "irismq store accept), or somebody forged it, which keys prevent"
)


def right_of(
    envelope: Envelope | None,
    stored: StoredMessage,
    channel: str,
    own: RowOrigin,
    *,
    believed: bool,
    aside: bool = False,
) -> Right:
    """Return the right of a stored message.

    Args:
        envelope: None for a body without one.
        stored: As the broker gave it.
        channel: Which copy of it this is.
        own: What the rows of the store are marked with now.
        believed: Whether the number in the mark says how far the store must have come.
        aside: Whether it is to be used up by putting the message aside.
    """
    if envelope is None:
        return HandledRight(channel, f"{stored.id}@{stored.timestamp:.9f}".encode())
    origin = RowOrigin.of_untrusted(envelope.headers)
    if origin is not None and origin.store == own.store:
        # Of an earlier epoch no number says anything: that the store lacks it was accepted.
        said = believed and origin.epoch == own.epoch
        return OwnedRight(envelope.id, origin.number if said else 0, aside)
    repeats = envelope.headers.get(REPEATS, 0) > SENDERS_REPEAT
    return HandledRight(channel, envelope.id, repeats)


class Rights:
    """The rights of what is in the inboxes of a node's durable actors."""

    __slots__ = ("_engine",)

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine

    def of(self, item: Any) -> Right | None:
        """The right of a message as it stands in an inbox."""
        if not isinstance(item, DurableDelivery):
            return None
        return self._right(item, believed=self._engine.believes)

    def _right(self, item: DurableDelivery, *, believed: bool) -> Right:
        channel = item.dispatch.channel
        return right_of(item.envelope, item.stored, channel, self._engine.origin, believed=believed)

    def needs_no_look(self, activation: Activation, item: Any) -> bool:
        """Whether the handler of `item` may begin without asking the store."""
        if isinstance(item, DurableDelivery):
            looks = activation.fresh or item.stored.attempts != 1
            return not looks and (not activation.early_until or self._in_order(activation))
        return question_of(item) is None

    def _in_order(self, activation: Activation) -> bool:
        """Whether nothing has come too early lately."""
        if self._engine.now() < activation.early_until:
            return False
        activation.early_until = 0.0
        return True

    async def look(self, activation: Activation, item: Any) -> bool:
        """Whether the handler of `item` may begin. False: it must not, and that is settled."""
        question = question_of(item)
        if question is not None:
            return await self._look_at(activation, item, *question)
        if not isinstance(item, DurableDelivery):
            return True
        right = self._right(item, believed=True)
        store = self._engine.store
        try:
            # What has returned before it will be committed before it.
            before = [unit.right for unit in activation.pending if unit.right is not None]
            found = (await store.standing(activation.key, [*before, right]))[-1]
            if found.state == "dead" and isinstance(right, OwnedRight):
                await store.revive([right.id])  # somebody replays what was put aside
            if found.state == "gone":
                await store.look()  # in which epoch it is: somebody may have accepted a new one
        except StoreUnavailable as fault:
            if fault.kind == "went back" and not self._engine.believes:
                self._turn_away(activation, item, _NEWER)
                return False
            self._engine.committer.fault_seen(fault)
            take_current(activation.slot)
            self._engine.refuse(item, fault)
            return False
        if found.state == "gone":
            self._gone(activation, item)
        elif found.state == "early":
            self._too_early(activation, item)
        elif found.state == "stands" and found.tries >= item.allowed:
            self._turn_away(activation, item, f"failed {found.tries} times")
        else:
            return True
        return False

    async def _look_at(self, activation: Activation, item: Any, ask_id: str, digest: bytes) -> bool:
        """Whether the handler of an ask that has an id is to run."""
        try:
            if await activation.asked.look(item, ask_id, digest):
                return True
        except StoreUnavailable as fault:
            self._engine.committer.fault_seen(fault)
            self._engine.refuse(item, fault)
        take_current(activation.slot)
        return False

    def _gone(self, activation: Activation, item: DurableDelivery) -> None:
        """It was handled before, if the store remembers so far back."""
        envelope = item.envelope
        origin = None if envelope is None else RowOrigin.of_untrusted(envelope.headers)
        own = self._engine.origin
        if origin is not None and origin.store == own.store and origin.epoch != own.epoch:
            reason = (
                f"it was told in epoch {origin.epoch} of the store, which is in epoch {own.epoch}: "
                "whether it was handled is not known"
            )
            self._turn_away(activation, item, reason)
        else:
            item.dispatch.said_copy(b"" if envelope is None else envelope.id)

    def _too_early(self, activation: Activation, item: DurableDelivery) -> None:
        """An earlier message of its sender waits: it is told again, behind that."""
        delay = activation.early_delay or _EARLY_FIRST
        activation.early_delay = min(_EARLY_MOST, 2 * delay)
        activation.early_until = self._engine.now() + 2 * _EARLY_MOST
        activation.latest = item
        take_current(activation.slot)
        self._engine.tell_again(item, delay)

    def _turn_away(self, activation: Activation, item: DurableDelivery, reason: str) -> None:
        take_current(activation.slot)
        item.fail(Outcome("reject", error=Reject(reason)))
