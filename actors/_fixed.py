"""The messages that every actor understands without a handler of its own.

Calls, reads and writes through a proxy, Pykka's own stop message, and the
continuation after the start. The items are listed too, with None: they are
opened before their message is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pykka import messages
from pykka._introspection import get_attr_directly

from actors._batches import BatchItem, MessageBatch, handle_batch
from actors._items import Again, Internal, Interrupt, Stamped
from actors.ask import Ask, OwnAsk
from actors.delivery import CallbackDelivery, Delivery
from actors.inbox import PykkaItem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors._slot_view import SlotView
    from actors.handlers import Handler

__all__ = ["FIXED", "OWN_HANDLERS", "OWN_MESSAGES", "AfterStart"]


class _Continue:
    """The message that runs `after_start`."""

    __slots__ = ()


class AfterStart(Internal):
    """The first thing that an incarnation with `after_start` handles."""

    __slots__ = ("_incarnation", "message")

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation
        self.message = _Continue()

    def admit(self, slot: SlotView) -> bool:
        """Only in the incarnation that has just started."""
        return slot.incarnation == self._incarnation


def _continue(actor: Any, _message: _Continue) -> Any:
    return actor.after_start()


def _call(actor: Any, message: messages.ProxyCall) -> Any:
    method = get_attr_directly(actor, message.attr_path)
    return method(*message.args, **message.kwargs)


def _get(actor: Any, message: messages.ProxyGetAttr) -> Any:
    return get_attr_directly(actor, message.attr_path)


def _set(actor: Any, message: messages.ProxySetAttr) -> Any:
    parent = get_attr_directly(actor, message.attr_path[:-1])
    setattr(parent, message.attr_path[-1], message.value)


def _stop(actor: Any, _message: Any) -> Any:
    actor.actor_ref._slot.request_stop()  # noqa: SLF001  # a ref is a slot's address, of one package


#: What an actor does not handle: its hook, and its end.
OWN_HANDLERS: Final[frozenset[Handler]] = frozenset({_continue, _stop})
#: What nobody has sent: what these come as, and a batch, whose messages came before.
OWN_MESSAGES: Final[frozenset[type]] = frozenset(
    {_Continue, messages._ActorStop, MessageBatch}  # noqa: SLF001  # as below
)
FIXED: Final[Mapping[type, Handler | None]] = {
    Ask: None,
    OwnAsk: None,
    Delivery: None,
    CallbackDelivery: None,
    Again: None,
    Stamped: None,
    PykkaItem: None,
    AfterStart: None,
    Interrupt: None,
    BatchItem: None,
    MessageBatch: handle_batch,
    _Continue: _continue,
    messages.ProxyCall: _call,
    messages.ProxyGetAttr: _get,
    messages.ProxySetAttr: _set,
    messages._ActorStop: _stop,  # noqa: SLF001  # what Pykka's own stop() sends
}
