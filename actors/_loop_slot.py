"""The slot of an `Actor`: it takes its messages on the event loop.

An idle actor holds no task. A message schedules one callback per slot; the callback
calls plain handlers in place, one after another, until the budget of messages or of
time is spent, then lets others have the loop. That is a turn. The first handler that is
a coroutine gets a task, made on demand, in which the messages after it are handled too
until the inbox is empty or the budget spent. While the task runs, `scheduled` stays
True: nobody schedules beside it.

Each message begins from the actor's own `contextvars` context: what the constructor,
`on_start` and `after_start` set stays, what a handler sets is gone with its message. A
context that nobody has changed serves the next message as it is; that is found out by
comparing it with a copy, which is one look at a pointer while it is so. One that was
changed is thrown away.

Whatever leaves the code of this file, and not only a handler, is a crash of this actor
(`break_off`): a turn never ends without the next one, a task or an end.

`_turn` is the hot path of the whole package: every call and every look at an attribute
in it costs each message. So it is one function, `handled` is counted where a turn or a
chunk of it ends (what was taken and was no message takes one off), and the time is looked
at once per chunk.

How an incarnation starts and ends on the loop is in _loop_lifecycle.py.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from actors._current import Frame, current_frame
from actors._failure import again_later, crashed, endured, fail_current, meant, settle_failed
from actors._fixed import AfterStart
from actors._items import INTERRUPT
from actors._loop_lifecycle import (
    abandon,
    begin_crash,
    begin_on_start,
    begin_stop,
    finish_on_start,
    stack_of_task,
)
from actors._slot import Slot, SlotState
from actors._starting import bring_up_or_end, launch_failed, launch_soon, take_messages
from actors._stopping import await_stop, break_off, end_incarnation, end_lost
from actors.class_options import check_instance
from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextvars import Context

    from actors._stop_request import Stop
    from actors.handlers import Handler
    from actors.hooks import Hooks

__all__ = ["LoopSlot"]

#: Seconds that one actor handles messages before others have their turn, ...
TIME_BUDGET: Final = 0.005
#: ... looked at after every CHUNK of messages, ...
CHUNK: Final = range(32)
#: ... and the most such chunks in one turn.
CHUNKS: Final = range(32)
#: Messages with async handlers in one task.
BUDGET: Final = 256

#: Seconds that a cancelled handler has for its `finally` blocks.
KILL_GRACE: Final = 0.1

#: Turns that end with a changed context, one right after another.
CHANGES: Final = range(64)

RUNNING: Final = SlotState.RUNNING


class _Go(enum.Enum):
    """What a turn may say instead of a coroutine."""

    #: The next message needs another context than this turn has.
    ON = "on"


#: Not looked up at each turn.
ON: Final = _Go.ON


class LoopSlot(Slot):
    """A slot whose incarnations live on the loop."""

    __slots__ = ("_own", "awaiting", "cancelling", "since", "task")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task: asyncio.Task[Any] | None = None
        #: When the current async handler began.
        self.since: float | None = None
        self.awaiting = False
        self.cancelling: InboxItem | None = None
        #: The actor's own context as it was before the current async handler.
        self._own: Context | None = None

    # -- scheduling

    def schedule(self) -> None:
        """Call the pump soon, unless the slot is not running. Any thread."""
        if self.state is RUNNING:
            self.scheduled = True
            system = self.system
            try:
                if get_ident() == system.thread_id:
                    system.loop.call_soon(self._wake, context=self.ctx)
                else:
                    system.loop.call_soon_threadsafe(self._wake, context=self.ctx)
            except RuntimeError:
                end_lost(self)
        if self.ended:
            # Looked at last: the slot may have ended since another thread saw it run.
            self.scheduled = False
            self.bury_waiting()

    def _wake(self) -> None:
        if self.task is not None or self.state is not RUNNING:
            return
        system = self.system
        system.turns += 1
        system.busy = self
        try:
            coroutine = self._turn()
            if coroutine is ON:
                coroutine = self._turns()
            if coroutine is not None:
                self.awaiting = True
                self.run_in_task(self._drive(coroutine))
        except BaseException as error:
            # Not of a handler: see the head of this file.
            break_off(self, error)
        finally:
            system.busy = None

    def _turns(self) -> Coroutine[Any, Any, Any] | None:
        """Go on, in a fresh context after each message that has changed its own."""
        for _ in CHANGES:
            coroutine = self.ctx.run(self._turn)  # type: ignore[union-attr]  # it lives: it has one
            if coroutine is not ON:
                return coroutine
        self._wake_again()
        return None

    def run_in_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Make the task of this slot.

        Not through the loop's task factory: a task that runs its first step
        before it is known here would not know itself either.
        """
        system = self.system
        task = self.task = asyncio.Task(coroutine, loop=system.loop, context=self.ctx)
        system.tasks[task] = self

    def _wake_again(self) -> None:
        self.current = None
        self.system.loop.call_soon(self._wake, context=self.ctx)

    # -- plain handlers

    def _turn(self) -> Coroutine[Any, Any, Any] | _Go | None:  # noqa: C901, PLR0912  # the hot path, in one piece for speed
        """Handle messages in place until one has to be awaited; give that one."""
        actor, known, take, stop_at = self.actor, self.lookup.known, self.inbox.popleft, 0.0
        own = (ctx := self.ctx).copy()  # type: ignore[union-attr]  # it lives: it has one
        for _ in CHUNKS:
            for taken in CHUNK:
                try:
                    item = take()
                except IndexError:
                    if self._rest(taken):
                        return None
                    continue
                self.current, self.taken = item, False
                try:
                    try:
                        handler = known[type(item)]
                    except KeyError:
                        handler = self.lookup[type(item)]
                    if handler is not None:
                        result = handler(actor, item)
                    elif item is not INTERRUPT:
                        result = self._handle_wrapped(actor, item)
                    elif (changed := self._interrupted(taken)) is None:
                        return None
                    else:
                        known = changed
                        continue
                    if result is not None and type(result) is CoroutineType:
                        return self._begun(result, own, taken + 1)
                except BaseException as error:
                    if not self._failed(item, error, taken + 1):
                        return None
                try:
                    if ctx == own:
                        continue
                except BaseException:  # noqa: S110  # values that cannot be compared are others
                    pass
                return self._renew(item, ctx, own, taken + 1)
            if not (stop_at := self._may_go_on(stop_at)):
                break
        self._wake_again()
        return None

    def _may_go_on(self, stop_at: float) -> float:
        """A chunk is handled: when the turn is to end, 0 if that is now."""
        self.handled += len(CHUNK)
        now = self.system.now()
        stop_at = stop_at or now + TIME_BUDGET
        return 0.0 if now > stop_at else stop_at

    def _begun(
        self, coroutine: Coroutine[Any, Any, Any], own: Context, taken: int
    ) -> Coroutine[Any, Any, Any]:
        """The handler has to be awaited."""
        self.handled += taken
        self._own = own
        return coroutine

    def _renew(self, item: Any, ctx: Context | None, own: Context, taken: int) -> _Go | None:
        """The current message has changed its context: the next one has one like `own`."""
        self.handled += taken
        if self.state is not RUNNING or ctx is None or self.ctx is not ctx:
            return None
        # What `after_start` has set is the actor's own, as what `on_start` has.
        self.ctx = ctx.copy() if type(item) is AfterStart else own.copy()
        self.current = None
        return ON

    def _handle_wrapped(self, actor: Any, wrapped: InboxItem) -> Any:
        if not wrapped.admit(self):
            return None
        message = wrapped.message
        result = self.lookup[type(message)](actor, message)  # type: ignore[misc]  # wrapped items are not nested
        if type(result) is not CoroutineType and not self.taken:
            wrapped.reply(result)
        return result

    def _rest(self, taken: int) -> bool:
        """The inbox is empty: True unless a thread has just put something there."""
        self.current = None
        self.scheduled = False
        if self.inbox:
            self.scheduled = True
            self.handled -= 1
            return False
        self.handled += taken
        return True

    def _interrupted(self, taken: int) -> dict[type, Handler | None] | None:
        """Look at the control lane and the handlers; None when a stop has begun."""
        self.current = None
        if not self.control:
            self.handled -= 1
            return self.lookup.known
        self.handled += taken
        stop: Stop = self.control.popleft()
        if stop.future is not None:
            await_stop(self, stop.future)
        begin_stop(self, stop)
        return None

    # -- async handlers

    async def _drive(self, coroutine: Coroutine[Any, Any, Any] | _Go | None) -> None:
        """Await the current handler, then go on as `_turn` does."""
        me = self.task
        budget = BUDGET
        now = self.system.now
        stop_at = now() + TIME_BUDGET
        try:
            while isinstance(coroutine, CoroutineType):
                if self.killing:
                    # Killed before it began: it never does.
                    fail_current(self)
                    end_incarnation(self, self.make_exit("killed"))
                    return
                ctx = self.ctx
                if not await self._await(coroutine, self.current, me):
                    return
                budget -= 1
                if not budget or self.ctx is not ctx or now() > stop_at:
                    self._wake_again()
                    return
                coroutine = self._turn()
            if coroutine is ON:
                self._wake_again()
        except BaseException as error:
            # As in _wake. And a task that ended with SystemExit would end the loop.
            if self.task is me:
                break_off(self, error)
        finally:
            if isinstance(coroutine, CoroutineType):
                coroutine.close()
            if self.task is me:
                self.task = None
            self.system.tasks.pop(me, None)  # type: ignore[arg-type]  # set before the task first ran

    async def _await(
        self, coroutine: Coroutine[Any, Any, Any], item: Any, me: asyncio.Task[Any] | None
    ) -> bool:
        """One async handler to its end; False when the incarnation is over."""
        wrapped = item if isinstance(item, InboxItem) else None
        if wrapped is not None and self.cancelling is wrapped:
            self.cancelling = None
            coroutine.close()
            wrapped.fail(Outcome("cancelled"))
            self.awaiting = False
            return True
        ctx: Context = self.ctx  # type: ignore[assignment]  # it lives: it has one
        clean = _same(ctx, self._own)
        frame = Frame((*wrapped.chain(), self.urn) if wrapped is not None else (self.urn,))
        current_frame.set(frame)
        begun = ctx.copy()
        self.awaiting = True
        self.since = self.system.handler_began()
        try:
            result = await coroutine
        except BaseException as error:
            # As in _turn; the cancellations that are no crash are told apart below.
            frame.active = False
            if self.task is not me or not self._async_failed(item, error):
                return False
            self._renew_if(not clean or not _same(ctx, begun), item)
            return True
        frame.active = False
        self.system.turns += 1
        if self.task is not me:
            return False
        self.awaiting = False
        self.since = None
        if self.cancelling is not None:
            self.cancelling = None
            _forget_cancel(me)
        if wrapped is not None and not self.taken:
            wrapped.reply(result)
        if self.killing:
            end_incarnation(self, self.make_exit("killed"))
            return False
        self._renew_if(not clean or not _same(ctx, begun), item)
        return True

    def _renew_if(self, changed: bool, item: Any) -> None:
        """As `_renew`, where a task has run the handler."""
        own, self._own = self._own, None
        if changed and own is not None and type(item) is not AfterStart and self.ctx is not None:
            self.ctx = own.copy()

    def _async_failed(self, item: Any, error: BaseException) -> bool:
        self.awaiting = False
        # As `except` sees it: the `__class__` of a user's exception may be anything.
        if issubclass(type(error), asyncio.CancelledError):
            if self.cancelling is item and item is not None and not self.killing:
                self.cancelling = None
                _forget_cancel(self.task)
                item.fail(Outcome("cancelled"))
                return True
            if self.killing or self.system.task_is_cancelled():
                fail_current(self)
                end_incarnation(self, self.make_exit("killed"))
                return False
        return self._failed(item, error)

    # -- failing

    def _failed(self, item: Any, error: BaseException, taken: int = 0) -> bool:
        """What left the handler: an answer (True, it lives) or a crash (False).

        Let it crash: it is this actor's end, nobody else's.

        `taken`: the messages of this turn, to be counted if it is a crash.
        """
        outcome = meant(self, self.actor, error, item)
        if outcome is None and self.actor.__enduring__ and not self.killing:
            endured(self, item, error, taken=self.taken)
            return True
        if outcome is None:
            self.handled += taken
            exit_ = self.make_exit("crash", error)
            self.state = SlotState.STOPPING
            crashed(self, item, error, exit_, taken=self.taken)
            begin_crash(self, error, exit_)
            return False
        if self.taken:
            # It was put aside or promised before the error: it has its answer coming.
            return True
        if outcome.kind != "retry" or not again_later(self, item, outcome.retry_after):
            settle_failed(self, item, outcome)
        return True

    # -- the life of an incarnation

    @property
    def hooks(self) -> Hooks:
        """Those of the class."""
        hooks: Hooks = self.actor.__hooks__
        return hooks

    def built(self, actor: Any) -> None:
        """Take the table of the class."""
        check_instance(actor)
        self.lookup = actor.__handlers__

    def launch(self) -> None:
        """Start at once when there is nothing to wait for, else soon."""
        system = self.system
        if system.lifecycle or get_ident() != system.thread_id:
            launch_soon(self)
        elif self.actor.__hooks__.on_start:
            system.loop.call_soon(self._launch_here, context=self.ctx)
        else:
            take_messages(self)

    def _launch_here(self) -> None:
        if self.state is not SlotState.STARTING:
            return
        try:
            coroutine = begin_on_start(self)  # in the actor's context, in which this is called
        except BaseException as error:
            # Whatever leaves on_start is a failed start.
            launch_failed(self, error)
            return
        if coroutine is None:
            take_messages(self)
        else:
            self.system.spawn(bring_up_or_end(self, finish_on_start(self, coroutine)))

    async def run_on_start(self) -> None:
        """Run `on_start` in the actor's context; async, in a task of its own."""
        # Whoever starts it may itself run in the context of an earlier incarnation.
        if (coroutine := self.ctx.run(begin_on_start, self)) is not None:  # type: ignore[union-attr]  # it was just constructed
            await finish_on_start(self, coroutine)

    def cancel_start(self) -> None:
        """Cancel an `on_start` whose starter was cancelled."""
        self.killing = True
        self.interrupt()

    def kill(self) -> None:
        """Cancel what runs, give it a moment for `finally`, then abandon it."""
        if self.down and self.state is not SlotState.STARTING:
            return
        self.killing = True
        task = self.task
        if task is not None:
            self.interrupt()
            self.system.clock.call_later(KILL_GRACE, abandon, self, task)
        elif self.state is not SlotState.STARTING:
            end_incarnation(self, self.make_exit("killed"))

    def let_go(self) -> None:
        """Forget the task; if it still runs it finds itself stale."""
        if self.task is not None:
            self.system.tasks.pop(self.task, None)
        self.task = None
        self.since = None
        self.awaiting = False
        self.cancelling = None

    # -- what runs now

    def asking_chain(self) -> tuple[str, ...]:
        """The asks that wait for the code that runs now; see `Frame`."""
        if self.awaiting:
            frame = current_frame.get()
            return frame.chain if frame is not None and frame.active else ()
        item = self.current
        if item is None:
            return ()
        return (*item.chain(), self.urn) if isinstance(item, InboxItem) else (self.urn,)

    def cancel_current(self, wrapped: InboxItem) -> bool:
        """Cancel the async handler of `wrapped`."""
        if self.current is not wrapped or not self.awaiting or self.task is None:
            return False
        self.cancelling = wrapped
        self.interrupt()
        return True

    def interrupt(self) -> None:
        """Cancel the task; one that has not begun sees by itself that it must not."""
        task = self.task
        if task is not None and inspect.getcoroutinestate(_coroutine_of(task)) != "CORO_CREATED":
            task.cancel()

    def handling_since(self) -> float | None:
        """When the current async handler began."""
        return self.since if self.awaiting else None

    def handler_task(self) -> asyncio.Task[Any] | None:
        """The task in which a handler runs now."""
        return self.task

    def stack(self) -> str:
        """Where the task stands."""
        return stack_of_task(self.task) if self.task is not None else ""


def _coroutine_of(task: asyncio.Task[Any]) -> Coroutine[Any, Any, Any]:
    coroutine: Any = task.get_coro()
    return coroutine  # type: ignore[no-any-return]  # every task here is made of a coroutine


def _same(one: Context, other: Context | None) -> bool:
    """Whether nothing was set in `one` since `other` was copied from it, or to it."""
    try:
        return one == other
    except BaseException:
        # It compares the values that differ, which are users': what cannot be is another.
        return False


def _forget_cancel(task: asyncio.Task[Any] | None) -> None:
    """The cancellation was meant for one message: the task goes on."""
    while task is not None and task.cancelling():
        task.uncancel()
