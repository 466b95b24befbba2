"""What a node's actors need and no actor makes: a pool of a database, an HTTP client, settings.

    Node(dependencies={Pool: open_pool, Settings: Settings(currency="EUR")})

    current_node().dependency(Pool)     in a handler, a constructor, a hook

Each is made once, before the node connects, in the order given, and closed after its trees have
ended, the last one first. What is called gives it: a class, a function, an async function, a
context manager of either kind, which is entered, and left at the end. What cannot be called is
the thing itself. Knows no node; of its loop alone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from actors.rules import shown
from irismq_runtime.errors import ConfigError

__all__ = ["Dependencies"]

_LOG: Final = logging.getLogger("irismq.node")
#: Seconds that closing has at least.
_LEAST: Final = 1.0
T = TypeVar("T")


class Dependencies:
    """The dependencies of one node, by their types.

    Args:
        given: By type, what makes each, or the thing itself.

    Raises:
        ConfigError: It is no mapping of types.
    """

    __slots__ = ("_given", "_made", "_stack")

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping) or not all(isinstance(kind, type) for kind in given):
            problem = f"{shown(given)} is not a mapping of types"
            raise ConfigError("dependencies", problem, "write {Pool: open_pool}")
        self._given = dict(given)
        self._made: dict[type, Any] = {}
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make all of them. Raises what making one does, with nothing left open."""
        try:
            for kind, make in self._given.items():
                self._made[kind] = _fitting(kind, await self._one(make))
        except BaseException:
            await self._stack.aclose()
            raise

    async def _one(self, make: Any) -> Any:
        made = make() if callable(make) else make
        if inspect.isawaitable(made):
            made = await made
        if make is made:  # it was open before, and whoever gave it closes it
            return made
        if hasattr(type(made), "__aenter__"):
            return await self._stack.enter_async_context(made)
        if hasattr(type(made), "__enter__"):
            return self._stack.enter_context(made)
        return made

    async def close(self, seconds: float) -> None:
        """Close them, the last one first; what fails or takes longer is logged."""
        self._made.clear()
        try:
            async with asyncio.timeout(max(_LEAST, seconds)):
                await self._stack.aclose()
        except Exception:  # the node ends all the same
            _LOG.exception("Closing what the node was given as dependencies failed")

    def of(self, kind: type[T]) -> T:
        """Return the one of a type. Raises `ConfigError` for none."""
        try:
            found: T = self._made[kind]
        except KeyError:
            name = getattr(kind, "__qualname__", shown(kind))
            if kind in self._given:
                remedy = "use it while the node runs"
                raise ConfigError("dependencies", f"{name} is closed", remedy) from None
            problem = f"this node was given no {name}"
            remedy = f"write Node(dependencies={{{name}: ...}})"
            raise ConfigError("dependencies", problem, remedy) from None
        return found


def _fitting(kind: type, made: Any) -> Any:
    """What was made, if it is of its type. Raises `ConfigError`."""
    try:
        fits = isinstance(made, kind)
    except TypeError:  # a Protocol that is not there at run time
        return made
    if not fits:
        problem = f"what was given for {kind.__qualname__} made {shown(made)}"
        raise ConfigError("dependencies", problem, "give what makes one of that type")
    return made
