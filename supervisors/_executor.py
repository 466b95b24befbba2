"""The executor of a supervisor: it carries out what `_decisions` decides, with real slots.

Loop thread only. `feed` takes an event, decides, and carries the actions out in
their order; what takes time (a start, a stop, the end of a slot) runs in a task
that feeds its own news. So the supervisor can be asked and stopped at any time.
No decision is made here, and none is made while another one is carried out.

What leaves this file, or a decision, is a crash of the supervisor (`on_fault`): the
children of a supervisor that cannot decide are ended, and its own parent decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from actors import Exit, Refused, StartFailed, runtime
from supervisors import _events as ev
from supervisors._children import Phase
from supervisors._decisions import decide
from supervisors._shutdown import SharedTimers, stop_slot
from supervisors._state import Mode, State, initial
from supervisors.reports import is_heard, publish, report_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors import ActorRef, System
    from actors.clock import TimerHandle
    from actors.runtime import Slot
    from supervisors._state import Policy
    from supervisors.spec import ChildSpec, Shutdown

__all__ = ["Executor", "Reply", "predecessor_ended"]

#: Children that are told to stop before the loop has its turn.
AT_ONCE = 500


#: The ends of incarnations that are over while their children still end, by slot.
_ending: WeakKeyDictionary[System, dict[str, asyncio.Future[ev.Verdict]]] = WeakKeyDictionary()


async def predecessor_ended(system: System, ref: ActorRef[Any]) -> None:
    """Wait until no child of an earlier incarnation of `ref` is left.

    So two children of one name never run at the same time, even after a kill.
    """
    ending = _ending.get(system, {}).get(ref.actor_urn)
    if ending is not None:
        await asyncio.shield(ending)


class Reply(Protocol):
    """Where the answer to a request goes; exactly one of the two is called, once."""

    def answer(self, ref: ActorRef[Any] | None) -> None:
        """Carried out; `ref` is the child's slot where it has one."""
        ...

    def refuse(self, error: Refused) -> None:
        """Not carried out."""
        ...


class Executor:
    """The children of one incarnation of a supervisor."""

    def __init__(
        self,
        system: System,
        ref: ActorRef[Any],
        policy: Policy,
        specs: Iterable[ChildSpec],
        random: Callable[[], float],
    ) -> None:
        #: The latest decision. An immutable value: any thread may read it.
        self.state: State = initial(policy, specs)
        #: The slots of the children that have one.
        self.slots: dict[str, Slot] = {}
        #: Called when the last child has ended, with the reason why.
        self.on_finish: Callable[[ev.Verdict], None] = lambda _verdict: None
        #: Called when an event could not be decided on or carried out.
        self.on_fault: Callable[[BaseException], None] = lambda _error: None
        self._system = system
        self._ref = ref
        self._random = random
        self._queue: deque[ev.Event] = deque()
        self._busy = False
        self._ends: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, TimerHandle] = {}
        self._replies: dict[int, Reply] = {}
        self._tokens = 0
        self._booted: asyncio.Future[None] = system.loop.create_future()
        self._finished: asyncio.Future[ev.Verdict] = system.loop.create_future()

    # -- what the actor asks

    async def boot(self) -> ev.Verdict | None:
        """Start the children in order; the verdict if that failed, once all have ended."""
        self.feed(ev.Boot())
        ends: set[asyncio.Future[Any]] = {self._booted, self._finished}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return self._finished.result() if self._finished.done() else None

    async def close(self) -> None:
        """Stop the children in order, each as its `shutdown` says."""
        self.feed(ev.Close())
        await asyncio.shield(self._finished)

    def kill(self) -> None:
        """End all children at once, without waiting for that."""
        if self.state.mode is not Mode.CLOSED:
            self.feed(ev.Kill())
        if not self._finished.done():
            ending = _ending.setdefault(self._system, {})
            ending[self._ref.actor_urn] = self._finished
            self._finished.add_done_callback(lambda _: ending.pop(self._ref.actor_urn, None))

    def request(self, make: Callable[[int], ev.Event], reply: Reply) -> None:
        """Take a request; `make` gets the token that `reply` goes by."""
        self._tokens += 1
        self._replies[self._tokens] = reply
        self.feed(make(self._tokens))

    # -- deciding

    def feed(self, event: ev.Event) -> None:
        """Decide on `event` and carry out what follows."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                now = self._system.clock.monotonic()
                self.state, actions = decide(self.state, self._queue.popleft(), now)
                for action in actions:
                    self._CARRY[type(action)](self, action)
        except BaseException as error:
            self._give_up(error)
        finally:
            self._busy = False

    def _give_up(self, error: BaseException) -> None:
        """Nothing can be decided any more: end the children, whatever was known of them."""
        self._queue.clear()
        self.state = self.state._replace(mode=Mode.CLOSED)
        for name in tuple(self._timers):
            self._drop_timer(name)
        slots, self.slots = self.slots, {}
        for slot in slots.values():
            slot.on_down = None
            self._system.spawn(runtime.end(slot, slot.make_exit("killed")))
        replies, self._replies = self._replies, {}
        refusal = Refused("the supervisor has crashed", code="shutting_down")
        for reply in replies.values():
            reply.refuse(refusal)
        if not self._finished.done():
            self._finished.set_result(ev.Verdict("killed"))
        self.on_fault(error)

    # -- carrying out

    def _start(self, action: ev.Start) -> None:
        self._drop_timer(action.name)
        try:
            slot = self.slots.get(action.name) or self._new_slot(action.name, action.spec)
        except BaseException as error:
            # A class that no runtime knows how to run: the child's failure, not ours.
            exit_ = self._start_exit(None, error)
            self.feed(ev.StartFailed(action.name, action.generation, exit_))
        else:
            self._system.spawn(self._run_start(action.name, action.generation, slot))

    def _new_slot(self, name: str, spec: ChildSpec) -> Slot:
        slot = runtime.new_slot(
            self._system, spec.actor_class, spec.args, spec.kwargs, name=name, parent=self._ref
        )
        slot.on_down = partial(self._down, name)
        self.slots[name] = slot
        return slot

    async def _run_start(self, name: str, generation: int, slot: Slot) -> None:
        if (ending := self._ends.get(name)) is not None:
            # The slot of the same name before this one: its end must not overtake the start.
            await asyncio.wait([ending])
        try:
            await runtime.start(slot)
        except BaseException as error:
            # Whatever a start raises is this child's failure; its rules decide what follows.
            if self._system.task_is_cancelled():
                raise
            self.feed(ev.StartFailed(name, generation, self._start_exit(slot, error)))
        else:
            kind = ev.Ignored if slot.ignored else ev.Started
            self.feed(kind(name, generation))

    def _start_exit(self, slot: Slot | None, error: BaseException) -> Exit:
        if isinstance(error, StartFailed) and slot is not None and slot.exit is not None:
            return slot.exit
        clock = self._system.clock
        return Exit("start_failed", error=error, time=clock.monotonic(), wall=clock.time())

    def _down(self, name: str, slot: Slot, exit_: Exit) -> None:
        child = self.state.children.get(name)
        if child is not None and self.slots.get(name) is slot:
            self.feed(ev.Died(name, child.generation, exit_))

    def _stop(self, action: ev.Stop) -> None:
        self._system.spawn(self._run_stop(action, self.slots[action.name], action.shutdown))

    def _stop_all(self, action: ev.StopAll) -> None:
        pairs = [(stop, self.slots[stop.name]) for stop in action.stops]
        self._stop_some(pairs, 0, SharedTimers(self._system.clock))

    def _stop_some(
        self, pairs: list[tuple[ev.Stop, Slot]], told: int, timers: SharedTimers
    ) -> None:
        """Tell the next of them to stop, and more when the loop has had its turn."""
        for stop, slot in pairs[told : told + AT_ONCE]:
            self._system.spawn(self._run_stop(stop, slot, timers.told(slot, stop.shutdown), timers))
        if told + AT_ONCE < len(pairs):
            self._system.loop.call_soon(self._stop_some, pairs, told + AT_ONCE, timers)
        else:
            timers.arm()

    async def _run_stop(
        self, stop: ev.Stop, slot: Slot, how: Shutdown, timers: SharedTimers | None = None
    ) -> None:
        exit_ = await stop_slot(slot, how)
        if timers is not None:
            timers.ended(slot)
        self.feed(ev.Stopped(stop.name, stop.generation, exit_))

    def _end(self, action: ev.End) -> None:
        self._drop_timer(action.name)
        slot = self.slots.pop(action.name, None)
        if slot is None:
            return
        slot.on_down = None
        exit_ = action.exit or slot.exit or slot.make_exit("shutdown")
        if self._system.lifecycle:
            task = self._system.spawn(runtime.end(slot, exit_))
            self._ends[action.name] = task
            task.add_done_callback(partial(self._ended, action.name))
        else:
            runtime.end_now(slot, exit_)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._ends.get(name) is task:
            del self._ends[name]

    def _retry(self, action: ev.Retry) -> None:
        backoff = self.state.policy.backoff
        due = ev.RetryDue(action.name, action.generation)
        if backoff is None:
            # The loop's own queue cannot refuse it, and lets all that waits come first.
            self._system.loop.call_soon(self.feed, due)
            return
        delay = backoff.delay(action.failures, self._chance)
        self._drop_timer(action.name)
        self._timers[action.name] = self._system.clock.call_later(delay, self.feed, due)
        for child in self._down_with(action.name):
            if (slot := self.slots.get(child)) is not None:
                slot.retry_after = delay

    def _chance(self) -> float:
        """A number in [0, 1); 0 where the supervisor's own `rng` gives none."""
        try:
            number = self._random()
            if 0.0 <= number <= 1.0:
                return float(number)
        except BaseException as error:
            self._system.report_hook_failure(runtime.slot_of(self._ref), "rng", error)
        return 0.0

    def _down_with(self, name: str) -> list[str]:
        """The child, and those whose turn comes after its next try."""
        if self.state.policy.strategy == "one_for_one":
            return [name]
        waiting = [one.name for one in self.state.children if one.phase is Phase.QUEUED]
        return [name, *waiting]

    def _drop_timer(self, name: str) -> None:
        if (handle := self._timers.pop(name, None)) is not None:
            handle.cancel()

    def _answer(self, action: ev.Answer) -> None:
        reply = self._replies.pop(action.token)
        slot = self.slots.get(action.name)
        self._after_end(action.name, partial(reply.answer, None if slot is None else slot.ref))

    def _refuse(self, action: ev.Refuse) -> None:
        reply = self._replies.pop(action.token)
        error = Refused(_refusal(action), code=action.reason)
        if action.exit is not None:
            error.__cause__ = action.exit.error
        self._after_end(action.name, partial(reply.refuse, error))

    def _after_end(self, name: str, call: Callable[[], None]) -> None:
        """Make the call when the slot of that name that is being closed is closed."""
        if (ending := self._ends.get(name)) is None:
            call()
        else:
            ending.add_done_callback(lambda _task: call())

    def _note(self, note: ev.Note) -> None:
        system = self._system
        if note.event == "progress" and not is_heard(system.events):
            return
        slot = self.slots.get(note.child)
        child = self.state.children.get(note.child)
        report = report_of(
            note,
            supervisor=self._ref.name,
            ref=None if slot is None else slot.urn,
            restarts=0 if child is None else child.restarts,
            now=system.clock.monotonic(),
        )
        publish(report, system.events)

    def _is_up(self, _action: ev.Booted) -> None:
        if not self._booted.done():
            self._booted.set_result(None)

    def _finish(self, action: ev.Finish) -> None:
        for name in tuple(self._timers):
            self._drop_timer(name)
        if self._ends:
            self._system.spawn(self._finish_after(tuple(self._ends.values()), action.verdict))
        else:
            self._finish_now(action.verdict)

    async def _finish_after(
        self, ends: tuple[asyncio.Task[None], ...], verdict: ev.Verdict
    ) -> None:
        await asyncio.wait(ends)
        self._finish_now(verdict)

    def _finish_now(self, verdict: ev.Verdict) -> None:
        if self._finished.done():
            return
        self._finished.set_result(verdict)
        self.on_finish(verdict)

    _CARRY: ClassVar[dict[type, Callable[[Executor, Any], None]]] = {
        ev.Start: _start,
        ev.Stop: _stop,
        ev.StopAll: _stop_all,
        ev.End: _end,
        ev.Retry: _retry,
        ev.Answer: _answer,
        ev.Refuse: _refuse,
        ev.Note: _note,
        ev.Booted: _is_up,
        ev.Finish: _finish,
    }


def _refusal(action: ev.Refuse) -> str:
    words = {
        "already_started": "is running already",
        "already_present": "is listed already; restart or delete it",
        "not_found": "is not a child of this supervisor",
        "running": "is running; terminate it first",
        "restarting": "is being restarted; terminate it first",
        "max_children": "would be one more than max_children allows",
        "start_failed": f"did not start: {action.exit}",
        "terminated": "was terminated before it had started",
        "shutting_down": "comes too late: the supervisor is shutting down",
        "not_started": "comes too early: the supervisor has not started",
    }
    return f"child {action.name!r} {words.get(action.reason, action.reason)}"
