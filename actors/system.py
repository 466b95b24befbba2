"""`System`: the actors of one loop, and what they share.

A system is bound to one loop: the one that runs where the first actor is
started, or, when none runs there, one on a background thread that is started on
demand. It owns the registry, the dead letters, the deadlines of asks, the
events and the clock. There is no global registry: two systems in one process
know nothing of each other.

Refs may be used from any thread; everything else here belongs to the loop
unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from actors._current import current_slot
from actors._slot_kinds import new_slot
from actors._starting import construct
from actors._stopping import end, on_incarnation_end, stop
from actors._system_core import Lifecycle, SystemCore
from actors.counters import ClassCounters, Counters, counters_of
from actors.current import current_system

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from actors._slot import Slot
    from actors.delivery import Scope
    from actors.ref import ActorRef
    from actors.slow import SlowHandler

__all__ = ["Counters", "Lifecycle", "Statistics", "System", "default_system"]

A = TypeVar("A")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Statistics:
    """A system at one moment. `stuck_threads` and `slow_handlers` should be empty."""

    actors: int
    pending_asks: int
    async_handlers: int
    threads: int
    stuck_threads: tuple[str, ...]
    slow_handlers: tuple[SlowHandler, ...]
    dead_letters: Mapping[str, int]
    late_answers: int
    expired: int
    refused: int


class System(SystemCore):
    """A world of actors on one loop.

    `inbox_limit` is in messages, `ask_timeout` in seconds. `loop_factory` makes
    the loop of a background thread. A handler that blocks the loop for `blocked_after`
    seconds is reported (None: no watchdog), and so is one that runs for `slow_after`
    seconds without blocking it. `middleware` stands around the handlers of its actors, the
    first outermost. Raises `ValueError` that names the option.
    """

    # -- the registry

    @overload
    def start(
        self, actor_class: type[A], /, *args: Any, name: str | None, **kwargs: Any
    ) -> ActorRef[A]: ...

    @overload
    def start(
        self, actor_class: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[A]: ...

    def start(  # type: ignore[misc]  # a constructor's own `name` is not reached
        self, actor_class: Any, /, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start an actor outside of any supervisor. Any thread.

        The constructor runs here and now, and what it raises is raised; `on_start` runs soon
        (`await ref.started()`). When the actor crashes it has ended.

        A supervisor that is started by an actor's own code belongs to that actor: it ends
        with its incarnation, and is seen below it.

        Args:
            actor_class: A class of actors, ours or Pykka's with threads.
            args: What the constructor is given.
            name: Its name; None: that of the class.
            kwargs: What the constructor is given by name.

        Returns:
            Its ref, at once.

        Raises:
            TypeError: nothing here knows how to run that class.
        """
        self.attach()
        slot = new_slot(self, actor_class, args, kwargs, name=name)
        owner: Slot | None = current_slot.get()  # type: ignore[assignment]  # every view is one of a slot
        if owner is not None and owner.system is self and getattr(actor_class, "__owned__", False):
            slot.parent = owner.ref
            self.call_on_loop(self._own, owner, owner.incarnation, slot)
        construct(slot)
        slot.launch()
        return slot.ref

    def _own(self, owner: Slot, incarnation: int, slot: Slot) -> None:
        """`slot` ends with that incarnation of `owner`."""
        if owner.ended or owner.incarnation != incarnation or owner.actor is None:
            self.spawn(self._end_owned(owner, slot))
            return
        owned = owner.attachments().owned
        owned[slot] = None
        if len(owned) == 1:
            on_incarnation_end(owner, partial(self._end_all_owned, owner))

    def _end_all_owned(self, owner: Slot) -> None:
        attached = owner.attachments()
        owned, attached.owned = attached.owned, {}
        for slot in reversed(owned):
            self.spawn(self._end_owned(owner, slot))

    @staticmethod
    async def _end_owned(owner: Slot, slot: Slot) -> None:
        """In order with an owner that ends in order, else at once."""
        orderly = owner.exit is not None and not owner.exit.abnormal
        await end(slot, await stop(slot, "shutdown", 5.0 if orderly else 0.0))

    def find(self, urn: str) -> ActorRef[Any] | None:
        """Return the ref of the slot with this urn. Any thread.

        Args:
            urn: As `ref.actor_urn` gives it.

        Returns:
            The ref; None when the slot has ended, or is not of this system.
        """
        prefix, _, serial = urn.rpartition(":")
        if prefix != f"urn:actor:{self._id}" or not serial.isascii() or not serial.isdigit():
            return None
        slot = self._slots.get(int(serial))
        return None if slot is None else slot.ref

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """Return the ref of the actor whose class has this `registered_name`. Any thread.

        It has the name from its constructor's end until it has ended, restarts included.

        Args:
            name: The name.

        Returns:
            The ref, good as long as the actor has not ended; None when nobody has the name.
        """
        slot = self._registered.get(name)
        return None if slot is None else slot.ref

    def actors(self) -> list[ActorRef[Any]]:
        """The refs of all slots that have not ended, oldest first. Any thread."""
        return [slot.ref for slot in self.slots()]

    def propagate_context(
        self, scope_here: Callable[[], Scope | None], in_force: Collection[object]
    ) -> None:
        """Let local messages take along what is in force where they are sent, as a trace is.

        For the actors that start from now on.

        Args:
            scope_here: Called where a message is sent; what it gives is in force while the
                message is handled. None: nothing is.
            in_force: Empty while nothing is in any handler. Looked at before `scope_here` is
                called, for each tell.
        """
        from actors.scoped_ref import scoped_ref

        self.ref_class = scoped_ref(scope_here, in_force)

    def counters_by_class(self) -> dict[type, ClassCounters]:
        """What the actors of each class have done, and how many there are. Loop thread."""
        return counters_of(list(self._slots.values()), self.past)

    def __len__(self) -> int:
        return len(self._slots)

    def __bool__(self) -> bool:
        return True

    # -- the end

    async def shutdown(self, timeout: float | None = 5.0) -> None:
        """End every actor, the latest started first. Loop thread.

        Actors under a supervisor are ended by it.

        Args:
            timeout: Seconds for each actor; those that do not end are abandoned and reported.
                None: for ever.
        """
        if not self.thread_id:
            return
        ending = [
            self.loop.create_task(self._end_root(slot, timeout))
            for slot in reversed(list(self._slots.values()))
            if slot.parent is None
        ]
        if ending:
            await asyncio.gather(*ending)
        rest = self._spawned - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=timeout)
        self.deadlines.close()
        if self._watchdog is not None:
            self._watchdog.stop()

    @staticmethod
    async def _end_root(slot: Slot, timeout: float | None) -> None:
        await end(slot, await stop(slot, "shutdown", timeout))

    def statistics(self) -> Statistics:
        """What the system holds now, as one value. Loop thread."""
        self.stuck_threads = [thread for thread in self.stuck_threads if thread.is_alive()]
        return Statistics(
            actors=len(self._slots),
            pending_asks=self.deadlines.pending(),
            async_handlers=len(self.tasks),
            threads=len(self.threads),
            stuck_threads=tuple(thread.name for thread in self.stuck_threads),
            slow_handlers=tuple(self.slow.now()),
            dead_letters=self.dead_letters.counts,
            late_answers=self.counters.late_answers,
            expired=self.counters.expired,
            refused=self.counters.refused,
        )


_by_loop: weakref.WeakValueDictionary[int, System] = weakref.WeakValueDictionary()
_in_background: list[System] = []


def default_system() -> System:
    """The system in which `ActorClass.start()` starts.

    Inside an actor: the actor's. On a thread whose loop runs: that loop's.
    Elsewhere: one for the process, whose loop runs on a background thread.
    """
    system = current_system()
    if system is not None:
        return system
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if not _in_background or _in_background[0].loop_closed():
            _in_background[:] = [System()]
        return _in_background[0]
    system = _by_loop.get(id(loop))
    if system is None or system.loop is not loop:
        system = System()
        system.attach()
        _by_loop[id(loop)] = system
    return system


def forget_defaults() -> None:
    """Make new default systems from now on."""
    _in_background.clear()
    _by_loop.clear()
