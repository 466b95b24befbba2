"""How an incarnation starts and ends on the event loop: functions that take its slot.

`on_start`, `on_stop` and `on_failure` may be plain or async; an async one runs in a task
of its own, in the context of the incarnation. A task that is killed is cancelled and has
a moment for its `finally` blocks. One that swallows the cancellation is abandoned: it is
reported with the place where it stands, and finds itself stale when it goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from actors._failure import fail_current
from actors._slot import SlotState
from actors._starting import wait_began
from actors._stopping import end_incarnation
from actors.errors import ActorDeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actors._loop_slot import LoopSlot
    from actors._stop_request import Stop
    from actors.exits import Exit

__all__ = [
    "abandon",
    "begin_crash",
    "begin_on_start",
    "begin_stop",
    "finish_on_start",
    "stack_of",
]


def begin_on_start(slot: LoopSlot) -> Coroutine[Any, Any, Any] | None:
    """Call `on_start`; give the coroutine that is left to await."""
    actor = slot.actor
    if not actor.__hooks__.on_start:
        return None
    result = actor.on_start()
    return result if type(result) is CoroutineType else None


async def finish_on_start(slot: LoopSlot, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Await an async `on_start`, in a task of the actor."""
    slot.run_in_task(_on_start_task(slot, coroutine))
    await wait_began(slot)


async def _on_start_task(slot: LoopSlot, coroutine: Coroutine[Any, Any, Any]) -> None:
    me = slot.task
    error = await _caught(coroutine, begin=not slot.killing)
    slot.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran
    if slot.task is me:
        slot.task = None
        if slot.began is not None and not slot.began.done():
            slot.began.set_result(error)


def begin_stop(slot: LoopSlot, stop: Stop) -> None:
    """Run `on_stop`, if there is one; then the incarnation is over."""
    exit_ = slot.make_exit(stop.reason, stop.error)
    slot.state = SlotState.STOPPING
    actor = slot.actor
    hooks = actor.__hooks__
    if stop.reason == "crash" and stop.error is not None:
        slot.system.attempt(slot, slot.system.report_crash, slot, exit_)
        begin_crash(slot, stop.error, exit_)
    elif not hooks.on_stop:
        end_incarnation(slot, exit_)
    elif hooks.stop_takes_reason:
        _last_words(slot, lambda: actor.on_stop(stop.reason), "on_stop", exit_)
    else:
        _last_words(slot, actor.on_stop, "on_stop", exit_)


def begin_crash(slot: LoopSlot, error: BaseException, exit_: Exit) -> None:
    """Run `on_failure`, if there is one; then the incarnation is over."""
    actor = slot.actor
    if not actor.__hooks__.on_failure:
        end_incarnation(slot, exit_)
        return
    _last_words(
        slot,
        lambda: actor.on_failure(type(error), error, error.__traceback__),
        "on_failure",
        exit_,
    )


def _last_words(slot: LoopSlot, hook: Callable[[], Any], name: str, exit_: Exit) -> None:
    """Run the last hook, in the context of this turn."""
    try:
        result = hook()
    except BaseException as error:
        # The actor is ending anyway; its supervisor learns of the second error.
        end_incarnation(slot, _spoiled(slot, name, exit_, error))
        return
    if type(result) is CoroutineType:
        slot.task = None
        slot.run_in_task(_await_last(slot, result, name, exit_))
    else:
        end_incarnation(slot, exit_)


async def _await_last(
    slot: LoopSlot, coroutine: Coroutine[Any, Any, Any], name: str, exit_: Exit
) -> None:
    me = slot.task
    error = await _caught(coroutine, begin=not slot.killing)
    slot.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran
    if slot.task is not me:
        return
    slot.task = None
    if slot.killing:
        end_incarnation(slot, slot.make_exit("killed"))
    else:
        end_incarnation(slot, exit_ if error is None else _spoiled(slot, name, exit_, error))


def _spoiled(slot: LoopSlot, name: str, exit_: Exit, error: BaseException) -> Exit:
    """A last hook raised: a stop becomes a crash, a crash stays one."""
    slot.system.report_hook_failure(slot, name, error)
    return exit_ if exit_.reason == "crash" else slot.make_exit("crash", error)


def abandon(slot: LoopSlot, task: asyncio.Task[Any]) -> None:
    """The moment that `kill` gives is over: go on without `task` if it still runs."""
    if slot.task is not task:
        return
    slot.system.report_stuck(slot, f"task {task.get_name()}", slot.stack())
    if slot.began is not None and not slot.began.done():
        slot.began.set_result(ActorDeadError(slot.ref, slot.make_exit("killed")))
        return
    fail_current(slot)
    end_incarnation(slot, slot.make_exit("killed"))


async def _caught(coroutine: Coroutine[Any, Any, Any], *, begin: bool) -> BaseException | None:
    """Await it, if it may begin; give what it raised, so that no task ends with it.

    A task that ends with SystemExit would end the loop.
    """
    if not begin:
        coroutine.close()
        return asyncio.CancelledError()
    try:
        await coroutine
    except BaseException as error:
        # Not swallowed: who awaits this decides what it means for the actor.
        return error
    return None


def stack_of(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Where a suspended coroutine stands, innermost last, as text."""
    lines = []
    awaited: Any = coroutine
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None:
            lines += traceback.format_stack(frame, limit=1)
        awaited = getattr(awaited, "cr_await", None)
    return "".join(lines[-8:])
