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
from typing import TYPE_CHECKING, Any, Final, Self

import pykka

from actors._current import current_slot
from actors._ending import Ending
from actors._items import INTERRUPT
from actors._states import SlotState
from actors.errors import ActorDeadError, Ignore, StartFailed
from actors.exits import Exit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Mapping

    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Slot", "SlotState"]

_NOTHING: Final[Mapping[str, Any]] = {}


class Slot(Ending):
    """One slot. `Slot(...)` makes the kind that runs `actor_class`."""

    __slots__ = ("_start_waiters", "args", "began", "ctx", "ignored", "kwargs", "name")

    def __new__(cls, _system: System, actor_class: type, *_: Any, **__: Any) -> Self:
        """Choose the runtime by the class of the actor."""
        chosen: Any = _runtime_of(actor_class) if cls is Slot else cls
        slot: Self = object.__new__(chosen)
        return slot

    def __init__(
        self,
        system: System,
        actor_class: type,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NOTHING,
        *,
        name: str | None = None,
        parent: ActorRef[Any] | None = None,
    ) -> None:
        super().__init__(system, actor_class)
        self.args = args
        self.kwargs = kwargs or _NOTHING
        self.name = name
        self.parent = parent
        self.ctx: contextvars.Context | None = None
        #: Resolved with what `on_start` raised (or None) while it runs elsewhere.
        self.began: asyncio.Future[BaseException | None] | None = None
        self.ignored = False
        self._start_waiters: list[asyncio.Future[None]] | None = None

    # -- under a supervisor

    async def start(self) -> None:
        """Run the first or the next incarnation; done when `on_start` is.

        Raises `StartFailed` (the slot is DOWN, its inbox kept) and
        `ActorDeadError` when the slot has ended. When the constructor or
        `on_start` raises `Ignore` it returns with `ignored` True.
        """
        if self.ended:
            raise ActorDeadError(self.ref, self.exit)
        if self.state not in {SlotState.NEW, SlotState.DOWN}:
            raise RuntimeError(f"{self.ref} is {self.state.value}: it cannot be started now")
        self.system.attach()
        try:
            self.construct()
            await self.bring_up(self.run_on_start())
        except Ignore:
            self.start_failed(Exit("normal", restarts=self.restarts))
            self.ignored = True
        except BaseException as error:
            cancelled = self.system.task_is_cancelled()
            if cancelled:
                self.discard_start()
            killed = cancelled or self.killing
            self.start_failed(self.make_exit("killed" if killed else "start_failed", error))
            if cancelled:
                raise
            raise StartFailed(self.ref, error) from error

    def start_failed(self, exit_: Exit) -> None:
        """The slot is DOWN again. Whoever waits for its stop has it."""
        waiters = self.fold(exit_)
        self.release(exit_, waiters)

    def construct(self) -> None:
        """Make the instance, in a context of its own. The caller's thread."""
        self.state = SlotState.STARTING
        self.incarnation += 1
        self.ignored = False
        self.killing = False
        ctx = self.ctx = contextvars.Context()
        ctx.run(self._build)
        self.system.register(self)

    def _build(self) -> None:
        current_slot.set(self)
        actor_class = self.actor_class
        actor: Any = actor_class.__new__(actor_class, *self.args, **self.kwargs)
        self.actor = actor
        self.bind(actor)
        actor.__init__(*self.args, **self.kwargs)
        self.built(actor)

    def bind(self, actor: Any) -> None:
        """Tell the instance its slot, before its constructor runs."""
        actor._slot = self  # noqa: SLF001  # the attribute that actors keep for their slot

    def built(self, actor: Any) -> None:
        """The constructor has run."""

    async def bring_up(self, on_start: Awaitable[None]) -> None:
        """Await `on_start` and the lifecycle hooks, then take messages."""
        await on_start
        if self.system.lifecycle:
            await self.hooks_are_done()
            for hook in self.system.lifecycle:
                if self.incarnation == 1:
                    await hook.started(self.ref, self.actor)
                else:
                    await hook.restarted(self.ref, self.actor)
        if self.killing:
            raise ActorDeadError(self.ref, self.make_exit("killed"))
        self.running()

    async def run_on_start(self) -> None:
        """Run `on_start` where this kind of actor runs. Raises what it raised."""
        raise NotImplementedError

    async def wait_began(self) -> None:
        """Wait for an `on_start` that runs elsewhere; raises what it raised."""
        began = self.began = self.system.loop.create_future()
        try:
            error = await began
        finally:
            self.began = None
        if error is not None:
            raise error

    def discard_start(self) -> None:
        """The start was cancelled from outside: let go of what runs."""

    def running(self) -> None:
        """The incarnation takes messages from now on."""
        self._retry_at = None
        self.down = False
        # A thread may have set this while the slot was down, for a pump that found it so.
        self.scheduled = False
        self.state = SlotState.RUNNING
        waiters, self._start_waiters = self._start_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        if self.system.events.active:
            self.system.events.emit("actor.started", ref=self.ref, incarnation=self.incarnation)
        if self.control:
            self.inbox.appendleft(INTERRUPT)
        if self.inbox:
            self.schedule()

    # -- without a supervisor

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
        if issubclass(type(error), Ignore):
            exit_ = self.make_exit("normal")
        elif self.killing:
            exit_ = self.make_exit("killed", error)
        else:
            exit_ = self.make_exit("start_failed", error)
            self.system.report_start_failure(self, error)
        self.over(exit_)

    async def started(self) -> None:
        """Wait for the end of `on_start`; see `ActorRef.started`."""
        if self.ended:
            raise self.start_error()
        if self.state in {SlotState.NEW, SlotState.STARTING, SlotState.DOWN}:
            waiter = self.system.loop.create_future()
            if self._start_waiters is None:
                self._start_waiters = []
            self._start_waiters.append(waiter)
            await waiter

    def start_error(self) -> Exception:
        """Why a slot that has ended never took a message, or does not any more."""
        exit_ = self.exit
        if exit_ is not None and exit_.reason == "start_failed" and exit_.error is not None:
            error = StartFailed(self.ref, exit_.error)
            error.__cause__ = exit_.error
            return error
        return ActorDeadError(self.ref, exit_)

    def finish(self, exit_: Exit) -> None:
        """Fail those who wait for the start, too."""
        super().finish(exit_)
        waiters, self._start_waiters = self._start_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_exception(self.start_error())

    def fold(self, exit_: Exit) -> list[Any]:
        """Let go of the instance and its context, too."""
        waiters = super().fold(exit_)
        self.ctx = None
        return waiters


def _runtime_of(actor_class: type) -> type[Slot]:
    from actors._loop_slot import LoopSlot
    from actors._thread_slot import ThreadSlot
    from actors.actor import Actor

    if issubclass(actor_class, Actor):
        return LoopSlot
    if issubclass(actor_class, pykka.ThreadingActor):
        return ThreadSlot
    raise TypeError(
        f"{actor_class!r} is neither an actors.Actor nor a pykka.ThreadingActor: "
        "no runtime here knows how to run it"
    )
