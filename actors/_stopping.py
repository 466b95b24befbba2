"""How an incarnation ends, and how a slot does: functions that take a slot.

What ends what, who calls it, and what the slot is afterwards:

| verb                        | who calls it                                | then the slot is    |
| --------------------------- | ------------------------------------------- | ------------------- |
| `Slot.request_stop`         | `ref.stop()`, from any thread               | as it was: it waits |
| `exit_with`                 | the actor's own wish, or a crash beside its | as it was: it waits |
|                             | messages; from any thread                   |                     |
| `stop`                      | a supervisor, the system                    | DOWN at its return  |
| `Slot.kill`                 | `stop` when the time is over                | DOWN, soon          |
| `break_off`                 | a turn in which the runtime itself failed   | DOWN                |
| `end_incarnation`           | the turn that ran the last hook, and `kill` | DOWN, ENDED without |
|                             |                                             | a supervisor        |
| `end`, `end_now`            | a supervisor, the system; `end_incarnation` | ENDED               |
| `end_lost`                  | whoever finds the loop closed               | ENDED               |

An incarnation is over once: it is folded away (timers, watches, stash, task), then the
lifecycle hooks are awaited, then exactly one of these is told: the supervisor that
called `stop`, else the one that set `on_down`, else nobody, and the slot ends too. Those
who hold the future of a `ref.stop()` come last, so that what they see is the state after
all of that.

The steps of an end do not depend on each other: each is taken whatever the one before it
has raised (`SystemCore.attempt`), so that an end is never left in its middle.

Loop thread, unless said otherwise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from actors._failure import crashed
from actors._slot import SlotState
from actors._stop_request import Stop, StopFuture
from actors.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._slot import Slot
    from actors.exits import ExitReason

    Waiters: TypeAlias = list[asyncio.Future[Exit] | StopFuture]

__all__ = [
    "await_stop",
    "break_off",
    "end",
    "end_incarnation",
    "end_lost",
    "end_now",
    "exit_with",
    "fold",
    "hooks_are_done",
    "on_incarnation_end",
    "resolve",
    "stop",
]

#: The states in which there is no incarnation.
_WITHOUT: frozenset[SlotState] = frozenset({SlotState.NEW, SlotState.DOWN, SlotState.ENDED})


# -- asking for the end


def exit_with(slot: Slot, reason: ExitReason, error: BaseException | None = None) -> None:
    """End the incarnation after the current message, as the actor's own wish. Any thread.

    Args:
        slot: The slot of the actor that ends.
        reason: Stands in its `Exit`. "crash": its own code failed beside its messages;
            then `on_failure` runs and not `on_stop`.
        error: The cause, which stands in the `Exit` too.
    """
    slot.push_control(Stop(reason, error))


def on_incarnation_end(slot: Slot, callback: Callable[[], None]) -> None:
    """Call `callback` once when this incarnation is over, however it ends."""
    slot.attachments().at_end.append(callback)


async def stop(slot: Slot, reason: ExitReason = "shutdown", timeout: float | None = None) -> Exit:
    """End the incarnation; the slot is DOWN afterwards and its inbox kept.

    May be called again, with a shorter timeout, while a first call waits; and while the
    slot is starting, which then fails.

    Args:
        slot: The slot whose incarnation ends.
        reason: Stands in the `Exit` of an orderly end.
        timeout: Seconds for the current message and `on_stop` (None: for ever); then
            the incarnation is killed: cancelled, or abandoned and reported by name. 0
            kills at once, without `on_stop`.

    Returns:
        How it ended; the last `Exit` when no incarnation runs.
    """
    if slot.state in _WITHOUT:
        return slot.exit or slot.make_exit(reason)
    waiter: asyncio.Future[Exit] = slot.system.loop.create_future()
    await_stop(slot, waiter)
    if timeout is not None and timeout <= 0:
        slot.kill()
        return await waiter
    slot.push_control(Stop(reason))
    if timeout is None:
        return await waiter
    handle = slot.system.clock.call_later(timeout, slot.kill)
    try:
        return await waiter
    finally:
        handle.cancel()


def await_stop(slot: Slot, waiter: asyncio.Future[Exit] | StopFuture) -> None:
    """Resolve `waiter` when the incarnation is over."""
    if slot.stop_waiters is None:
        slot.stop_waiters = []
    slot.stop_waiters.append(waiter)


# -- the incarnation is over


def break_off(slot: Slot, error: BaseException) -> None:
    """Something left the runtime's own code in a turn: that is a crash.

    The guarantee behind all others here: whatever it was, whoever waits for the
    current message learns of it, and the supervisor sees a crash.
    """
    if slot.down:
        slot.system.report_hook_failure(slot, "its last turn", error)
        return
    exit_ = slot.make_exit("crash", error)
    slot.state = SlotState.STOPPING
    crashed(slot, slot.current, error, exit_, taken=slot.taken or slot.current is None)
    end_incarnation(slot, exit_)


def end_incarnation(slot: Slot, exit_: Exit) -> None:
    """The incarnation is over: fold it away and tell whoever is to know."""
    waiters = fold(slot, exit_)
    if slot.system.lifecycle:
        slot.hooking = slot.system.spawn(_end_with_hooks(slot, exit_, waiters))
    else:
        _tell(slot, exit_, waiters)


def fold(slot: Slot, exit_: Exit) -> Waiters:
    """Put the incarnation away: the slot is DOWN. Returns those who asked for its end."""
    slot.state = SlotState.DOWN
    slot.down = True
    slot.scheduled = False
    slot.exit = exit_
    slot.current = None
    slot.taken = False
    waiters = _take_waiters(slot)
    attempt = slot.system.attempt
    if slot.attached is not None:
        attempt(slot, slot.attached.end_incarnation, slot)
    attempt(slot, slot.let_go)
    slot.killing = False
    slot.actor = None
    slot.ctx = None
    if slot.system.events.active:
        slot.system.events.emit("actor.down", ref=slot.ref, exit=exit_)
    return waiters


def _take_waiters(slot: Slot) -> Waiters:
    """Those who asked for the end, also those whose stop was not looked at."""
    control, slot.control = slot.control, ()
    waiters, slot.stop_waiters = slot.stop_waiters or [], None
    for item in control:
        if isinstance(item, Stop) and item.future is not None:
            waiters.append(item.future)
    return waiters


async def _end_with_hooks(slot: Slot, exit_: Exit, waiters: Waiters) -> None:
    if _is_asked(waiters) or slot.on_down is not None:
        for hook in slot.system.lifecycle:
            await _hook(slot, "restarting", hook.restarting, exit_)
        _tell(slot, exit_, waiters)
    else:
        await end(slot, exit_)
        resolve(waiters, exit_)


async def hooks_are_done(slot: Slot) -> None:
    """Wait for the hooks of the previous end, so that they never overlap the next start's."""
    hooking, slot.hooking = slot.hooking, None
    if hooking is not None and hooking is not asyncio.current_task():
        await asyncio.wait([hooking])


async def _hook(slot: Slot, name: str, call: Any, exit_: Exit) -> None:
    try:
        await call(slot.ref, exit_)
    except BaseException as error:
        # A hook of a start may fail the start; at an end there is nothing to fail any more.
        slot.system.report_hook_failure(slot, f"the lifecycle hook {name}", error)
        if slot.system.task_is_cancelled():
            raise


def _is_asked(waiters: Waiters) -> bool:
    """Whether somebody who awaits `stop` will decide what follows."""
    for each in waiters:  # noqa: SIM110  # a generator for each end takes longer
        if isinstance(each, asyncio.Future) and not each.done():
            return True
    return False


def _tell(slot: Slot, exit_: Exit, waiters: Waiters) -> None:
    if not _is_asked(waiters):
        if slot.on_down is None:
            end_now(slot, exit_)
        else:
            # A supervisor that fails at this must not leave others waiting.
            slot.system.attempt(slot, slot.on_down, slot, exit_)
    resolve(waiters, exit_)


def resolve(waiters: Waiters, exit_: Exit) -> None:
    """Tell those who asked for the end that it has come."""
    for waiter in waiters:
        if isinstance(waiter, StopFuture):
            waiter.resolve(value=True)
        elif not waiter.done():
            waiter.set_result(exit_)


# -- the slot ends


async def end(slot: Slot, exit_: Exit) -> None:
    """The slot is ENDED: nothing will run here again. Idempotent.

    What waits becomes dead letters, asks fail with `ActorDeadError`, watchers get
    `Terminated`, then the lifecycle hooks are told. An incarnation that runs is killed.
    """
    if slot.state not in _WITHOUT:
        await stop(slot, timeout=0)
    if slot.ended:
        return
    end_now(slot, exit_)
    for hook in slot.system.lifecycle:
        await _hook(slot, "ended", hook.ended, exit_)


def end_now(slot: Slot, exit_: Exit) -> None:
    """The part of `end` that waits for nothing, for a slot without an incarnation."""
    slot.exit = exit_
    slot.state = SlotState.ENDED
    slot.ended = True
    # Before the inbox is buried: who appends after this finds it, and buries it again.
    slot.limit = -1
    slot.scheduled = False
    system = slot.system
    attempt = system.attempt
    if slot.inbox or slot.delayed:
        attempt(slot, slot.bury_waiting)
    if slot.control or slot.stop_waiters:
        attempt(slot, resolve, _take_waiters(slot), exit_)
    if slot.stopped is not None:
        slot.stopped.set()
    system.unregister(slot)
    if slot.attached is not None:
        attempt(slot, slot.attached.tell_watchers, slot.ref, exit_)
        slot.attached = None
    if system.events.active:
        system.events.emit("actor.ended", ref=slot.ref, exit=exit_)
    waiters, slot.start_waiters = slot.start_waiters, None
    for waiter in waiters or ():
        if not waiter.done():
            waiter.set_exception(slot.start_error())


def end_lost(slot: Slot) -> None:
    """The loop is closed: nothing will ever run there, so the slot has ended. Any thread."""
    if not slot.ended:
        clock = slot.system.clock
        end_now(slot, Exit("killed", time=clock.monotonic(), wall=clock.time()))
