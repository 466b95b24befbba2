"""What may stand around an actor: watchers, watched, timers, the stash.

Most actors have none of these, so a cell makes this on demand. Watches that an
incarnation set and its timers end with it; the stash goes back to the front of
the inbox, in order; those who watch the slot stay until the slot has ended.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors._parcels import Stamped
from actors.exits import Exit, Terminated

if TYPE_CHECKING:
    from actors._cell import Cell
    from actors.ref import ActorRef
    from actors.timers import Timer

__all__ = ["Bystanders"]


class Bystanders:
    """The company of one slot. Loop thread, except for the stash of a thread."""

    __slots__ = ("stash", "timers", "watchers", "watching")

    def __init__(self) -> None:
        #: Who wants to know of the end, and which incarnation of them.
        self.watchers: dict[ActorRef[Any], int] = {}
        #: Whose end this incarnation wants to know.
        self.watching: dict[Any, None] = {}
        self.timers: set[Timer] = set()
        self.stash: deque[Any] = deque()

    def put_away(self, cell: Cell) -> None:
        """The incarnation is over."""
        for timer in tuple(self.timers):
            timer.cancel()
        for ref in tuple(self.watching):
            ref.unwatched_by(cell.ref)
        self.watching.clear()
        self.unstash(cell)

    def unstash(self, cell: Cell) -> None:
        """Put what was stashed before what waits, in the order of stashing."""
        while self.stash:
            cell.inbox.appendleft(self.stash.pop())

    def tell_watchers(self, ref: ActorRef[Any], exit_: Exit) -> None:
        """The slot has ended: each watcher is told once."""
        watchers, self.watchers = self.watchers, {}
        for watcher, incarnation in watchers.items():
            self.tell(watcher, ref, exit_, incarnation)

    @staticmethod
    def tell(watcher: ActorRef[Any], ref: ActorRef[Any], exit_: Exit, incarnation: int) -> None:
        """Put `Terminated` in the inbox of the watcher, full or not."""
        cell = watcher._cell  # noqa: SLF001  # refs and cells are one module in two files
        if not cell.ended:
            cell.put_system(Stamped(cell, Terminated(ref, exit_), incarnation))
