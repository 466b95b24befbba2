"""The slot of an `Actor`: it starts, stops and dies on the event loop.

`on_start`, `on_stop` and `on_failure` may be plain or async; an async one runs
in a task of its own, in the context of the incarnation. A task that is killed
is cancelled and has a moment for its `finally` blocks. One that swallows the
cancellation is abandoned: it is reported with the place where it stands, and
finds itself stale when it goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from actors._fixed import AfterStart
from actors._pump import Pump
from actors._states import SlotState
from actors.class_options import check_instance
from actors.errors import ActorDeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actors._stopping import Stop
    from actors.exits import Exit

__all__ = ["LoopSlot"]

#: Seconds that a cancelled handler has for its `finally` blocks.
KILL_GRACE: Final = 0.1


class LoopSlot(Pump):
    """A slot whose incarnations live on the loop."""

    __slots__ = ()

    # -- starting

    def built(self, actor: Any) -> None:
        """Take the table of the class."""
        check_instance(actor)
        self.lookup = actor.__handlers__

    def launch(self) -> None:
        """Start at once when there is nothing to wait for, else soon."""
        system = self.system
        if system.lifecycle or get_ident() != system.thread_id:
            super().launch()
        elif self.actor.__hooks__.on_start:
            system.loop.call_soon(self._launch_here, context=self.ctx)
        else:
            self.running()

    def _launch_here(self) -> None:
        if self.state is not SlotState.STARTING:
            return
        try:
            coroutine = self._begin()  # in the actor's context, in which this is called
        except BaseException as error:
            # Whatever leaves on_start is a failed start.
            self.launch_failed(error)
            return
        if coroutine is None:
            self.running()
        else:
            self.system.spawn(self.bring_up_or_end(self._finish_on_start(coroutine)))

    async def run_on_start(self) -> None:
        """Run `on_start` in the actor's context; async, in a task of its own."""
        # Whoever starts it may itself run in the context of an earlier incarnation.
        if (coroutine := self.ctx.run(self._begin)) is not None:  # type: ignore[union-attr]  # it was just constructed
            await self._finish_on_start(coroutine)

    def _begin(self) -> Coroutine[Any, Any, Any] | None:
        actor = self.actor
        if not actor.__hooks__.on_start:
            return None
        result = actor.on_start()
        return result if type(result) is CoroutineType else None

    async def _finish_on_start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.run_in_task(self._on_start_task(coroutine))
        await self.wait_began()

    async def _on_start_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        me = self.task
        error = await _caught(coroutine, begin=not self.killing)
        self.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran
        if self.task is me:
            self.task = None
            if self.began is not None and not self.began.done():
                self.began.set_result(error)

    def discard_start(self) -> None:
        """Cancel an `on_start` whose starter was cancelled."""
        self.killing = True
        self.interrupt()

    def running(self) -> None:
        """Run `after_start` before any message."""
        if self.actor.__hooks__.after_start:
            self.inbox.appendleft(AfterStart(self.incarnation))
        super().running()

    # -- ending

    def begin_stop(self, stop: Stop) -> None:
        """Run `on_stop`, if there is one; then the incarnation is over."""
        exit_ = self.make_exit(stop.reason, stop.error)
        self.state = SlotState.STOPPING
        actor = self.actor
        hooks = actor.__hooks__
        if stop.reason == "crash" and stop.error is not None:
            self.system.attempt(self, self.system.report_crash, self, exit_)
            self.begin_crash(stop.error, exit_)
        elif not hooks.on_stop:
            self.over(exit_)
        elif hooks.stop_takes_reason:
            self._last_words(lambda: actor.on_stop(stop.reason), "on_stop", exit_)
        else:
            self._last_words(actor.on_stop, "on_stop", exit_)

    def begin_crash(self, error: BaseException, exit_: Exit) -> None:
        """Run `on_failure`, if there is one; then the incarnation is over."""
        actor = self.actor
        if not actor.__hooks__.on_failure:
            self.over(exit_)
            return
        self._last_words(
            lambda: actor.on_failure(type(error), error, error.__traceback__), "on_failure", exit_
        )

    def _last_words(self, hook: Callable[[], Any], name: str, exit_: Exit) -> None:
        """Run the last hook, in the context of this turn."""
        try:
            result = hook()
        except BaseException as error:
            # The actor is ending anyway; its supervisor learns of the second error.
            self.over(self._spoiled(name, exit_, error))
            return
        if type(result) is CoroutineType:
            self.task = None
            self.run_in_task(self._await_last(result, name, exit_))
        else:
            self.over(exit_)

    async def _await_last(
        self, coroutine: Coroutine[Any, Any, Any], name: str, exit_: Exit
    ) -> None:
        me = self.task
        error = await _caught(coroutine, begin=not self.killing)
        self.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran
        if self.task is not me:
            return
        self.task = None
        if self.killing:
            self.over(self.make_exit("killed"))
        else:
            self.over(exit_ if error is None else self._spoiled(name, exit_, error))

    def _spoiled(self, name: str, exit_: Exit, error: BaseException) -> Exit:
        """A last hook raised: a stop becomes a crash, a crash stays one."""
        self.system.report_hook_failure(self, name, error)
        return exit_ if exit_.reason == "crash" else self.make_exit("crash", error)

    def retire(self) -> None:
        """Forget the task; if it still runs it finds itself stale."""
        if self.task is not None:
            self.system.tasks.pop(self.task, None)
        self.task = None
        self.since = None
        self._awaiting = False
        self._cancelling = None

    def kill(self) -> None:
        """Cancel what runs, give it a moment for `finally`, then abandon it."""
        if self.down and self.state is not SlotState.STARTING:
            return
        self.killing = True
        task = self.task
        if task is not None:
            self.interrupt()
            self.system.clock.call_later(KILL_GRACE, self._abandon, task)
        elif self.state is not SlotState.STARTING:
            self.over(self.make_exit("killed"))

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        if self.task is not task:
            return
        self.system.report_stuck(self, f"task {task.get_name()}", self.stack())
        if self.began is not None and not self.began.done():
            self.began.set_result(ActorDeadError(self.ref, self.make_exit("killed")))
            return
        self.fail_current()
        self.over(self.make_exit("killed"))

    def stack(self) -> str:
        """Where the task stands."""
        return stack_of_task(self.task) if self.task is not None else ""


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
        return error
    return None


def stack_of_task(task: asyncio.Task[Any]) -> str:
    """Where a suspended task stands, innermost last, as text."""
    lines = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None)
        if frame is not None:
            lines += traceback.format_stack(frame, limit=1)
        awaited = getattr(awaited, "cr_await", None)
    return "".join(lines[-8:])
