"""Middleware: what a system puts around each handler of its actors.

    async def timed(context: Context, message: Any, call_next: CallNext) -> Any:
        began = time.perf_counter()
        try:
            return await call_next(message)
        finally:
            took(type(message), time.perf_counter() - began)

    System(middleware=[timed])

The first one given is the outermost. Each gets the circumstances of the message, the
message, and what calls the next one or at last the handler; what it returns answers, what it
raises is what the handler raised, and the message that it hands on is the one that is
handled. They stand around what `@receives` and `on_receive` take, what `become` has put in
their place, and calls of methods (a `ProxyCall`); not around hooks, and not around
supervisors. A system without any has nothing around its handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias

from actors._fixed import OWN_MESSAGES
from actors.context import Context
from actors.rules import shown

if TYPE_CHECKING:
    from actors.handlers import Handler, Lookup

__all__ = ["CallNext", "Middleware", "checked_middleware", "within"]

CallNext: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Calls what is further in with a message, and gives what that returns."""

Middleware: TypeAlias = Callable[[Context, Any, CallNext], Awaitable[Any]]
"""What stands around handlers: it gets circumstances, message, and what is further in."""


def checked_middleware(given: Any) -> tuple[Middleware, ...]:
    """Return what is given, in order. Raises `ValueError` for what cannot be called."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise ValueError(f"middleware={shown(given)} is not a list of middleware")  # noqa: TRY004  # as each option of a system
    middleware = tuple(given)
    for each in middleware:
        if not callable(each):
            raise ValueError(f"middleware={shown(each)} cannot be called")  # noqa: TRY004  # as each option of a system
    return middleware


def within(middleware: tuple[Middleware, ...], lookup: Lookup) -> Lookup:
    """Return a lookup of the same handlers, each within `middleware`."""
    return lookup.around(partial(_around, middleware), OWN_MESSAGES)


def _around(middleware: tuple[Middleware, ...], handler: Handler) -> Handler:
    async def handled(actor: Any, message: Any) -> Any:
        context = actor.context
        call: CallNext = partial(_handle, handler, actor)
        for each in reversed(middleware):
            call = partial(_next, each, context, call)
        return await call(message)

    return handled


async def _handle(handler: Handler, actor: Any, message: Any) -> Any:
    result = handler(actor, message)
    return await result if type(result) is CoroutineType else result


async def _next(middleware: Middleware, context: Context, call: CallNext, message: Any) -> Any:
    result: Any = middleware(context, message, call)
    if type(result) is CoroutineType or hasattr(type(result), "__await__"):
        return await result
    name = getattr(middleware, "__qualname__", type(middleware).__qualname__)
    raise TypeError(
        f"the middleware {name} returned {shown(result)}, which cannot be awaited: "
        "make it an async function that awaits call_next(message)"
    )
