"""Inline asks: an actor that is idle handles an ask where its caller awaits it.

Over the loop an ask costs two of its turns, one for the handler and one for the caller, and
these cost more than both. So when a task awaits an ask, and the actor is idle and nothing
else waits in its inbox, the one message is handled right there and the caller goes on with
the answer. It is a turn like those of _loop_slot.py: in the context of the actor, without the
task of the caller; a crash is the actor's, and an async handler goes on in the actor's task.

Messages keep their order, as it is the only one. The slot stays in the run queue, in which the
ask has put it: the turn that follows finds what comes meanwhile, also from other threads. How
often this may be, and where not, is decided in _inline_budget.py.

Loop thread.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from actors._current import same_context
from actors._loop_task import enter_task, leave_task, step_in_place
from actors._slot import SlotState
from actors._stopping import break_off

if TYPE_CHECKING:
    from actors._loop_slot import LoopSlot
    from actors.ask import Ask

__all__ = ["answer_inline"]


def answer_inline(slot: LoopSlot, ask: Ask[Any]) -> None:
    """Handle `ask`, which the current task is about to await, if that can be done here and now."""
    inbox = slot.inbox
    if slot.task is not None or slot.current is not None or slot.state is not SlotState.RUNNING:
        return
    if len(inbox) != 1 or inbox[0] is not ask or not slot.scheduled:
        return
    system, ctx = slot.system, slot.ctx
    loop = system.loop
    caller = asyncio.current_task(loop)
    if caller is None or ctx is None or not system.inline.take(ask, caller):
        return
    leave_task(loop, caller)
    try:
        ctx.run(_turn_of_one, slot, ask, ctx)
    except RuntimeError:
        # Somebody is in that context already: then it is handled when they are not.
        return
    finally:
        enter_task(loop, caller)


def _turn_of_one(slot: LoopSlot, ask: Ask[Any], ctx: Context) -> None:
    """A turn for one message; see `LoopSlot.turn`. In the context of the slot."""
    system = slot.system
    before, system.busy = system.busy, slot
    try:
        item = slot.inbox.popleft()
        if item is not ask:  # another thread has put an interrupt before it
            slot.inbox.appendleft(item)
            return
        system.turns += 1
        slot.handled += 1
        slot.current, slot.taken = ask, False
        own = ctx.copy()
        try:
            result = slot.handle_wrapped(slot.actor, ask)
            if type(result) is CoroutineType:
                if type(pause := step_in_place(slot, result, own)) is not Context:
                    return
                own = pause
        except BaseException as error:
            if not slot.failed(ask, error):
                return
        if same_context(ctx, own) or slot.renew(ask, ctx, own) is not None:
            slot.current = None
    except BaseException as error:
        # Not of a handler: see the head of _loop_slot.py.
        break_off(slot, error)
    finally:
        system.busy = before
