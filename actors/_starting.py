"""How an incarnation starts: functions that take a slot. Loop thread, unless said otherwise.

A supervisor calls `start`: it comes back when `on_start` is done, and what fails is the
supervisor's to decide on. Without a supervisor `construct` runs in the caller (so that
what the constructor raises is raised there), then `Slot.launch`: what fails ends the
slot, and is reported. Both ways are the same steps: `construct` makes the instance in a
context of its own, `bring_up` awaits `on_start` and the lifecycle hooks, and
`take_messages` lets the first message in.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from actors._current import current_slot
from actors._fixed import AfterStart
from actors._items import INTERRUPT
from actors._slot import SlotState
from actors._stopping import end_incarnation, fold, hooks_are_done, resolve
from actors.errors import ActorDeadError, Ignore, StartFailed
from actors.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from actors._slot import Slot

__all__ = [
    "bring_up_or_end",
    "construct",
    "launch_failed",
    "launch_soon",
    "start",
    "take_messages",
    "wait_began",
]


async def start(slot: Slot) -> None:
    """Run the first or the next incarnation of `slot`; done when `on_start` is.

    When the constructor or `on_start` raises `Ignore` it returns with `slot.ignored`
    True, and the slot is DOWN.

    Raises:
        StartFailed: the constructor or `on_start` raised; the slot is DOWN, its inbox kept.
        ActorDeadError: the slot has ended.
        RuntimeError: it is neither NEW nor DOWN.
    """
    if slot.ended:
        raise ActorDeadError(slot.ref, slot.exit)
    if slot.state not in {SlotState.NEW, SlotState.DOWN}:
        raise RuntimeError(f"{slot.ref} is {slot.state.value}: it cannot be started now")
    system = slot.system
    system.attach()
    try:
        construct(slot)
        await _bring_up(slot, slot.run_on_start())
    except Ignore:
        _start_failed(slot, Exit("normal", restarts=slot.restarts))
        slot.ignored = True
    except BaseException as error:
        cancelled = system.task_is_cancelled()
        if cancelled:
            slot.cancel_start()
        killed = cancelled or slot.killing
        _start_failed(slot, slot.make_exit("killed" if killed else "start_failed", error))
        if cancelled:
            raise
        raise StartFailed(slot.ref, error) from error


def _start_failed(slot: Slot, exit_: Exit) -> None:
    """The slot is DOWN again. Whoever waits for its stop has it."""
    resolve(fold(slot, exit_), exit_)


def construct(slot: Slot) -> None:
    """Make the instance, in a context of its own. The caller's thread."""
    slot.state = SlotState.STARTING
    slot.incarnation += 1
    slot.ignored = False
    slot.killing = False
    ctx = slot.ctx = contextvars.Context()
    ctx.run(_build, slot)
    slot.system.register(slot)


def _build(slot: Slot) -> None:
    current_slot.set(slot)
    actor_class = slot.actor_class
    actor: Any = actor_class.__new__(actor_class, *slot.args, **slot.kwargs)
    slot.actor = actor
    slot.bind(actor)
    actor.__init__(*slot.args, **slot.kwargs)
    slot.built(actor)


async def _bring_up(slot: Slot, on_start: Awaitable[None]) -> None:
    """Await `on_start` and the lifecycle hooks, then take messages."""
    await on_start
    if slot.system.lifecycle:
        # Those of the end before this start: they never overlap.
        await hooks_are_done(slot)
        for hook in slot.system.lifecycle:
            if slot.incarnation == 1:
                await hook.started(slot.ref, slot.actor)
            else:
                await hook.restarted(slot.ref, slot.actor)
    if slot.killing:
        raise ActorDeadError(slot.ref, slot.make_exit("killed"))
    take_messages(slot)


async def wait_began(slot: Slot) -> None:
    """Wait for an `on_start` that runs elsewhere; raises what it raised."""
    began = slot.began = slot.system.loop.create_future()
    try:
        error = await began
    finally:
        slot.began = None
    if error is not None:
        raise error


def take_messages(slot: Slot) -> None:
    """The incarnation has started: it takes messages from now on, `after_start` first."""
    if slot.hooks.after_start:
        slot.inbox.appendleft(AfterStart(slot.incarnation))
    slot.retry_at = None
    slot.down = False
    # A thread may have set this while the slot was down, for a turn that found it so.
    slot.scheduled = False
    slot.state = SlotState.RUNNING
    waiters, slot.start_waiters = slot.start_waiters, None
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_result(None)
    events = slot.system.events
    if events.active:
        events.emit("actor.started", ref=slot.ref, incarnation=slot.incarnation)
    if slot.control:
        slot.inbox.appendleft(INTERRUPT)
    if slot.inbox:
        slot.schedule()


# -- without a supervisor


def launch_soon(slot: Slot) -> None:
    """Start without a supervisor, in a task. Any thread."""
    slot.system.call_on_loop(_launch_task, slot)


def _launch_task(slot: Slot) -> None:
    slot.system.spawn(bring_up_or_end(slot, slot.run_on_start()))


async def bring_up_or_end(slot: Slot, on_start: Awaitable[None]) -> None:
    """Bring the incarnation up; what that raises ends the slot."""
    try:
        await _bring_up(slot, on_start)
    except BaseException as error:
        # Whatever leaves on_start is a failed start; a cancelled task is the end of the loop.
        launch_failed(slot, error)
        if slot.system.task_is_cancelled():
            raise


def launch_failed(slot: Slot, error: BaseException) -> None:
    """Nobody supervises this start: report it, and end."""
    if issubclass(type(error), Ignore):
        exit_ = slot.make_exit("normal")
    elif slot.killing:
        exit_ = slot.make_exit("killed", error)
    else:
        exit_ = slot.make_exit("start_failed", error)
        slot.system.report_start_failure(slot, error)
    end_incarnation(slot, exit_)
