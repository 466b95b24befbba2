"""Letting everything run that can run, without waiting for time to pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from actors.system import System

__all__ = ["settle"]

#: Turns of the loop without any turn of an actor that count as rest.
REST: Final = 8


async def settle(system: System) -> None:
    """Give the loop turns until the actors of `system` are at rest. Loop thread only.

    At rest: for some turns of the loop no handler has begun or gone on. What waits for a
    clock, a thread or a socket is at rest too.

    Args:
        system: Whose actors are to have handled what waits.
    """
    quiet = 0
    while quiet < REST:
        turns = system.turns
        await asyncio.sleep(0)
        quiet = quiet + 1 if system.turns == turns else 0
