"""The right of a message to be applied: what it is, and whether it still stands.

    a message of this store (the header "o" names it)   its row in the outbox
    any other stored message                            its id, noted as handled
    a body without an envelope                          the broker's id and time of it
    everything else                                     none: it has no identity

A right is taken by the commit. It is looked up before the handler as well where it may be
gone: for what is given out again, and on a state on which nothing has been committed yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors import Reject
from actors.delivery import Outcome
from actors.runtime import take_current
from irismq_runtime.dispatch import DurableDelivery
from irismq_runtime.durability.asked import question_of
from irismq_runtime.durability.origin import RowOrigin
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import HandledRight, OwnedRight

if TYPE_CHECKING:
    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.ports.state_store import Right
    from irismq_runtime.wire import Envelope

__all__ = ["Rights", "right_of"]


def right_of(
    envelope: Envelope | None,
    stored: StoredMessage,
    channel: str,
    own: RowOrigin,
    *,
    aside: bool = False,
) -> Right:
    """Return the right of a stored message. `channel`: which copy of it this is."""
    if envelope is None:
        return HandledRight(channel, f"{stored.id}@{stored.timestamp:.9f}".encode())
    origin = RowOrigin.of_untrusted(envelope.headers)
    if origin is not None and origin.store == own.store:
        # Of an earlier epoch no number says anything: that the store lacks it was accepted.
        return OwnedRight(envelope.id, origin.number if origin.epoch == own.epoch else 0, aside)
    return HandledRight(channel, envelope.id)


class Rights:
    """The rights of what is in the inboxes of a node's durable actors."""

    __slots__ = ("_engine",)

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine

    def of(self, item: Any) -> Right | None:
        """The right of a message as it stands in an inbox."""
        if not isinstance(item, DurableDelivery):
            return None
        dispatch = item.dispatch
        return right_of(item.envelope, item.stored, dispatch.channel, self._engine.origin)

    def needs_no_look(self, activation: Activation, item: Any) -> bool:
        """Whether the handler of `item` may begin without asking the store."""
        if isinstance(item, DurableDelivery):
            return not activation.fresh and item.stored.attempts == 1
        return question_of(item) is None

    async def look(self, activation: Activation, item: Any) -> bool:
        """Whether the handler of `item` may begin. False: it must not, and that is settled."""
        question = question_of(item)
        if question is not None:
            return await self._look_at(activation, item, *question)
        right = self.of(item)
        if right is None:
            return True
        store = self._engine.store
        try:
            (found,) = await store.standing(activation.key, [right])
            if found.state == "dead" and isinstance(right, OwnedRight):
                await store.revive([right.id])  # somebody replays what was put aside
        except StoreUnavailable as fault:
            self._engine.committer.fault_seen(fault)
            take_current(activation.slot)
            self._engine.refuse(item, fault)
            return False
        if found.state == "gone":
            self._gone(activation, item)
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

    def _turn_away(self, activation: Activation, item: DurableDelivery, reason: str) -> None:
        take_current(activation.slot)
        item.fail(Outcome("reject", error=Reject(reason)))
