"""The cell of an actor on a thread: `ThreadActor`, and any `pykka.ThreadingActor`.

Each incarnation has a thread (a `_Run`). It sleeps on a wake queue, takes
messages out of the slot's mailbox, and reports its end to the loop, where all
transitions happen. A plain Pykka class keeps the queue that Pykka made for it:
it is the wake queue, and an envelope that somebody puts there joins the
mailbox.

A thread cannot be killed. One that does not end in time is abandoned: it is
reported by name, the slot goes on without it, and whatever it still does is
ignored.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

from actors._cell import Cell, CellState
from actors._facilities import Facilities
from actors._failure import again_later, crashed, settle_failed
from actors._fixed import FIXED, AfterStart
from actors._stopping import Stop
from actors.delivery import Outcome, Parcel, outcome_of
from actors.handlers import Lookup
from actors.hooks import Hooks
from actors.inbox import PykkaParcel

if TYPE_CHECKING:
    from actors.exits import Exit

__all__ = ["ThreadCell"]

_WAKE: Final = object()
_numbers = itertools.count(1)


class _Run:
    """One incarnation on its thread."""

    __slots__ = ("abandoned", "actor", "began", "thread", "wakes")

    def __init__(self, actor: Any, wakes: Any) -> None:
        self.actor = actor
        self.wakes = wakes
        self.abandoned = False
        self.began: asyncio.Future[None] | None = None
        self.thread: threading.Thread | None = None


class ThreadCell(Cell):
    """A slot whose incarnations run on threads."""

    __slots__ = ("_hooks", "_run", "lookup")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run: _Run | None = None
        self.lookup: Lookup
        self._hooks: Hooks

    # -- starting and ending

    def built(self, actor: Any) -> None:
        """Take the table of the class; a plain Pykka actor gets this slot's ref."""
        if isinstance(actor, Facilities):
            self.lookup = actor.__handlers__
            self._hooks = actor.__hooks__
            self._run = _Run(actor, queue.SimpleQueue())
        else:
            self.lookup = Lookup({}, type(actor).on_receive, FIXED)
            self._hooks = Hooks.of(type(actor))
            self._run = _Run(actor, actor.actor_inbox)
            actor._actor_ref = self.ref  # noqa: SLF001  # so that what it hands out outlives it
            actor.actor_urn = self.urn

    async def run_on_start(self) -> None:
        """Start the thread and wait until it has run `on_start`."""
        run = self._run
        if run is None or self.ctx is None:
            raise RuntimeError(f"{self.ref} has no instance to start")
        run.began = self.system.loop.create_future()
        name = f"{self.actor_class.__name__}-{next(_numbers)}"
        # The thread has a copy: the loop may run code in the context of this actor too.
        ctx = self.ctx.copy()
        run.thread = threading.Thread(
            target=ctx.run, args=(self._main, run), name=name, daemon=True
        )
        run.thread.start()
        await run.began

    def discard_start(self) -> None:
        """The starter was cancelled: nobody waits for the thread any more."""
        if self._run is not None:
            self._run.abandoned = True

    def running(self) -> None:
        """Run `after_start` before any message."""
        if self._hooks.after_start:
            self.push_control(AfterStart())
        super().running()

    def retire(self) -> None:
        """The thread is ending, or has been abandoned."""
        run, self._run = self._run, None
        if run is None:
            return
        if not isinstance(run.actor, Facilities):
            run.actor.actor_stopped.set()
            self._rescue(run)
        run.abandoned = True
        run.wakes.put(_WAKE)

    def _rescue(self, run: _Run) -> None:
        """Envelopes that Pykka's own refs put in the queue belong to the mailbox."""
        while not run.wakes.empty():
            if (envelope := run.wakes.get()) is not _WAKE:
                self.inbox.append(PykkaParcel(self, envelope))

    def kill(self) -> None:
        """Abandon the thread; report it when something runs on it."""
        run = self._run
        if run is None or (self.down and self.state is not CellState.STARTING):
            return
        self.killing = True
        thread = run.thread
        busy = self.in_hand is not None or self.state is not CellState.RUNNING
        run.abandoned = True
        if thread is not None and thread.is_alive() and busy:
            self.system.report_stuck(self, f"thread {thread.name}", _stack_of(thread))
            self.system.stuck_threads.append(thread)
        exit_ = self.make_exit("killed")
        item, self.in_hand = self.in_hand, None
        if item is not None:
            settle_failed(self, item, Outcome("dead", exit=exit_))
        if run.began is not None and not run.began.done():
            run.began.set_exception(asyncio.CancelledError())
            return
        self.over(exit_)

    def handler_task(self) -> asyncio.Task[None] | None:
        """Its handlers run in no task."""
        return None

    # -- waking

    def schedule(self) -> None:
        """Wake the thread, unless the slot is not running. Any thread."""
        if self.state is CellState.RUNNING:
            self.scheduled = True
            if (run := self._run) is not None:
                run.wakes.put(_WAKE)
        elif self.ended:
            self.drain()

    # -- the thread

    def _main(self, run: _Run) -> None:
        error: BaseException | None = None
        try:
            if self._hooks.on_start:
                run.actor.on_start()
        except BaseException as failure:
            # A start that fails is reported to whoever started it.
            error = failure
        self.system.call_on_loop(_begin, run, error)
        if error is not None:
            return
        while not run.abandoned:
            wake = run.wakes.get()
            if wake is not _WAKE:
                self.inbox.append(PykkaParcel(self, wake))
            if self.state is CellState.RUNNING and not self._work(run):
                return

    def _work(self, run: _Run) -> bool:
        """Handle what waits; False when this incarnation is over."""
        inbox = self.inbox
        while not run.abandoned:
            if self.control:
                item = self.control.popleft()  # type: ignore[union-attr]  # not empty, so not the shared ()
                if isinstance(item, Stop):
                    self._begin_stop(run, item)
                    return False
            else:
                try:
                    item = inbox.popleft()
                except IndexError:
                    self.scheduled = False
                    if not inbox and not self.control:
                        return True
                    self.scheduled = True
                    continue
            self.in_hand = item
            if not self._handle(run, item):
                return False
            self.in_hand = None
        return False

    def _handle(self, run: _Run, item: Any) -> bool:
        parcel = item if isinstance(item, Parcel) else None
        try:
            if parcel is None:
                self.lookup[type(item)](run.actor, item)  # type: ignore[misc]  # only parcels have none
                return True
            if not parcel.admit(self):
                return True
            message = parcel.message
            result = self.lookup[type(message)](run.actor, message)  # type: ignore[misc]  # parcels are not nested
        except BaseException as error:
            # Let it crash: whatever left the handler is this actor's end, nobody else's.
            return not run.abandoned and self._failed(run, item, error)
        if not run.abandoned and not self.is_stashed(item):
            parcel.reply(result)
        return True

    def _failed(self, run: _Run, item: Any, error: BaseException) -> bool:
        outcome = outcome_of(error, getattr(run.actor, "refuses", ()))
        if outcome is not None:
            if outcome.kind != "retry" or not again_later(self, item, outcome.retry_after):
                settle_failed(self, item, outcome)
            return True
        exit_ = self.make_exit("crash", error)
        self.state = CellState.STOPPING
        crashed(self, item, error, exit_)
        self.in_hand = None
        try:
            if self._hooks.on_failure:
                run.actor.on_failure(type(error), error, error.__traceback__)
        except BaseException as failure:
            # The actor has crashed already; the second error is only reported.
            self.system.report_hook_failure(self, "on_failure", failure)
        self.system.call_on_loop(self._run_over, run, exit_)
        return False

    def _begin_stop(self, run: _Run, stop: Stop) -> None:
        self.state = CellState.STOPPING
        exit_ = self.make_exit(stop.reason)
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

    def _run_over(self, run: _Run, exit_: Exit) -> None:
        if run is self._run and not run.abandoned:
            self.over(exit_)


def _begin(run: _Run, error: BaseException | None) -> None:
    began = run.began
    if began is None or began.done():
        return
    if error is None:
        began.set_result(None)
    elif isinstance(error, StopIteration):
        # A future cannot carry it.
        began.set_exception(RuntimeError(f"on_start raised {error!r}"))
    else:
        began.set_exception(error)


def _stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # the documented way to see another thread
    return "".join(traceback.format_stack(frame, limit=8)) if frame is not None else ""
