"""What actors subscribe to while they run: each a binding of its own, for one incarnation.

It ends with the incarnation that asked for it, as its watches and timers do: what it was
asked for is forgotten then, and `on_start` may ask again. Whatever an actor does meanwhile,
an event that comes when it is over reaches nobody, and no consumer is left behind: one that
stands only after the end is closed at once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from actors import ActorDeadError, ActorRef
from actors.rules import shown
from actors.runtime import Slot, on_incarnation_end, slot_of
from irismq_runtime.errors import ConfigError
from irismq_runtime.node.binding.binder import Binding, BindingContext
from irismq_runtime.node.binding.subscriptions import Subscription, subscriptions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LateSubscriptions"]


class _Late:
    """One of them. `opening` is done when it stands, or never will."""

    __slots__ = ("binding", "opening", "over")

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        self.opening = asyncio.ensure_future(binding.open())
        self.over = False

    async def close(self, drain: float) -> None:
        """Close it, once it has come about."""
        self.over = True
        await asyncio.wait((self.opening,))
        if not self.opening.cancelled() and self.opening.exception() is None:
            await self.binding.close(drain)


class LateSubscriptions:
    """Those of all actors of a node. Loop thread only."""

    def __init__(self, context: BindingContext) -> None:
        self._context = context
        self._late: dict[tuple[Slot, Subscription], _Late] = {}

    def __iter__(self) -> Iterator[Binding]:
        return iter([late.binding for late in self._late.values()])

    async def add(self, ref: Any, subscription: Subscription) -> None:
        """Have events of a topic sent to an actor; see `Node.subscribe`."""
        slot = _local(ref)
        actor = slot.actor
        if actor is None:
            raise ActorDeadError(ref, slot.exit)
        if subscription in subscriptions_of(actor):
            return
        key = slot, subscription
        late = self._late.get(key)
        if late is None:
            binding = Binding(self._context, slot.ref, actor, subscription)
            if subscription.is_durable and binding.is_durable:
                raise ConfigError(
                    "subscription",
                    f"{type(actor).__name__} is durable, and consumes what its class says",
                    "name it in `subscribes`",
                )
            late = self._late[key] = _Late(binding)
            on_incarnation_end(slot, partial(self._ended, key, late))
        try:
            await asyncio.shield(late.opening)
        except Exception:
            self._forget(key, late)
            raise
        if late.over:
            raise ActorDeadError(ref, slot.exit)

    async def remove(self, ref: Any, subscription: Subscription) -> bool:
        """Send it no more of them; see `Node.unsubscribe`."""
        late = self._late.pop((_local(ref), subscription), None)
        if late is None:
            return False
        await late.close(self._context.config.drain)
        return True

    def _ended(self, key: tuple[Slot, Subscription], late: _Late) -> None:
        self._forget(key, late)
        key[0].system.spawn(late.close(0.0))

    def _forget(self, key: tuple[Slot, Subscription], late: _Late) -> None:
        if self._late.get(key) is late:
            del self._late[key]


def _local(ref: Any) -> Slot:
    """The slot of a ref of this process. Raises `TypeError`."""
    if not isinstance(ref, ActorRef):
        raise TypeError(f"{shown(ref)} is no ref of an actor of this node")
    return slot_of(ref)
