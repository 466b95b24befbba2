"""The task of a loop slot: what an async handler that has to wait goes on in.

The first step of a handler is run in place, in the turn of its actor, and so that this task
is the current one (`step_in_place`). A handler that has ended by then needed it for nothing
else. One that has to wait is left in `LoopSlot.waits`: the next step of the task, which is
scheduled already, awaits the rest of it, and goes on as a turn does until the inbox is empty
or the budget spent.

A task that has nothing to go on with is the slot's `spare` one. It looks once in each turn
of the loop whether a handler has begun since, and ends when none has: an actor that is busy
has one task for many messages, an idle one has none. So a step of it is always scheduled,
and a coroutine that is left to it is never forgotten.

The task runs in the context of its slot at the time it was made, and serves no other one:
when the slot's context is another one, so is its task.
"""

from __future__ import annotations

import asyncio
import enum
import types
from asyncio import _enter_task as enter_task
from asyncio import _leave_task as leave_task
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from actors._current import same_context
from actors._stopping import break_off

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from contextvars import Context
    from typing import TypeAlias

    from actors._loop_slot import LoopSlot

    #: What an async handler waits for; its context if it changes nothing; the actor's own.
    Waits: TypeAlias = tuple[Any, Context, Context]
    #: Why a turn is over before the inbox is empty.
    Pause: TypeAlias = "Waits | Literal[Go.ON]"

__all__ = [
    "ON",
    "TIME_BUDGET",
    "Go",
    "enter_task",
    "forget_cancel",
    "leave_task",
    "rest_of",
    "step_in_place",
]


class Go(enum.Enum):
    """What a turn may say instead of what its handler waits for."""

    #: The next message needs another context than this turn has.
    ON = "on"


#: Not looked up at each turn.
ON: Final = Go.ON

#: The attribute of a future that says that it was awaited, and not merely yielded.
_MARK: Final = "_asyncio_future_blocking"

#: Seconds that one actor handles messages before others have their turn.
TIME_BUDGET: Final = 0.005


def step_in_place(
    slot: LoopSlot, coroutine: Coroutine[Any, Any, Any], own: Context
) -> Context | Waits | None:
    """`LoopSlot.step` where no task runs: in the slot's own, which goes on if it has to wait."""
    system = slot.system
    task, slot.spare = slot.spare, None
    # One that somebody has cancelled meanwhile would pass that on to this handler.
    if task is None or task._must_cancel:  # type: ignore[attr-defined]  # noqa: SLF001  # both kinds of asyncio's tasks have it
        task = _new_task(slot)
    slot.task = task
    pause = None
    enter_task(system.loop, task)
    try:
        pause = slot.step(coroutine, own)
    finally:
        leave_task(system.loop, task)
        if slot.task is task:  # else the incarnation is over
            if type(pause) is tuple:
                slot.waits = pause
                _unmark(pause[0])
                system.tasks[task] = slot
                _mourned(task, whether=True)
            else:
                slot.task, slot.spare = None, task
    return pause


def _new_task(slot: LoopSlot) -> asyncio.Task[None]:
    """A task of the slot's context, with nothing to do.

    Not through the loop's task factory: one that runs the first step at once would find
    nothing. The coroutine is begun by hand, as a cancelled task ends one that has not begun.
    """
    coroutine = _carry(slot)
    coroutine.send(None)
    task = asyncio.Task(coroutine, loop=slot.system.loop, context=slot.ctx)
    _mourned(task, whether=False)
    return task


def _mourned(task: asyncio.Task[Any], *, whether: bool) -> None:
    """Let asyncio say, or not, that the loop ended before the task did."""
    task._log_destroy_pending = whether  # type: ignore[attr-defined]  # noqa: SLF001  # as `gather` does


async def _carry(slot: LoopSlot) -> None:
    """The coroutine of the task."""
    thrown = await _next_turn()
    me: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # its own
    frame = None
    try:
        while True:
            if slot.task is me:
                if not await _go_on(slot, thrown):
                    return
            elif slot.spare is not me or slot.frame is frame or thrown is not None:
                return
            frame = slot.frame
            thrown = await _next_turn()
    except BaseException as error:
        # Not of a handler. And a task that ended with SystemExit would end the loop.
        if slot.task is me:
            break_off(slot, error)
    finally:
        slot.system.tasks.pop(me, None)
        if slot.task is me:
            slot.task = None
        if slot.spare is me:
            slot.spare = None


async def _go_on(slot: LoopSlot, thrown: BaseException | None) -> bool:
    """The handler that waits, and the messages that follow; False: the task is of no more use.

    `thrown`: what the task was given before it could await what the handler waits for.
    """
    me: asyncio.Task[Any] = slot.task  # type: ignore[assignment]  # who calls this is it
    ctx, system, stop_at = slot.ctx, slot.system, 0.0
    pause: Pause | None = slot.waits
    slot.waits = None
    while type(pause) is tuple:
        awaited, seen, own = pause
        item = slot.current
        slot.since = since = system.slow.began()
        stop_at = stop_at or since + TIME_BUDGET
        try:
            result = await rest_of(slot.coroutine, awaited, thrown)
        except BaseException as error:
            # As in `LoopSlot.step`.
            if slot.task is not me or not slot.async_failed(item, error):
                return False
        else:
            system.turns += 1
            if not slot.returned(item, result, me):
                return False
            del result  # it is not kept while the next handler waits
        thrown = None
        if not same_context(seen, ctx):
            pause = slot.renew(slot.current, ctx, own)
            if pause is None:
                return False
        elif slot.may_go_on(0, stop_at):
            pause = slot.turn()
        else:
            pause = None
    if pause is ON:
        slot.run_again()
    return slot.task is me and _set_aside(slot, me, ctx)


def _set_aside(slot: LoopSlot, task: asyncio.Task[Any], ctx: Context | None) -> bool:
    """The task has nothing to go on with: make it the spare one, unless its context is left."""
    slot.task = None
    slot.system.tasks.pop(task, None)
    if slot.ctx is not ctx:
        return False
    slot.spare = task
    _mourned(task, whether=False)
    return True


@types.coroutine
def _next_turn() -> Generator[None, None, BaseException | None]:
    """Wait for the next step of this task; give what it was cancelled with."""
    try:
        yield
    except asyncio.CancelledError as error:
        return error
    return None


@types.coroutine
def rest_of(coroutine: Any, awaited: Any, thrown: BaseException | None) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that has yielded `awaited`: as `await` does it.

    `thrown`: what its task was cancelled with before it could await that.
    """
    if thrown is None or _cancelled(awaited, thrown):
        thrown = None
        if getattr(awaited, _MARK, None) is False:
            setattr(awaited, _MARK, True)
    step = None if thrown is None else partial(coroutine.throw, thrown)
    while True:
        if step is None:
            try:
                yield awaited
            except BaseException as error:
                step = partial(coroutine.throw, error)
            else:
                return (yield from coroutine)
        try:
            awaited = step()
        except StopIteration as ended:
            return ended.value
        step = None


def _unmark(awaited: Any) -> None:
    """Let others await the future that the task is about to await, as a task does that has it."""
    if getattr(awaited, _MARK, None):
        setattr(awaited, _MARK, False)


def forget_cancel(task: asyncio.Task[Any] | None) -> None:
    """The cancellation was meant for one message: the task goes on."""
    while task is not None and task.cancelling():
        task.uncancel()


def _cancelled(awaited: Any, thrown: BaseException) -> bool:
    """Cancel what a handler waits for, as the cancellation of a task does; whether it can be."""
    cancel = getattr(awaited, "cancel", None)
    return cancel is not None and bool(cancel(*thrown.args))
