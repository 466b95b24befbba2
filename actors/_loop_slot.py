"""The slot of an `Actor`: it takes its messages on the event loop.

A message puts the slot in the run queue of its system (`schedule`), which has it `run` soon:
the handlers of what waits are called in place, one after another, until the inbox is empty, or
the budget of messages or of time is spent, and others have the loop. That is a turn (`turn`).

An async handler is stepped in place too, and most have ended then. One that has to wait ends
the turn, and goes on in the task of its slot, which handles what follows as well: _loop_task.py.
An idle actor holds no task. While one runs, `scheduled` stays True: nobody schedules beside it.
An ask of an idle actor may be handled where it is awaited, without a turn of the loop:
_inline.py. What a transport has received alone, an idle actor handles in the callback that
brought it (`run_now`): the loop has nothing to do in between. So a handler is called in three
places: `turn` called by the loop, `turn` called in the task, and for the one message of an
inline ask.

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
import inspect
from contextvars import Context
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from actors._current import current_frame, same_context
from actors._failure import again_later, crashed, endured, fail_current, meant, settle_failed
from actors._fixed import AfterStart
from actors._inline import answer_inline
from actors._inline_budget import ASKS
from actors._items import INTERRUPT
from actors._loop_lifecycle import (
    abandon,
    begin_crash,
    begin_on_start,
    begin_stop,
    finish_on_start,
    stack_of,
)
from actors._loop_task import (
    ON,
    TIME_BUDGET,
    Go,
    forget_cancel,
    step_in_place,
)
from actors._slot import Slot, SlotState
from actors._starting import bring_up_or_end, launch_failed, launch_soon, take_messages
from actors._stopping import await_stop, break_off, end_incarnation, end_lost
from actors.class_options import check_instance
from actors.delivery import InboxItem, Outcome

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actors._current import Frame
    from actors._loop_task import Pause, Waits
    from actors._stop_request import Stop
    from actors.hooks import Hooks

__all__ = ["LoopSlot"]

#: Messages after which a turn looks at the time that it has taken, or fewer, ...
LARGEST: Final = 32
CHUNK: Final = range(LARGEST)
#: ... where no more wait: then as many as do, so that the end of the inbox is not run into.
SMALLER: Final = tuple(range(count) for count in CHUNK)
#: The most such chunks in one turn.
CHUNKS: Final = range(32)
#: Seconds that a cancelled handler has for its `finally` blocks.
KILL_GRACE: Final = 0.1

#: Turns that end with a changed context, one right after another.
CHANGES: Final = range(64)

RUNNING: Final = SlotState.RUNNING


class LoopSlot(Slot):
    """A slot whose incarnations live on the loop."""

    __slots__ = ("awaiting", "cancelling", "coroutine", "frame", "since", "spare", "waits")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The task in which a handler or a hook runs, and one with nothing to do.
        self.task: asyncio.Task[Any] | None = None
        self.spare: asyncio.Task[Any] | None = None
        #: What that task is to await; see _loop_task.py.
        self.waits: Waits | None = None
        #: The async handler that waits for something, and since when.
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.since: float | None = None
        #: Whether an async handler is current, and its frame (see _current.py).
        self.awaiting = False
        self.frame: Frame | None = None
        self.cancelling: InboxItem | None = None

    # -- scheduling

    def schedule(self) -> None:
        """Have a turn soon, unless the slot is not running. Any thread."""
        if self.state is RUNNING:
            self.scheduled = True
            system = self.system
            try:
                if get_ident() == system.thread_id:
                    system.run_queue.add(self)
                else:
                    system.loop.call_soon_threadsafe(self.run)
            except RuntimeError:
                end_lost(self)
        if self.ended:
            # Looked at last: the slot may have ended since another thread saw it run.
            self.scheduled = False
            self.bury_waiting()

    def run_now(self) -> None:
        """Have a turn now, if it is idle and no other actor runs or waits for its turn."""
        system = self.system
        if self.state is RUNNING and system.busy is None and system.run_queue.idle:
            self.scheduled = True
            self.run()
        else:
            self.schedule()

    def run(self) -> None:
        """Have a turn now. Called by the loop, outside of the slot's context."""
        if self.task is not None or self.state is not RUNNING:
            return
        system = self.system
        system.turns += 1
        system.inline.left = ASKS
        system.busy = self
        try:
            if self.ctx.run(self.turn) is ON:  # type: ignore[union-attr]  # it lives: it has one
                self._turns()
        except BaseException as error:
            # Not of a handler: see the head of this file.
            break_off(self, error)
        finally:
            system.busy = None

    #: See `Slot.answer_inline`.
    answer_inline = answer_inline

    def _turns(self) -> None:
        """Go on, in a fresh context after each message that has changed its own."""
        for _ in CHANGES:
            if self.ctx.run(self.turn) is not ON:  # type: ignore[union-attr]  # as above
                return
        self.run_again()

    def run_in_task(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Make the task of this slot.

        Not through the loop's task factory: a task that runs its first step
        before it is known here would not know itself either.
        """
        system = self.system
        task = self.task = asyncio.Task(coroutine, loop=system.loop, context=self.ctx)
        system.tasks[task] = self

    def run_again(self) -> None:
        """Go on when others have had the loop."""
        self.current = None
        self.system.run_queue.add(self)

    # -- a turn

    def turn(self) -> Pause | None:  # noqa: C901, PLR0911, PLR0912  # the hot path, in one piece for speed
        """Handle messages in place until one has to be awaited; give that one."""
        inbox, actor, known = self.inbox, self.actor, self.lookup.known
        own, stop_at = (ctx := self.ctx).copy(), 0.0  # type: ignore[union-attr]  # it lives: it has one
        for _ in CHUNKS:
            chunk = CHUNK if len(inbox) >= LARGEST else SMALLER[len(inbox)]
            for taken in chunk:
                try:
                    item = inbox.popleft()
                except IndexError:  # the loop is closed, and a thread has buried what waited
                    return None
                self.current, self.taken = item, False
                try:
                    try:
                        handler = known[type(item)]
                    except KeyError:
                        handler = self.lookup[type(item)]
                    if handler is not None:
                        result = handler(actor, item)
                    elif item is not INTERRUPT:
                        result = self.handle_wrapped(actor, item)
                    elif self._interrupted(taken):
                        return None
                    else:
                        known, result = self.lookup.known, None
                    if result is not None and type(result) is CoroutineType:
                        if type(pause := self._begin(result, own, taken + 1)) is not Context:
                            return pause
                        own = pause
                except BaseException as error:
                    if not self.failed(item, error, taken + 1):
                        return None
                try:
                    if ctx == own:
                        continue
                except BaseException:  # noqa: S110  # values that cannot be compared are others
                    pass
                return self.renew(item, ctx, own, taken + 1)
            if not (stop_at := self.may_go_on(len(chunk), stop_at)):
                return None
        return self.run_again()  # type: ignore[func-returns-value]  # nothing is in hand

    def may_go_on(self, handled: int, stop_at: float) -> float:
        """A chunk is handled: when the turn is to end, 0 if it has."""
        self.handled += handled
        if not self.inbox:
            self.current = None
            self.scheduled = False
            if not self.inbox:
                return 0.0
            # A thread has just put something there.
            self.scheduled = True
        now = self.system.now()
        stop_at = stop_at or now + TIME_BUDGET
        if now <= stop_at:
            return stop_at
        self.run_again()
        return 0.0

    def renew(self, item: Any, ctx: Context | None, own: Context, taken: int = 0) -> Go | None:
        """The current message has changed its context: the next one has one like `own`."""
        self.handled += taken
        if self.state is not RUNNING or ctx is None or self.ctx is not ctx:
            return None
        # What `after_start` has set is the actor's own, as what `on_start` has.
        self.ctx = ctx.copy() if type(item) is AfterStart else own.copy()
        self.spare = None
        self.current = None
        return ON

    def handle_wrapped(self, actor: Any, wrapped: InboxItem) -> Any:
        if not wrapped.admit(self):
            return None
        message = wrapped.message
        result = self.lookup[type(message)](actor, message)  # type: ignore[misc]  # wrapped items are not nested
        if type(result) is not CoroutineType and not self.taken:
            wrapped.reply(result)
        return result

    def _interrupted(self, taken: int) -> bool:
        """Look at the control lane: True when a stop has begun, else the handlers have changed."""
        self.current = None
        if not self.control:
            self.handled -= 1
            return False
        self.handled += taken
        stop: Stop = self.control.popleft()
        if stop.future is not None:
            await_stop(self, stop.future)
        begin_stop(self, stop)
        return True

    # -- async handlers

    def _begin(
        self, coroutine: Coroutine[Any, Any, Any], own: Context, taken: int
    ) -> Context | Waits | None:
        """An async handler was called: run it until it ends or has to wait, see `step`."""
        step = step_in_place if self.task is None else LoopSlot.step
        pause = step(self, coroutine, own)
        if type(pause) is not Context:
            self.handled += taken
        return pause

    def step(self, coroutine: Coroutine[Any, Any, Any], own: Context) -> Context | Waits | None:
        """Run an async handler, in the task, until it ends or has to wait.

        Returns:
            When it has ended: what the context is like if the handler has changed nothing.
            None when the incarnation is over.
        """
        ctx: Context = self.ctx  # type: ignore[assignment]  # it lives: it has one
        item, me = self.current, self.task
        clean = same_context(ctx, own)
        frame: Frame = []
        self.frame = frame
        current_frame.set(frame)
        seen = ctx.copy() if clean else own
        self.awaiting = True
        try:
            awaited = coroutine.send(None)
        except StopIteration as ended:
            if self.returned(item, ended.value, me):
                return seen
        except BaseException as error:
            # As in _turn; the cancellations that are no crash are told apart below.
            if self.task is me and self.async_failed(item, error):
                return seen
        else:
            self.coroutine = coroutine
            return awaited, seen, own
        return None

    def returned(self, item: Any, result: Any, me: asyncio.Task[Any] | None) -> bool:
        """An async handler has returned; False when the incarnation is over."""
        if self.task is not me:
            return False
        self.awaiting = False
        self.coroutine = None
        if self.cancelling is not None:
            self.cancelling = None
            forget_cancel(me)
        if not self.taken and isinstance(item, InboxItem):
            item.reply(result)
        if self.killing:
            end_incarnation(self, self.make_exit("killed"))
            return False
        return True

    def async_failed(self, item: Any, error: BaseException) -> bool:
        self.awaiting = False
        # As `except` sees it: the `__class__` of a user's exception may be anything.
        if issubclass(type(error), asyncio.CancelledError):
            if self.cancelling is item and item is not None and not self.killing:
                self.cancelling = None
                forget_cancel(self.task)
                item.fail(Outcome("cancelled"))
                return True
            if self.killing or self.system.task_is_cancelled():
                fail_current(self)
                end_incarnation(self, self.make_exit("killed"))
                return False
        return self.failed(item, error)

    # -- failing

    def failed(self, item: Any, error: BaseException, taken: int = 0) -> bool:
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
        """Take the table of the class, within the middleware of the system."""
        check_instance(actor)
        self.lookup = actor.__handlers__
        if self.system.middleware and not actor.__enduring__:
            self.lookup = self.system.handlers(self.lookup)

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
        self.task = self.spare = self.waits = self.coroutine = self.since = self.frame = None
        self.awaiting = False
        self.cancelling = None

    # -- what runs now

    def asking_chain(self) -> tuple[str, ...]:
        """The asks that wait for the code that runs now; see `Frame`."""
        if not self.awaiting:
            return super().asking_chain()
        frame = self.frame
        if frame is None or current_frame.get() is not frame:
            return ()
        if not frame:
            frame.append(super().asking_chain())
        return frame[0]

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
        """When the current async handler began; None where there is nothing in hand."""
        return self.since if self.awaiting and self.current is not None else None

    def handler_task(self) -> asyncio.Task[Any] | None:
        """The task in which a handler runs now."""
        return self.task

    def stack(self) -> str:
        """Where the task stands."""
        if self.task is None:
            return ""
        return stack_of(
            self.coroutine if self.awaiting and self.coroutine else _coroutine_of(self.task)
        )


def _coroutine_of(task: asyncio.Task[Any]) -> Coroutine[Any, Any, Any]:
    coroutine: Any = task.get_coro()
    return coroutine  # type: ignore[no-any-return]  # every task here is made of a coroutine
