"""How an incarnation ends, and how a slot does.

An incarnation is over once: it is folded away (timers, watches, stash, task),
then the lifecycle hooks are awaited, then exactly one of these is told: the
supervisor that called `stop`, else the one that set `on_down`, else nobody, and
the slot ends too. Those who hold the future of a `ref.stop()` come last, so
that what they see is the state after all of that.

The steps of an end do not depend on each other: each is taken whatever the one
before it has raised (`Reports.attempt`), so that an end is never left in its
middle. `break_off` is the end of an incarnation whose runtime itself failed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from actors._failure import crashed, meant
from actors._in_hand import InHand
from actors._items import INTERRUPT
from actors._states import SlotState
from actors._stopping import Stop, StopFuture
from actors.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.exits import ExitReason
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Ending"]

#: Held by a thread that makes the control lane of a slot, which happens once in a life.
_making_control = threading.Lock()


class Ending(InHand):
    """The part of a slot that brings incarnations and the slot to their end."""

    __slots__ = (
        "_hooking",
        "_stop_waiters",
        "_stopped",
        "actor",
        "control",
        "killing",
        "on_down",
        "parent",
        "state",
    )

    def __init__(self, system: System, actor_class: type) -> None:
        super().__init__(system, actor_class)
        self.control: deque[Any] | tuple[()] = ()
        self.state = SlotState.NEW
        self.actor: Any = None
        #: The supervisor's ref; None for a root, which the system's shutdown ends.
        self.parent: ActorRef[Any] | None = None
        #: Called on the loop when an incarnation ended on its own.
        self.on_down: Callable[[Any, Exit], None] | None = None
        self.killing = False
        self._stopped: threading.Event | None = None
        self._stop_waiters: list[asyncio.Future[Exit] | StopFuture] | None = None
        self._hooking: asyncio.Task[None] | None = None

    @property
    def restarts(self) -> int:
        """How often the slot was started again."""
        return max(0, self.incarnation - 1)

    # -- asking for the end

    def request_stop(self) -> StopFuture:
        """`ref.stop()`. Any thread."""
        future = StopFuture(self)
        if self.ended:
            future.resolve(value=False)
            return future
        stop = Stop("normal", future=future)
        self.push_control(stop)
        if self.limit < 0 and self._withdraw(stop):
            # The slot has ended meanwhile, and nobody has seen the stop.
            future.resolve(value=False)
        return future

    def _withdraw(self, stop: Stop) -> bool:
        """Take a stop back; False when somebody has taken it already."""
        try:
            self.control.remove(stop)  # type: ignore[union-attr]  # a tuple has none: see below
        except (AttributeError, ValueError):
            return False
        return True

    def is_leaving(self) -> bool:
        """True while the last hook of an actor runs that nobody will start again."""
        return self.state is SlotState.STOPPING and self.on_down is None and self.parent is None

    def exit_soon(self, reason: ExitReason, error: BaseException | None = None) -> None:
        """End this incarnation as the actor's own wish, with that reason. Any thread.

        `error` stands in the `Exit` as its cause.
        """
        self.push_control(Stop(reason, error))

    def is_crash(self, error: BaseException) -> bool:
        """Whether what left the actor's code is a crash; False: it meant an answer."""
        return meant(self, self.actor, error) is None

    def crash_soon(self, error: BaseException) -> None:
        """End this incarnation as a crash: its own code failed beside its messages. Any thread."""
        self.push_control(Stop("crash", error))

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when this incarnation is over, however it ends. Loop thread."""
        self.attachments().at_end.append(callback)

    async def stop(self, reason: ExitReason = "shutdown", timeout: float | None = None) -> Exit:
        """End the incarnation; the slot is DOWN afterwards and its inbox kept.

        Waits `timeout` seconds for the message in hand and `on_stop` (None:
        for ever), then kills: cancels, or abandons what cannot be cancelled
        and reports it by name. 0 kills at once, without `on_stop`. May be
        called again, with less patience, while a first call waits; and while
        the slot is starting, which then fails.
        """
        if self.state in {SlotState.NEW, SlotState.DOWN, SlotState.ENDED}:
            return self.exit or self.make_exit(reason)
        waiter: asyncio.Future[Exit] = self.system.loop.create_future()
        self.await_stop(waiter)
        if timeout is not None and timeout <= 0:
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

    def push_control(self, item: Any) -> None:
        """Put `item` in the lane that goes before user messages. Any thread."""
        while True:
            control = self.control
            if isinstance(control, tuple):
                with _making_control:
                    if isinstance(self.control, tuple):
                        self.control = deque()
                continue
            control.append(item)
            if control is self.control:
                break
            # The incarnation ended in between: its lane is gone, the next one has its own.
        self.inbox.appendleft(INTERRUPT)
        if not self.scheduled:
            self.schedule()

    def await_stop(self, waiter: asyncio.Future[Exit] | StopFuture) -> None:
        if self._stop_waiters is None:
            self._stop_waiters = []
        self._stop_waiters.append(waiter)

    def make_exit(self, reason: ExitReason, error: BaseException | None = None) -> Exit:
        """An `Exit` of this slot at this moment."""
        clock = self.system.clock
        return Exit(
            reason,
            error=error,
            message_type=self.message_type() if reason in {"crash", "killed"} else None,
            time=clock.monotonic(),
            wall=clock.time(),
            restarts=self.restarts,
        )

    # -- the incarnation is over

    def break_off(self, error: BaseException) -> None:
        """Something left the runtime's own code in a turn: that is a crash. Loop thread.

        The guarantee behind all others here: whatever it was, whoever waits for the
        message in hand learns of it, and the supervisor sees a crash.
        """
        if self.down:
            self.system.report_hook_failure(self, "its last turn", error)
            return
        exit_ = self.make_exit("crash", error)
        self.state = SlotState.STOPPING
        crashed(self, self.current, error, exit_, taken=self.taken or self.current is None)
        self.over(exit_)

    def over(self, exit_: Exit) -> None:
        """The incarnation is over: fold it away and tell whoever is to know. Loop thread."""
        waiters = self.fold(exit_)
        if self.system.lifecycle:
            self._hooking = self.system.spawn(self._over_with_hooks(exit_, waiters))
        else:
            self._tell_over(exit_, waiters)

    def fold(self, exit_: Exit) -> list[asyncio.Future[Exit] | StopFuture]:
        """Put the incarnation away; gives those who asked for its end."""
        self.state = SlotState.DOWN
        self.down = True
        self.scheduled = False
        self.exit = exit_
        self.current = None
        self.taken = False
        waiters = self._take_waiters()
        attempt = self.system.attempt
        if self.attached is not None:
            attempt(self, self.attached.put_away, self)
        attempt(self, self.retire)
        self.killing = False
        self.actor = None
        if self.system.events.active:
            self.system.events.emit("actor.down", ref=self.ref, exit=exit_)
        return waiters

    def _take_waiters(self) -> list[asyncio.Future[Exit] | StopFuture]:
        """Those who asked for the end, also those whose stop was not looked at."""
        control, self.control = self.control, ()
        waiters, self._stop_waiters = self._stop_waiters or [], None
        for item in control:
            if isinstance(item, Stop) and item.future is not None:
                waiters.append(item.future)
        return waiters

    def retire(self) -> None:
        """Let go of what ran the incarnation."""

    async def _over_with_hooks(self, exit_: Exit, waiters: list[Any]) -> None:
        if self._is_asked(waiters) or self.on_down is not None:
            for hook in self.system.lifecycle:
                await self._hook("restarting", hook.restarting, exit_)
            self._tell_over(exit_, waiters)
        else:
            await self.end(exit_)
            self.release(exit_, waiters)

    async def hooks_are_done(self) -> None:
        """Wait for the hooks of the previous end, so that they never overlap the next start's."""
        hooking, self._hooking = self._hooking, None
        if hooking is not None and hooking is not asyncio.current_task():
            await asyncio.wait([hooking])

    async def _hook(self, name: str, call: Any, exit_: Exit) -> None:
        try:
            await call(self.ref, exit_)
        except BaseException as error:
            # A hook of a start may fail the start; at an end there is nothing to fail any more.
            self.system.report_hook_failure(self, f"the lifecycle hook {name}", error)
            if self.system.task_is_cancelled():
                raise

    @staticmethod
    def _is_asked(waiters: list[Any]) -> bool:
        return any(isinstance(each, asyncio.Future) and not each.done() for each in waiters)

    def _tell_over(self, exit_: Exit, waiters: list[Any]) -> None:
        if not self._is_asked(waiters):
            if self.on_down is None:
                self.finish(exit_)
            else:
                # A supervisor that fails at this must not leave others waiting.
                self.system.attempt(self, self.on_down, self, exit_)
        self.release(exit_, waiters)

    @staticmethod
    def release(exit_: Exit, waiters: list[Any]) -> None:
        """Resolve those who asked for the end."""
        for waiter in waiters:
            if isinstance(waiter, StopFuture):
                waiter.resolve(value=True)
            elif not waiter.done():
                waiter.set_result(exit_)

    # -- the slot ends

    async def end(self, exit_: Exit) -> None:
        """The slot is ENDED: nothing will run here again. Idempotent.

        What waits becomes dead letters, asks fail with `ActorDeadError`,
        watchers get `Terminated`, then the lifecycle hooks are told.
        """
        if self.state not in {SlotState.NEW, SlotState.DOWN, SlotState.ENDED}:
            await self.stop(timeout=0)
        if self.ended:
            return
        self.finish(exit_)
        for hook in self.system.lifecycle:
            await self._hook("ended", hook.ended, exit_)

    def finish(self, exit_: Exit) -> None:
        """The part of `end` that waits for nothing."""
        self.exit = exit_
        self.state = SlotState.ENDED
        self.ended = True
        self.limit = -1
        self.scheduled = False
        attempt = self.system.attempt
        attempt(self, self.drain)
        attempt(self, self.release, exit_, self._take_waiters())
        if self._stopped is not None:
            self._stopped.set()
        self.system.unregister(self)
        if self.attached is not None:
            attempt(self, self.attached.tell_watchers, self.ref, exit_)
            self.attached = None
        if self.system.events.active:
            self.system.events.emit("actor.ended", ref=self.ref, exit=exit_)

    # -- what Pykka's interface asks of a ref

    def stopped_event(self) -> threading.Event:
        """The event that is set when the slot has ended; made on demand."""
        if self._stopped is None:
            event = self._stopped = threading.Event()
            if self.ended:
                event.set()
        return self._stopped

    def pykka_inbox(self) -> Any:
        """An object with the methods of Pykka's inbox."""
        from actors.inbox import PykkaInbox

        return PykkaInbox(self)

    # -- what observers ask

    def handler_task(self) -> asyncio.Task[Any] | None:
        """The task in which a handler runs now, if any."""
        return None

    def handling_since(self) -> float | None:
        """When the handler in hand began, if it is not one that is called in place."""
        raise NotImplementedError

    def stack(self) -> str:
        """Where the handler in hand stands, innermost last, as text."""
        raise NotImplementedError
