"""What a node's actors need and no actor makes: a pool of a database, an HTTP client, settings.

    Node(dependencies={Pool: open_pool, Settings: Settings(currency="EUR")})

    current_node().dependency(Pool)     in a handler, a constructor, a hook

Each is made once, before the node connects, in the order given, and closed after its trees have
ended, the last one first. What is called gives it: a class, a function, an async function, a
context manager of either kind, which is entered, and left at the end. What cannot be called is
the thing itself. Each is closed by itself, in a task of its own and in bounded time: whatever one
does as it closes, the others are closed and the node ends. Knows no node; of its loop alone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from actors.rules import shown
from irismq_runtime.errors import ConfigError

__all__ = ["Dependencies"]

_LOG: Final = logging.getLogger("irismq.node")
#: Seconds that closing one has at least, and that it has when it was cancelled.
_LEAST: Final = 1.0
T = TypeVar("T")


class Dependencies:
    """The dependencies of one node, by their types.

    Args:
        given: By type, what makes each, or the thing itself.

    Raises:
        ConfigError: It is no mapping of types.
    """

    __slots__ = ("_entered", "_given", "_made")

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping) or not all(isinstance(kind, type) for kind in given):
            problem = f"{shown(given)} is not a mapping of types"
            raise ConfigError("dependencies", problem, "write {Pool: open_pool}")
        self._given = dict(given)
        self._made: dict[type, Any] = {}
        #: What is to be left, the last one first.
        self._entered: list[tuple[type, Any]] = []

    async def open(self) -> None:
        """Make all of them. Raises what making one does, with nothing left open."""
        try:
            for kind, make in self._given.items():
                self._made[kind] = _fitting(kind, await self._one(kind, make))
        except BaseException:
            await self.close(_LEAST)
            raise

    async def _one(self, kind: type, make: Any) -> Any:
        made = make() if callable(make) else make
        if inspect.isawaitable(made):
            made = await made
        if make is made:  # it was open before, and whoever gave it closes it
            return made
        manager: Any = type(made)
        if hasattr(manager, "__aenter__"):
            entered = await manager.__aenter__(made)
        elif hasattr(manager, "__enter__"):
            entered = manager.__enter__(made)
        else:
            return made
        self._entered.append((kind, made))
        return entered

    async def close(self, seconds: float) -> None:
        """Close them, the last one first; what fails or takes longer is logged.

        Who is cancelled meanwhile waits for the end of it, which is bounded.
        """
        self._made.clear()
        closing = asyncio.ensure_future(self._close(max(_LEAST, seconds)))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.wait([closing])
            raise

    async def _close(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time
        latest = now() + seconds
        while self._entered:
            kind, manager = self._entered.pop()
            task = asyncio.ensure_future(_leave(manager))
            late = not (await asyncio.wait([task], timeout=max(_LEAST, latest - now())))[0]
            if late:
                task.cancel()
                await asyncio.wait([task], timeout=_LEAST)
            name, error = kind.__qualname__, task.result() if task.done() else None
            if not task.done():
                _LOG.error("Closing the dependency %s does not end: going on without it", name)
            elif late or error is not None:
                why = "took too long" if late else "failed"
                _LOG.error("Closing the dependency %s %s", name, why, exc_info=error)

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


async def _leave(manager: Any) -> BaseException | None:
    """Leave it; returns what that raised, as an exit that a task raises ends the loop."""
    kind: Any = type(manager)
    try:
        if hasattr(kind, "__aenter__"):
            await kind.__aexit__(manager, None, None, None)
        else:
            kind.__exit__(manager, None, None, None)
    except BaseException as error:
        return error
    return None


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
