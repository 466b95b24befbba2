"""The slot of an actor on a thread: `ThreadActor`, and any `pykka.ThreadingActor`.

Each incarnation has a thread (a `Run`). It sleeps on a wake queue, takes
messages out of the slot's mailbox, and reports its end to the loop, where all
transitions happen. A plain Pykka class keeps the queue that Pykka made for it:
it is the wake queue, and an envelope that somebody puts there joins the
mailbox.

A thread cannot be killed. One that does not end in time is abandoned: it is
reported by name, the slot goes on without it, and what it still does is
ignored. The lock of a run makes "take the next message", "this one is
finished" and "abandoned" exclude each other; no handler runs under it.

Messages are handled in a copy of the actor's own `contextvars` context, a new one as
soon as one of them has changed it: what a handler sets there is gone with its message;
what `on_start` and `after_start` set stays. What leaves the code of this file is a crash
of the actor, as in _loop_slot.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

from actors._facilities import Facilities
from actors._failure import again_later, crashed, meant, settle_failed
from actors._fixed import FIXED, AfterStart
from actors._items import INTERRUPT
from actors._slot import Slot, SlotState
from actors._starting import launch_soon, wait_began
from actors._stop_request import Stop
from actors._stopping import await_stop, break_off, end_incarnation
from actors.class_options import check_instance
from actors.delivery import InboxItem, Outcome
from actors.errors import ActorClassError, ThreadAbandoned
from actors.handlers import Lookup
from actors.hooks import Hooks
from actors.inbox import PykkaItem

if TYPE_CHECKING:
    from actors.exits import Exit

__all__ = ["Run", "ThreadSlot"]

_WAKE: Final = object()
_NOTHING: Final = object()
_numbers = itertools.count(1)


class Run:
    """One incarnation on its thread."""

    __slots__ = ("abandoned", "actor", "lock", "own", "since", "thread", "wakes")

    def __init__(self, actor: Any, wakes: Any) -> None:
        self.actor = actor
        self.wakes = wakes
        self.lock = threading.Lock()
        self.abandoned = False
        #: When the current handler began; None between messages.
        self.since: float | None = None
        self.thread: threading.Thread | None = None
        #: The actor's own context, as `on_start` has left it.
        self.own: contextvars.Context | None = None

    def stack(self) -> str:
        """What the thread runs now, innermost last, as text."""
        ident = self.thread.ident if self.thread is not None else None
        frame = sys._current_frames().get(ident or 0)  # noqa: SLF001  # the documented way to see another thread
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""


class ThreadSlot(Slot):
    """A slot whose incarnations run on threads."""

    __slots__ = ("_hooks", "run")

    _hooks: Hooks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run: Run | None = None

    # -- on the loop

    @property
    def hooks(self) -> Hooks:
        """Those of the class; a plain Pykka class does not keep them."""
        return self._hooks

    def launch(self) -> None:
        """Start the thread soon."""
        launch_soon(self)

    def bind(self, actor: Any) -> None:
        """A plain Pykka class has no use for a slot."""
        if isinstance(actor, Facilities):
            super().bind(actor)

    def built(self, actor: Any) -> None:
        """Take the table of the class; a plain Pykka actor gets this slot's ref."""
        if self.system.middleware:
            raise ActorClassError(
                f"{type(actor).__qualname__} runs on a thread, where the middleware of its system, "
                "which is async, cannot run: make it an actors.Actor, and await "
                "asyncio.to_thread(...) for what blocks"
            )
        if isinstance(actor, Facilities):
            check_instance(actor)
            self.lookup = actor.__handlers__
            self._hooks = actor.__hooks__
            self.run = Run(actor, queue.SimpleQueue())
        else:
            self.lookup = Lookup({}, type(actor).on_receive, FIXED)
            self._hooks = Hooks.of(type(actor))
            self.run = Run(actor, actor.actor_inbox)
            actor._actor_ref = self.ref  # noqa: SLF001  # so that what it hands out outlives it
            actor.actor_urn = self.urn

    async def run_on_start(self) -> None:
        """Start the thread and wait until it has run `on_start`."""
        run = self.run
        if run is None or self.ctx is None:
            raise RuntimeError(f"{self.ref} has no instance to start")
        self.system.threads[self] = None
        # The thread has a copy: the loop may run code in the context of this actor too.
        run.thread = threading.Thread(
            target=self.ctx.copy().run,
            args=(self._main, run),
            name=f"{self.actor_class.__name__}-{next(_numbers)}",
            daemon=True,
        )
        began = wait_began(self)
        self.system.loop.call_soon(self._start_thread, run, run.thread)
        await began

    def _start_thread(self, run: Run, thread: threading.Thread) -> None:
        try:
            thread.start()
        except BaseException as error:
            # The machine has no thread left: that is how this start ends.
            self._began(run, error)

    def _began(self, run: Run, error: BaseException | None) -> None:
        if run is self.run and self.began is not None and not self.began.done():
            self.began.set_result(error)

    def cancel_start(self) -> None:
        """The starter was cancelled: nobody waits for the thread any more."""
        if self.run is not None:
            self.run.abandoned = True

    def let_go(self) -> None:
        """The thread is ending, or has been abandoned."""
        run, self.run = self.run, None
        if run is None:
            return
        self.system.threads.pop(self, None)
        with run.lock:
            run.abandoned = True
        if not isinstance(run.actor, Facilities):
            run.actor.actor_stopped.set()
            # Envelopes that Pykka's own refs put in the queue belong to the mailbox.
            while not run.wakes.empty():
                self._join(run.wakes.get())
        run.wakes.put(_WAKE)

    def _join(self, envelope: Any) -> None:
        if envelope is not _WAKE:
            self.inbox.append(PykkaItem(self, envelope))

    def kill(self) -> None:
        """Abandon the thread; report it when something runs on it."""
        run = self.run
        if run is None or (self.down and self.state is not SlotState.STARTING):
            return
        self.killing = True
        with run.lock:
            run.abandoned = True
            item = self.current
            busy = item is not None or self.state is not SlotState.RUNNING
        error = None
        if busy and run.thread is not None and run.thread.is_alive():
            error = ThreadAbandoned(self.ref, run.thread.name, run.stack())
            self.system.stuck_threads.append(run.thread)
            self.system.report_stuck(self, f"thread {run.thread.name}", error.running)
        exit_ = self.make_exit("killed", error)
        if item is not None and not self.taken:
            self.system.attempt(self, settle_failed, self, item, Outcome("dead", exit=exit_))
        if self.state is SlotState.STARTING:
            self._began(run, error or ThreadAbandoned(self.ref, "not started", ""))
        else:
            end_incarnation(self, exit_)

    def handling_since(self) -> float | None:
        """When the current handler began."""
        return self.run.since if self.run is not None else None

    def stack(self) -> str:
        """What the thread runs."""
        return self.run.stack() if self.run is not None else ""

    def _run_broke(self, run: Run, error: BaseException) -> None:
        if run is self.run and not run.abandoned:
            break_off(self, error)

    def _run_over(self, run: Run, exit_: Exit) -> None:
        if run is self.run and not run.abandoned:
            end_incarnation(self, exit_)

    # -- waking

    def schedule(self) -> None:
        """Wake the thread, unless the slot is not running. Any thread."""
        if self.state is SlotState.RUNNING:
            self.scheduled = True
            if (run := self.run) is not None:
                run.wakes.put(_WAKE)
        if self.ended:
            # Looked at last: the slot may have ended since another thread saw it run.
            self.scheduled = False
            self.bury_waiting()

    # -- on the thread

    def _main(self, run: Run) -> None:
        error: BaseException | None = None
        try:
            if self._hooks.on_start:
                run.actor.on_start()
        except BaseException as failure:
            # A start that fails is reported to whoever started it.
            error = failure
        self.system.call_on_loop(self._began, run, error)
        if error is not None:
            return
        try:
            while not run.abandoned:
                self._join(run.wakes.get())
                if self.state is SlotState.RUNNING and not self._work(run):
                    return
        except BaseException as failure:
            # Not of a handler: see the head of _loop_slot.
            self.system.call_on_loop(self._run_broke, run, failure)

    def _work(self, run: Run) -> bool:
        """Handle what waits; False when this incarnation is over."""
        if run.own is None:
            run.own = contextvars.copy_context()
        goes_on = None
        while goes_on is None:
            context = run.own.copy()
            goes_on = context.run(self._work_in, run, context, run.own)
        return goes_on

    def _work_in(
        self, run: Run, context: contextvars.Context, own: contextvars.Context
    ) -> bool | None:
        """The same, in `context`; None when a message has changed it: the next has another."""
        while True:
            item = self._take(run)
            if item is _NOTHING:
                return not run.abandoned
            if type(item) is Stop:
                self._begin_stop(run, item)
                return False
            if not self._handle(run, item):
                return False
            try:
                if context == own:
                    continue
            except BaseException:  # noqa: S110  # values that cannot be compared are others
                pass
            if isinstance(item, AfterStart):
                run.own = contextvars.copy_context()
            return None

    def _take(self, run: Run) -> Any:
        """The next message, in hand; `_NOTHING` when there is none for this run."""
        inbox = self.inbox
        with run.lock:
            while not run.abandoned:
                if self.control:
                    self.state = SlotState.STOPPING
                    return self.control.popleft()
                if inbox:
                    item = inbox.popleft()
                    if item is INTERRUPT:
                        continue
                else:
                    self.scheduled = False
                    if not inbox and not self.control:
                        return _NOTHING
                    self.scheduled = True
                    continue
                self.taken = False
                self.current = item
                self.handled += 1
                run.since = self.system.slow.began()
                return item
        return _NOTHING

    def _finished(self, run: Run) -> bool:
        """The handler has returned; False when it was abandoned meanwhile."""
        with run.lock:
            if run.abandoned:
                return False
            self.current = None
            run.since = None
            return True

    def _handle(self, run: Run, item: Any) -> bool:
        wrapped: InboxItem | None = None
        result = None
        try:
            if (handler := self.lookup[type(item)]) is not None:
                handler(run.actor, item)
            elif (wrapped := item).admit(self):
                message = wrapped.message
                result = self.lookup[type(message)](run.actor, message)  # type: ignore[misc]  # wrapped items are not nested
            else:
                return self._finished(run)
        except BaseException as error:
            # Let it crash: whatever left the handler is this actor's end, nobody else's.
            return self._failed(run, item, error)
        taken = self.taken
        if not self._finished(run):
            return False
        if wrapped is not None and not taken:
            wrapped.reply(result)
        return True

    def _failed(self, run: Run, item: Any, error: BaseException) -> bool:
        outcome = meant(self, run.actor, error, item)
        exit_ = self.make_exit("crash", error)
        taken = self.taken
        if not self._finished(run):
            return False
        if outcome is not None:
            if not taken and (
                outcome.kind != "retry" or not again_later(self, item, outcome.retry_after)
            ):
                settle_failed(self, item, outcome)
            return True
        self.state = SlotState.STOPPING
        crashed(self, item, error, exit_, taken=taken)
        self._fail(run, error, exit_)
        return False

    def _fail(self, run: Run, error: BaseException, exit_: Exit) -> None:
        """Run `on_failure`; then the incarnation is over."""
        try:
            if self._hooks.on_failure:
                run.actor.on_failure(type(error), error, error.__traceback__)
        except BaseException as failure:
            # The actor has crashed already; the second error is only reported.
            self.system.report_hook_failure(self, "on_failure", failure)
        self.system.call_on_loop(self._run_over, run, exit_)

    def _begin_stop(self, run: Run, stop: Stop) -> None:
        exit_ = self.make_exit(stop.reason, stop.error)
        if stop.future is not None:
            self.system.call_on_loop(await_stop, self, stop.future)
        if stop.reason == "crash" and stop.error is not None:
            self.system.attempt(self, self.system.report_crash, self, exit_)
            self._fail(run, stop.error, exit_)
            return
        try:
            if self._hooks.on_stop:
                if self._hooks.stop_takes_reason:
                    run.actor.on_stop(stop.reason)
                else:
                    run.actor.on_stop()
        except BaseException as error:
            # The stop has become a crash; whoever asked for it learns so.
            self.system.report_hook_failure(self, "on_stop", error)
            exit_ = self.make_exit("crash", error)
        self.system.call_on_loop(self._run_over, run, exit_)
