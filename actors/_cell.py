"""The slot behind a ref: its inbox, the current instance, its state.

    NEW -> STARTING -> RUNNING -> STOPPING -> DOWN -> STARTING ... -> ENDED

The slot outlives its incarnations. While it is DOWN the messages wait; `end`
is final and turns what waits into dead letters. Transitions happen on the loop
thread only; other threads append to `inbox` and call `schedule`.

What runs an incarnation (the loop, a thread) is in the subclasses; this file
knows the life of a slot and none of its handlers. A supervisor uses `start`,
`stop`, `end`, `on_down` and `retry_after`.
"""

from __future__ import annotations

import contextvars
import enum
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import pykka

from actors._bystanders import Bystanders
from actors._current import current_cell
from actors._mailbox import Mailbox
from actors._stopping import Stop, StopFuture
from actors.context import EMPTY, Context
from actors.delivery import Parcel
from actors.errors import ActorDeadError, Ignore, StartFailed
from actors.exits import Exit

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Awaitable, Callable, Mapping

    from actors.delivery import Outcome
    from actors.exits import ExitReason
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Cell", "CellState"]

_NOTHING: Final[Mapping[str, Any]] = {}


class CellState(enum.Enum):
    """Where a slot is in its life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DOWN = "down"
    ENDED = "ended"


class Cell(Mailbox):
    """One slot. `Cell(...)` makes the kind that runs `actor_class`."""

    __slots__ = (
        "_kwargs",
        "_start_waiters",
        "_stop_waiters",
        "_stopped",
        "actor",
        "args",
        "bystanders",
        "control",
        "ctx",
        "ignored",
        "killing",
        "name",
        "on_down",
        "parent",
        "state",
    )

    def __new__(cls, system: System, actor_class: type[pykka.Actor], *_: Any, **__: Any) -> Cell:
        """Choose the runtime by the class of the actor."""
        return object.__new__(_runtime_of(actor_class) if cls is Cell else cls)

    def __init__(
        self,
        system: System,
        actor_class: type[pykka.Actor],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        *,
        name: str | None = None,
        parent: ActorRef[Any] | None = None,
    ) -> None:
        super().__init__(system, actor_class)
        self.args = args
        self._kwargs = kwargs or _NOTHING
        self.name = name
        self.parent = parent
        self.control: deque[Any] | tuple[()] = ()
        self.state = CellState.NEW
        self.actor: Any = None
        self.ctx: contextvars.Context | None = None
        self.on_down: Callable[[Cell, Exit], None] | None = None
        self.ignored = False
        self.killing = False
        self.bystanders: Bystanders | None = None
        self._stopped: threading.Event | None = None
        self._start_waiters: list[asyncio.Future[None]] | None = None
        self._stop_waiters: list[asyncio.Future[Exit] | StopFuture] | None = None

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments of the constructor."""
        return self._kwargs

    @property
    def restarts(self) -> int:
        """How often the slot was started again."""
        return max(0, self.incarnation - 1)

    # -- starting

    async def start(self) -> None:
        """Run the first or the next incarnation; done when `on_start` is.

        Raises `StartFailed` (the slot is DOWN, its inbox kept) and
        `ActorDeadError` when the slot has ended. When the constructor or
        `on_start` raises `Ignore` it returns with `ignored` True.
        """
        if self.ended:
            raise ActorDeadError(self.ref, self.exit)
        if self.state not in (CellState.NEW, CellState.DOWN):
            raise RuntimeError(f"{self.ref} is {self.state.value}: it cannot be started now")
        self.system.attach()
        try:
            self.construct()
            await self.bring_up(self.run_on_start())
        except Ignore:
            self.fold(Exit("normal", restarts=self.restarts))
            self.ignored = True
        except BaseException as error:
            if self.system.task_is_cancelled():
                self.discard_start()
                self.fold(self.make_exit("killed"))
                raise
            self.fold(self.make_exit("start_failed", error))
            raise StartFailed(self.ref, error) from error

    def construct(self) -> None:
        """Make the instance, in a context of its own. The caller's thread."""
        self.state = CellState.STARTING
        self.incarnation += 1
        self.ignored = False
        self.killing = False
        ctx = self.ctx = contextvars.Context()
        ctx.run(self._build)
        if self.incarnation == 1:
            self.system.register(self)

    def _build(self) -> None:
        current_cell.set(self)
        actor_class = self.actor_class
        actor = actor_class.__new__(actor_class, *self.args, **self._kwargs)
        self.bind(actor)
        actor.__init__(*self.args, **self._kwargs)  # type: ignore[misc]  # bound first, so that the constructor knows its ref
        self.built(actor)
        self.actor = actor

    def bind(self, actor: Any) -> None:
        """Tell the instance its cell, before its constructor runs."""
        actor._cell = self  # noqa: SLF001  # the attribute that Actor keeps for its cell

    def built(self, actor: Any) -> None:
        """The constructor has run."""

    def launch(self) -> None:
        """Start without a supervisor: when it fails the slot has ended. Any thread."""
        self.system.call_on_loop(self._launch_task)

    def _launch_task(self) -> None:
        self.system.spawn(self.bring_up_or_end(self.run_on_start()))

    async def bring_up_or_end(self, on_start: Awaitable[None]) -> None:
        """`bring_up`; what it raises ends the slot."""
        try:
            await self.bring_up(on_start)
        except BaseException as error:
            # Whatever leaves on_start is a failed start; a cancelled task is the end of the loop.
            self.launch_failed(error)
            if self.system.task_is_cancelled():
                raise

    def launch_failed(self, error: BaseException) -> None:
        """Nobody supervises this start: report it, and end."""
        if isinstance(error, Ignore):
            exit_ = self.make_exit("normal")
        else:
            exit_ = self.make_exit("start_failed", error)
            self.system.report_start_failure(self, error)
        self.fold(exit_)
        self.end_soon(exit_)

    async def bring_up(self, on_start: Awaitable[None]) -> None:
        """Await `on_start` and the lifecycle hooks, then take messages."""
        await on_start
        for hook in self.system.lifecycle:
            if self.incarnation == 1:
                await hook.started(self.ref, self.actor)
            else:
                await hook.restarted(self.ref, self.actor)
        self.running()

    async def run_on_start(self) -> None:
        """Run `on_start` where this kind of actor runs. Raises what it raised."""
        raise NotImplementedError

    def discard_start(self) -> None:
        """The start was cancelled from outside: let go of what runs."""

    def running(self) -> None:
        """The incarnation takes messages from now on."""
        if self.killing:
            self.over(self.make_exit("killed"))
            return
        self._retry_at = None
        self.down = False
        self.state = CellState.RUNNING
        waiters, self._start_waiters = self._start_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        if self.system.events.active:
            self.system.events.emit("actor.started", ref=self.ref, incarnation=self.incarnation)
        if self.inbox or self.control:
            self.schedule()

    async def started(self) -> None:
        """Wait for the end of `on_start`; see `ActorRef.started`."""
        if self.ended:
            raise self._start_error()
        if self.state in (CellState.NEW, CellState.STARTING, CellState.DOWN):
            waiter = self.system.loop.create_future()
            if self._start_waiters is None:
                self._start_waiters = []
            self._start_waiters.append(waiter)
            await waiter

    def _start_error(self) -> Exception:
        exit_ = self.exit
        if exit_ is not None and exit_.reason == "start_failed" and exit_.error is not None:
            error = StartFailed(self.ref, exit_.error)
            error.__cause__ = exit_.error
            return error
        return ActorDeadError(self.ref, exit_)

    # -- the message in hand

    def message_context(self) -> Context:
        """The context of the message in hand."""
        item = self.in_hand
        return item.context() if isinstance(item, Parcel) else EMPTY

    def asking_chain(self) -> tuple[str, ...]:
        """The asks that wait for the code that runs now, this actor last."""
        item = self.in_hand
        if item is None:
            return ()
        return (*item.chain(), self.urn) if isinstance(item, Parcel) else (self.urn,)

    def is_stashed(self, item: Any) -> bool:
        """True when the handler of `item` has just put it aside."""
        company = self.bystanders
        return company is not None and bool(company.stash) and company.stash[-1] is item

    def cancel_in_hand(self, parcel: Parcel) -> bool:
        """Cancel the handler of `parcel` if it runs and can be interrupted."""
        return False

    def handler_task(self) -> asyncio.Task[None] | None:
        """The task in which a handler runs now, if any."""
        raise NotImplementedError

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None) -> None:
        """A wrapped tell was not handled to its end."""
        from actors._failure import tell_ended

        tell_ended(self, message, outcome, attempt)

    def unhandled(self, message: Any) -> None:
        """No handler takes `message`."""
        if self.message_context().kind != "ask":
            self.system.dead_letters.record(message, self.ref, "unhandled")
        self.system.report_unhandled(self, message)

    # -- stopping

    def request_stop(self) -> StopFuture:
        """`ref.stop()`. Any thread."""
        future = StopFuture(self)
        if self.ended:
            future.set(value=False)
        else:
            self.system.call_on_loop(self._stop_requested, future)
        return future

    def _stop_requested(self, future: StopFuture) -> None:
        if self.ended:
            future.set(value=False)
            return
        self.await_stop(future)
        self.push_control(Stop("normal"))

    def await_stop(self, waiter: asyncio.Future[Exit] | StopFuture) -> None:
        """Resolve `waiter` when this incarnation is over."""
        if self._stop_waiters is None:
            self._stop_waiters = []
        self._stop_waiters.append(waiter)

    def push_control(self, item: Any) -> None:
        """Put `item` in the lane that goes before user messages. Loop thread."""
        if isinstance(self.control, tuple):
            self.control = deque()
        self.control.append(item)
        if not self.scheduled:
            self.schedule()

    async def stop(self, reason: ExitReason = "shutdown", timeout: float | None = None) -> Exit:
        """End the incarnation; the slot is DOWN afterwards and its inbox kept.

        Waits `timeout` seconds for the message in hand and `on_stop` (None:
        for ever), then kills: cancels, or abandons what cannot be cancelled
        and reports it by name. 0 kills at once, without `on_stop`.
        """
        if self.state in (CellState.NEW, CellState.DOWN, CellState.ENDED):
            return self.exit or self.make_exit(reason)
        waiter: asyncio.Future[Exit] = self.system.loop.create_future()
        self.await_stop(waiter)
        if timeout == 0:
            self.kill()
            return await waiter
        self.push_control(Stop(reason))
        if timeout is None:
            return await waiter
        handle = self.system.clock.call_later(timeout, self.kill)
        try:
            return await waiter
        finally:
            handle.cancel()

    def kill(self) -> None:
        """End the incarnation now. Loop thread."""
        raise NotImplementedError

    def make_exit(self, reason: ExitReason, error: BaseException | None = None) -> Exit:
        """An `Exit` of this slot at this moment."""
        message_type = None
        if reason == "crash" and self.in_hand is not None:
            item = self.in_hand
            message_type = type(item.message if isinstance(item, Parcel) else item).__name__
        clock = self.system.clock
        return Exit(
            reason,
            error=error,
            message_type=message_type,
            time=clock.monotonic(),
            wall=clock.time(),
            restarts=self.restarts,
        )

    def over(self, exit_: Exit) -> None:
        """The incarnation is over: tell who waits, else the supervisor, else end."""
        asked = self.fold(exit_)
        if asked:
            self.hook_down(exit_)
        elif self.on_down is not None:
            self.hook_down(exit_)
            self.on_down(self, exit_)
        else:
            self.end_soon(exit_)

    def end_soon(self, exit_: Exit) -> None:
        """`end` from a place that cannot wait."""
        if self.system.lifecycle:
            self.system.spawn(self.end(exit_))
        else:
            self.finish(exit_)

    def hook_down(self, exit_: Exit) -> None:
        """Tell the lifecycle hooks that the slot is down but not ended."""
        for hook in self.system.lifecycle:
            self.system.spawn(hook.restarting(self.ref, exit_))

    def fold(self, exit_: Exit) -> bool:
        """Put the incarnation away. True when a supervisor's `stop` waited."""
        self.state = CellState.DOWN
        self.down = True
        self.scheduled = False
        self.exit = exit_
        self.killing = False
        self.in_hand = None
        if self.bystanders is not None:
            self.bystanders.put_away(self)
        self.retire()
        self.actor = None
        self.ctx = None
        self.control = ()
        if self.system.events.active:
            self.system.events.emit("actor.down", ref=self.ref, exit=exit_)
        asked = False
        waiters, self._stop_waiters = self._stop_waiters, None
        for waiter in waiters or ():
            if isinstance(waiter, StopFuture):
                waiter.resolve(value=True)
            else:
                asked = True
                if not waiter.done():
                    waiter.set_result(exit_)
        return asked

    def retire(self) -> None:
        """Let go of what ran the incarnation."""

    async def end(self, exit_: Exit) -> None:
        """The slot is ENDED: nothing will run here again. Idempotent.

        What waits becomes dead letters, asks fail with `ActorDeadError`,
        watchers get `Terminated`, then the lifecycle hooks are told.
        """
        if self.ended:
            return
        if self.state not in (CellState.NEW, CellState.DOWN):
            await self.stop(timeout=0)
        self.finish(exit_)
        for hook in self.system.lifecycle:
            await hook.ended(self.ref, exit_)

    def finish(self, exit_: Exit) -> None:
        """The part of `end` that waits for nothing."""
        self.exit = exit_
        self.state = CellState.ENDED
        self.ended = True
        self.limit = -1
        self.scheduled = False
        self.drain()
        waiters, self._start_waiters = self._start_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_exception(self._start_error())
        stoppers, self._stop_waiters = self._stop_waiters, None
        for stopper in stoppers or ():
            if isinstance(stopper, StopFuture):
                stopper.resolve(value=True)
            elif not stopper.done():
                stopper.set_result(exit_)
        if self._stopped is not None:
            self._stopped.set()
        if self.bystanders is not None:
            self.bystanders.tell_watchers(self.ref, exit_)
            self.bystanders = None
        self.system.unregister(self)
        if self.system.events.active:
            self.system.events.emit("actor.ended", ref=self.ref, exit=exit_)

    # -- what Pykka's interface asks of a ref

    def stopped_event(self) -> threading.Event:
        """The event that is set when the slot has ended; made on demand."""
        import threading

        if self._stopped is None:
            event = self._stopped = threading.Event()
            if self.ended:
                event.set()
        return self._stopped

    def pykka_inbox(self) -> Any:
        """An object with the methods of Pykka's inbox."""
        from actors.inbox import PykkaInbox

        return PykkaInbox(self)

    # -- watching

    def company(self) -> Bystanders:
        """The watchers, timers and stash of the slot; made on demand."""
        if self.bystanders is None:
            self.bystanders = Bystanders()
        return self.bystanders

    def add_watcher(self, watcher: ActorRef[Any], incarnation: int) -> None:
        """Send `Terminated` to that incarnation of `watcher` at the end. Loop thread."""
        if self.ended:
            exit_ = self.exit or Exit("noproc")
            Bystanders.tell(watcher, self.ref, exit_, incarnation)
        else:
            self.company().watchers[watcher] = incarnation

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back. Loop thread."""
        if self.bystanders is not None:
            self.bystanders.watchers.pop(watcher, None)


def _runtime_of(actor_class: type[pykka.Actor]) -> type[Cell]:
    if issubclass(actor_class, pykka.ThreadingActor):
        from actors._thread_cell import ThreadCell

        return ThreadCell
    from actors._loop_cell import LoopCell
    from actors.actor import Actor

    if issubclass(actor_class, Actor):
        return LoopCell
    raise TypeError(
        f"{actor_class!r} is neither an actors.Actor nor a pykka.ThreadingActor: "
        "no runtime here knows how to run it"
    )
