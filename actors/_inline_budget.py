"""How many asks a system may handle inline, and for whom; see _inline.py.

A decision, and what it remembers: it runs nothing. It keeps two things from harm. The loop
is not kept from others: after so many asks, or so much time, the next one takes the long way.
The stack does not grow: not with a caller that stands deep in its own calls, nor with actors
that ask one another in a chain. A caller that has been cancelled waits, as that is where it
learns of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

    from actors.ask import Ask

__all__ = ["InlineBudget"]

#: Asks that are handled inline before the loop has its turn, ...
ASKS: Final = 64
#: ... and the seconds in which they began.
SECONDS: Final = 0.005
#: Asks that wait for one another, inline or not, of which the last may still be inline.
CHAIN: Final = 8
#: Frames of Python below a caller for which asks are handled inline.
FRAMES: Final = 200


class InlineBudget:
    """What one system may still handle inline before its loop has had its turn. Loop thread."""

    __slots__ = ("_caller", "_until", "left")

    def __init__(self) -> None:
        #: Set to `ASKS` by every turn that the loop has called.
        self.left = ASKS
        self._until = 0.0
        #: Whose stack and chain were looked at since.
        self._caller: object = None

    def take(self, ask: Ask[Any], caller: asyncio.Task[Any]) -> bool:
        """Take one ask off, which `caller` awaits now. False: it may not be handled inline."""
        left = self.left
        began = ask.deadline - ask.timeout
        if left == ASKS:
            self._until = began + SECONDS
            self._caller = None
        elif not left or began > self._until:
            return False
        if caller.cancelling():
            return False
        if caller is not self._caller:
            if len(ask.chain()) > CHAIN or _is_deep():
                return False
            self._caller = caller
        self.left = left - 1
        return True


def _is_deep() -> bool:
    """Whether the stack is deeper than `FRAMES`; made to cost little where it is not."""
    try:
        sys._getframe(FRAMES)  # noqa: SLF001  # the documented way to see one's own stack
    except ValueError:
        return False
    return True
