"""Handlers that end in time: `handler_timeout`, `ends_with_ask`, `@receives(..., timeout=)`.

A class that says none of these has nothing of this around its handlers. An async handler
that has to wait gets a timer, one that does not gets none. When its time is over it is
cancelled, as a task is, so that its `finally` blocks run:

    the time limit of the class or the handler    `HandlerTimeout` leaves it: a crash
    the deadline of the ask that it answers       cancelled, and its actor goes on

A handler that swallows the cancellation has a moment more (`PATIENCE`); then its
incarnation is killed. A plain `def` cannot be interrupted, and so has no limit. What a
handler makes besides, a stream or an answer that it promises, has none either, nor has a
hook.
"""

from __future__ import annotations

import asyncio
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from actors._fixed import OWN_HANDLERS
from actors._loop_task import forget_cancel, rest_of
from actors.ask import Ask
from actors.delivery import Delivery
from actors.errors import HandlerTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actors._loop_slot import LoopSlot
    from actors.handlers import Handler

__all__ = ["limiting"]

#: Seconds for a handler that was cancelled at its limit, before it is killed.
PATIENCE: Final = 1.0


def limiting(
    seconds: float | None,
    special: dict[Handler, float],
    unlimited: frozenset[Handler],
    *,
    ends_with_ask: bool,
) -> Callable[[Handler], Handler] | None:
    """What makes of each handler the one that ends in time; None: none has a limit.

    `seconds`: of all handlers of the class but those that are `special`. `unlimited`: those that
    only put a message aside; they stay what they are, as the actor's own do.
    """
    if seconds is None and not special and not ends_with_ask:
        return None

    def around(handler: Handler) -> Handler:
        if handler in OWN_HANDLERS or handler in unlimited:
            return handler
        return _limited(handler, special.get(handler, seconds), ends_with_ask=ends_with_ask)

    return around


def _limited(handler: Handler, seconds: float | None, *, ends_with_ask: bool) -> Handler:
    if seconds is None and not ends_with_ask:
        return handler

    def begin(actor: Any, message: Any) -> Any:
        result = handler(actor, message)
        if type(result) is not CoroutineType:
            return result
        return _rest(actor._slot, result, seconds, ends_with_ask=ends_with_ask)  # noqa: SLF001  # the attribute that actors keep for their slot

    return begin


async def _rest(
    slot: LoopSlot,
    coroutine: Coroutine[Any, Any, Any],
    seconds: float | None,
    *,
    ends_with_ask: bool,
) -> Any:
    """Run the coroutine of a handler; with timers from where it begins to wait."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    limit = _Limit(slot, seconds, ends_with_ask=ends_with_ask)
    try:
        return await rest_of(coroutine, awaited, None)
    except asyncio.CancelledError:
        if limit.is_why():
            raise limit.error() from None
        raise
    finally:
        limit.close()


class _Limit:
    """The timers of one handler that waits. Loop thread."""

    __slots__ = ("_item", "_seconds", "_slot", "_timers", "over")

    def __init__(self, slot: LoopSlot, seconds: float | None, *, ends_with_ask: bool) -> None:
        self._slot = slot
        self._seconds = seconds
        item = self._item = slot.current
        clock = slot.system.clock
        self._timers = []
        #: Whether the time limit is over.
        self.over = False
        if seconds is not None:
            self._timers.append(clock.call_later(seconds, self._end))
        if ends_with_ask and isinstance(item, Ask | Delivery) and item.deadline is not None:
            left = max(0.0, item.deadline - clock.monotonic())
            self._timers.append(clock.call_later(left, slot.cancel_current, item))

    def _end(self) -> None:
        slot = self._slot
        if self.over:
            slot.kill()
            return
        self.over = True
        self._timers.append(slot.system.clock.call_later(PATIENCE, self._end))
        slot.interrupt()

    def is_why(self) -> bool:
        """Whether the handler was cancelled for this alone; then that is taken back."""
        slot = self._slot
        if not self.over or slot.killing or slot.cancelling is not None:
            return False
        forget_cancel(slot.task)
        return True

    def error(self) -> HandlerTimeout:
        """What leaves the handler."""
        slot = self._slot
        return HandlerTimeout(slot.ref, slot.message_type() or "", self._seconds or 0.0)

    def close(self) -> None:
        """The handler has ended."""
        for timer in self._timers:
            timer.cancel()
