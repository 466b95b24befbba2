"""The cell of an `Actor`: its handlers run on the event loop.

An idle actor holds no task. A message schedules one callback per cell; the
callback calls plain handlers in place, one after another, up to a budget, then
lets others have the loop. The first handler that is a coroutine gets a task,
made on demand, in which the messages after it are handled too until the inbox
is empty or the budget spent. Everything of one incarnation runs in the
`contextvars` context of the incarnation.

While the task runs, `scheduled` stays True: nobody schedules beside it.
"""

from __future__ import annotations

import asyncio
import traceback
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from actors._cell import Cell, CellState
from actors._current import Frame, current_cell, current_frame
from actors._failure import again_later, crashed, settle_failed
from actors._fixed import AfterStart
from actors._stopping import Stop
from actors.delivery import Outcome, Parcel, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actors.exits import Exit
    from actors.handlers import Lookup

__all__ = ["LoopCell"]

#: Messages that one actor handles before others have their turn.
BUDGET: Final = 100
#: Seconds that a cancelled handler has for its `finally` blocks.
KILL_GRACE: Final = 0.1

RUNNING: Final = CellState.RUNNING


class LoopCell(Cell):
    """A slot whose incarnations run on the loop."""

    __slots__ = ("_awaiting", "_cancelling", "lookup", "task")

    lookup: Lookup
    task: asyncio.Task[None] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task = None
        self._awaiting = False
        self._cancelling: Parcel | None = None

    # -- starting and ending

    def built(self, actor: Any) -> None:
        """Take the table of the class."""
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
        try:
            coroutine = self.begin()
        except BaseException as error:
            # Whatever leaves on_start is a failed start.
            self.launch_failed(error)
            return
        if coroutine is None:
            self.running()
        else:
            self.system.spawn(self.bring_up_or_end(self.finish_on_start(coroutine)))

    async def run_on_start(self) -> None:
        """Run `on_start` in the actor's context; async, in a task of its own."""
        if (coroutine := self.begin()) is not None:
            await self.finish_on_start(coroutine)

    def begin(self) -> Coroutine[Any, Any, Any] | None:
        """Call `on_start` if the class has one; what is left to be awaited."""
        actor = self.actor
        if not actor.__hooks__.on_start:
            return None
        result = self._in_context(actor.on_start)
        return result if type(result) is CoroutineType else None

    async def finish_on_start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await an async `on_start`; raises what it raised."""
        task = asyncio.create_task(_caught(coroutine), context=self.ctx)
        self.task = self._track(task)  # type: ignore[assignment]  # its result is looked at here alone
        try:
            error = await task
        finally:
            self.task = None
            coroutine.close()
        if error is not None:
            raise error

    def discard_start(self) -> None:
        """Cancel an `on_start` whose starter was cancelled."""
        if self.task is not None:
            self.task.cancel()

    def running(self) -> None:
        """Run `after_start` before any message."""
        if self.actor.__hooks__.after_start:
            self.push_control(AfterStart())
        super().running()

    def retire(self) -> None:
        """Forget the task; if it still runs it finds itself stale."""
        if self.task is not None:
            self.system.tasks.pop(self.task, None)
        self.task = None
        self._awaiting = False
        self._cancelling = None

    def kill(self) -> None:
        """Cancel what runs, give it a moment for `finally`, then abandon it."""
        if self.down and self.state is not CellState.STARTING:
            return
        self.killing = True
        task = self.task
        if task is not None:
            task.cancel()
            self.system.clock.call_later(KILL_GRACE, self._abandon, task)
        elif self.state is not CellState.STARTING:
            self.over(self.make_exit("killed"))

    def _abandon(self, task: asyncio.Task[None]) -> None:
        if self.task is task:
            self.system.report_stuck(self, f"task {task.get_name()}", stack_of(task))
            self._lose_in_hand()
            self.over(self.make_exit("killed"))

    def _lose_in_hand(self) -> None:
        if (item := self.in_hand) is not None:
            settle_failed(self, item, Outcome("dead", exit=self.make_exit("killed")))

    def handler_task(self) -> asyncio.Task[None] | None:
        """The task in which a handler runs now."""
        return self.task

    # -- the pump

    def schedule(self) -> None:
        """Call the pump soon, unless the slot is not running. Any thread."""
        if self.state is RUNNING:
            self.scheduled = True
            system = self.system
            if get_ident() == system.thread_id:
                system.loop.call_soon(self._pump, context=self.ctx)
            else:
                system.wake(self)
        elif self.ended:
            self.drain()

    def pump_soon(self) -> None:
        """Call the pump soon. From a thread, through the loop."""
        self.system.loop.call_soon_threadsafe(self._pump, context=self.ctx)

    def _pump(self) -> None:
        if self.task is not None or self.state is not RUNNING:
            return
        system = self.system
        system.busy = self
        coroutine = self._turn()
        system.busy = None
        if coroutine is not None:
            self._drive_in_task(coroutine)

    def _drive_in_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._awaiting = True
        task = self.system.loop.create_task(self._drive(coroutine), context=self.ctx)
        self.task = self._track(task)

    def _track(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        self.system.tasks[task] = self
        return task

    def _turn(self) -> Coroutine[Any, Any, Any] | None:
        """Handle messages in place until one has to be awaited; give that one."""
        inbox = self.inbox
        actor = self.actor
        budget = BUDGET
        while budget:
            if self.control:
                if not self._take_control():
                    return None
            elif not inbox:
                self.in_hand = None
                self.scheduled = False
                if not inbox:
                    return None
                self.scheduled = True
                continue
            else:
                self.in_hand = inbox.popleft()
            budget -= 1
            item = self.in_hand
            handler = self.lookup[type(item)]
            try:
                if handler is not None:
                    result = handler(actor, item)
                    if result is None:
                        continue
                    if type(result) is CoroutineType:
                        return result
                elif item.admit(self):
                    message = item.message
                    result = self.lookup[type(message)](actor, message)  # type: ignore[misc]  # parcels are not nested
                    if type(result) is CoroutineType:
                        return result
                    if not self.is_stashed(item):
                        item.reply(result)
            except BaseException as error:
                # Let it crash: whatever left the handler is this actor's end, nobody else's.
                if not self._failed(item, error):
                    return None
        self.in_hand = None
        self.system.loop.call_soon(self._pump, context=self.ctx)
        return None

    def _take_control(self) -> bool:
        item = self.control.popleft()  # type: ignore[union-attr]  # not empty, so not the shared ()
        if isinstance(item, Stop):
            self._begin_stop(item)
            return False
        self.in_hand = item
        return True

    async def _drive(self, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        """Await the handler in hand, then go on as `_turn` does."""
        me = self.task
        budget = BUDGET
        try:
            while coroutine is not None:
                item = self.in_hand
                if not await self._await(coroutine, item, me):
                    return
                budget -= 1
                if not budget:
                    self.in_hand = None
                    self.system.loop.call_soon(self._pump, context=self.ctx)
                    return
                coroutine = self._turn()
        finally:
            if self.task is me:
                self.task = None
            self.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran

    async def _await(
        self,
        coroutine: Coroutine[Any, Any, Any],
        item: Any,
        me: asyncio.Task[None] | None,
    ) -> bool:
        """One async handler to its end; False when the incarnation is over."""
        parcel = item if isinstance(item, Parcel) else None
        frame = Frame((*parcel.chain(), self.urn) if parcel is not None else (self.urn,))
        current_frame.set(frame)
        self._awaiting = True
        try:
            result = await coroutine
        except BaseException as error:
            frame.active = False
            return self.task is me and self._async_failed(item, error)
        frame.active = False
        if self.task is not me:
            return False
        self._awaiting = False
        if self._cancelling is not None:
            self._cancelling = None
            _forget_cancel(me)
        if parcel is not None and not self.is_stashed(parcel):
            parcel.reply(result)
        if self.killing:
            self.over(self.make_exit("killed"))
            return False
        return True

    def _async_failed(self, item: Any, error: BaseException) -> bool:
        self._awaiting = False
        if isinstance(error, asyncio.CancelledError):
            if self._cancelling is item and item is not None and not self.killing:
                self._cancelling = None
                _forget_cancel(self.task)
                item.fail(Outcome("cancelled"))
                return True
            if self.killing or self.system.task_is_cancelled():
                self._lose_in_hand()
                self.over(self.make_exit("killed"))
                return False
        return self._failed(item, error)

    # -- failing

    def _failed(self, item: Any, error: BaseException) -> bool:
        """What left the handler: an answer (True, it lives) or a crash (False)."""
        outcome = outcome_of(error, self.actor.refuses)
        if outcome is None:
            self._crash(item, error)
            return False
        if outcome.kind == "retry" and again_later(self, item, outcome.retry_after):
            return True
        settle_failed(self, item, outcome)
        return True

    def _crash(self, item: Any, error: BaseException) -> None:
        exit_ = self.make_exit("crash", error)
        self.state = CellState.STOPPING
        crashed(self, item, error, exit_)
        if not self.actor.__hooks__.on_failure:
            self.over(exit_)
            return
        self._last_words(
            lambda: self.actor.on_failure(type(error), error, error.__traceback__), exit_
        )

    # -- stopping

    def _begin_stop(self, stop: Stop) -> None:
        exit_ = self.make_exit(stop.reason)
        self.state = CellState.STOPPING
        self.in_hand = None
        hooks = self.actor.__hooks__
        if not hooks.on_stop:
            self.over(exit_)
            return
        actor = self.actor
        self._last_words(
            (lambda: actor.on_stop(stop.reason)) if hooks.stop_takes_reason else actor.on_stop,
            exit_,
        )

    def _last_words(self, hook: Any, exit_: Exit) -> None:
        """Run `on_stop` or `on_failure`, then the incarnation is over."""
        try:
            result = self._in_context(hook)
        except BaseException as error:
            # The actor is ending anyway; its supervisor learns of the second error.
            self.over(self._spoiled(exit_, error))
            return
        if type(result) is CoroutineType:
            task = self.system.loop.create_task(self._await_last(result, exit_), context=self.ctx)
            self.task = self._track(task)
        else:
            self.over(exit_)

    async def _await_last(self, coroutine: Coroutine[Any, Any, Any], exit_: Exit) -> None:
        me = self.task
        error = await _caught(coroutine)
        if self.task is me:
            self.task = None
            self.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran
            if self.killing:
                self.over(self.make_exit("killed"))
            else:
                self.over(exit_ if error is None else self._spoiled(exit_, error))

    def _spoiled(self, exit_: Exit, error: BaseException) -> Exit:
        """`on_stop` or `on_failure` raised: a stop becomes a crash, a crash stays one."""
        self.system.report_hook_failure(self, "its last hook", error)
        return exit_ if exit_.reason == "crash" else self.make_exit("crash", error)

    def _in_context(self, function: Callable[[], Any]) -> Any:
        if current_cell.get() is self or self.ctx is None:
            return function()
        return self.ctx.run(function)

    # -- what runs now

    def asking_chain(self) -> tuple[str, ...]:
        """See `Cell.asking_chain`."""
        if self._awaiting:
            frame = current_frame.get()
            return frame.chain if frame is not None and frame.active else ()
        return super().asking_chain()

    def cancel_in_hand(self, parcel: Parcel) -> bool:
        """Cancel the async handler of `parcel`."""
        if self.in_hand is not parcel or not self._awaiting or self.task is None:
            return False
        self._cancelling = parcel
        return self.task.cancel()


async def _caught(coroutine: Coroutine[Any, Any, Any]) -> BaseException | None:
    """Await it; give what it raised, so that no task ends with it.

    A task that ends with SystemExit would end the loop.
    """
    try:
        await coroutine
    except BaseException as error:
        return error
    return None


def stack_of(task: asyncio.Task[Any]) -> str:
    """Where a suspended task stands, as text."""
    frames = task.get_stack(limit=8)
    return "".join(traceback.format_stack(frames[-1], limit=1)) if frames else ""


def _forget_cancel(task: asyncio.Task[Any] | None) -> None:
    """The cancellation was meant for one message: the task goes on."""
    while task is not None and task.cancelling():
        task.uncancel()
