"""A system in a forked child: it refuses everything, because its loop is the parent's.

A fork copies the loop, its sockets and every actor, but none of the other threads;
a copy that went on would write into its parent's connections. So in the child
every system that had a loop becomes a `ForkedSystem`: whatever is asked of it
raises `ForkedProcess`. A child that comes back into the loop of its parent
(because it was forked in a handler, which then returned or awaited) is ended
there, with one line on standard error. New systems may be made in the child.

Nothing of this costs anything in the parent: the hook runs in children alone,
and changes the class of the system there.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors import system as systems
from actors._system_core import ATTACHED
from actors._thread_slot import ThreadSlot
from actors.errors import ForkedProcess
from actors.system import System

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXIT_FORKED", "ForkedSystem", "Gone"]

#: Exit code of a forked child that came back into the loop of its parent.
EXIT_FORKED: Final = 70


class Gone:
    """Stands for a part that stayed in the parent: every use raises `ForkedProcess`."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        raise ForkedProcess(self._what)


def _gone(self: System) -> NoReturn:
    raise ForkedProcess(f"the system {self.name!r}")


def _leave(*_: object) -> NoReturn:
    """End the child: it is about to run what belongs to its parent."""
    sys.stderr.write(
        f"actors: process {os.getpid()} was forked in an actor and has come back into its "
        "parent's event loop: ended. End such a child with os._exit() or exec, or start "
        "it with multiprocessing's spawn\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_FORKED)


def _always(value: Any) -> Any:
    return property(lambda _: value, lambda _self, _value: None)


class ForkedSystem(System):
    """A system of the parent, in a forked child. Never made, only turned into."""

    # The pump sets these when a handler has returned, and asks for the time when one
    # has crashed: nothing may run after that.
    busy = property(lambda _: None, _leave)
    turns = property(lambda _: 0, _leave)
    clock = property(_leave)

    # No thread of the child is the loop's, ...
    thread_id = _always(-1)
    # ... and nobody reaches what is only there.
    loop = property(_gone)
    deadlines = property(_gone)
    dead_letters = property(_gone)
    counters = property(_gone)

    start: Callable[..., Any] = _gone
    statistics: Callable[..., Any] = _gone

    async def shutdown(self, timeout: float | None = 5.0) -> None:  # noqa: ARG002  # as its base
        """Refuse: the actors end in the parent."""
        _gone(self)

    def loop_closed(self) -> bool:
        """True: nothing runs there in this process."""
        return True

    def close(self, timeout: float | None = 5.0) -> None:
        """Do nothing: it is called when the child exits."""


def _in_child() -> None:
    me = threading.get_ident()
    for system in list(ATTACHED):
        if not system.thread_id or system.loop.is_closed():
            continue
        forked_on_its_loop = system.thread_id == me and system.loop.is_running()
        loop = system.loop
        for slot in system.slots():
            slot.limit = -1
            slot.scheduled = False
            if isinstance(slot, ThreadSlot) and slot.run is not None:
                # Its thread is the one that forked, or is not here: it does nothing more.
                slot.run.lock = threading.Lock()
                slot.run.abandoned = True
        system.__class__ = ForkedSystem
        if forked_on_its_loop:
            loop.call_soon(_leave)
    systems.forget_defaults()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
