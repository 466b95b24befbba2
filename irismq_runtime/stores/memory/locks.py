"""Locks by row, as a database has them: one holder, and a line of those who wait.

Who is cancelled while it waits leaves the line; what it was just given goes to the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["RowLocks"]


class RowLocks:
    """Which rows are locked. On one loop."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def take(self, row: Hashable) -> None:
        """Lock `row`; waits while another holds it."""
        line = self._lines.get(row)
        if line is None:
            self._lines[row] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(row)
            raise

    def give_back(self, row: Hashable) -> None:
        """Unlock `row`; it is the next one's at once."""
        line = self._lines[row]
        while line:
            turn = line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._lines[row]
