"""A unit around each handler of a durable actor.

The plain way, without a task: begin, call the handler, end. Whatever has to be waited for
takes the other way, as a coroutine: a handler that awaits, a right that is looked up, a state
that is loaded, a commit that others have to make first. An error leaves the actor when what
returned before it is committed, so that what others hear of it really was; if that was undone,
so is the error, and the message runs again.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager, suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from irismq_runtime.durability.sql import is_of_the_store, return_with_rows
from irismq_runtime.durability.unit import current_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.unit import Unit

__all__ = ["in_unit"]


def in_unit(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return what is called in the place of `handler`: the same, within a unit."""
    if inspect.iscoroutinefunction(handler):

        async def run(actor: Any, message: Any) -> Any:
            return await _run(handler, actor, message)

        return run

    def begin(actor: Any, message: Any) -> Any:
        activation: Activation = actor.__activation__
        item = activation.slot.current
        if not activation.is_ready_for(item):
            return _run(handler, actor, message)
        unit = activation.begin(item)
        token = current_unit.set(unit)
        try:
            result = handler(actor, message)
            if type(result) is not CoroutineType:
                return activation.returned(unit, result)
        except BaseException as error:
            if activation.undo(unit, error) or unit.question is not None:
                return _raised(activation, unit, error)
            raise
        finally:
            current_unit.reset(token)
        return _rest(activation, unit, result)

    return begin


async def _run(handler: Callable[[Any, Any], Any], actor: Any, message: Any) -> Any:
    """The way with waiting."""
    activation: Activation = actor.__activation__
    item = activation.slot.current
    with _in_hand(activation):
        if not activation.is_ready_for(item) and not await activation.prepare(item):
            return None
        return await _end(activation, activation.begin(item), handler, actor, message)


async def _rest(activation: Activation, unit: Unit, coroutine: Any) -> Any:
    """A plain handler has returned a coroutine: what is left of it."""
    with _in_hand(activation):
        return await _end(activation, unit, _given, coroutine)


async def _end(
    activation: Activation, unit: Unit, call: Callable[..., Any], *arguments: Any
) -> Any:
    """What `call` returns, awaited where it is a coroutine, and with it the end of `unit`."""
    token = current_unit.set(unit)
    try:
        result = call(*arguments)
        if type(result) is CoroutineType:
            result = await result
        if unit.uses_sql:
            await return_with_rows(activation, unit, result)
            return None
        return activation.returned(unit, result)
    except BaseException as error:
        activation.undo(unit, error)
        await _wait_for_those_before(activation, unit, error)
        return None
    finally:
        with suppress(ValueError):  # a coroutine that is thrown away is closed in any context
            current_unit.reset(token)


def _given(coroutine: Any) -> Any:
    return coroutine


@contextmanager
def _in_hand(activation: Activation) -> Iterator[None]:
    """A message is in hand that waits: what is to be handled again comes after it."""
    activation.in_hand = True
    try:
        yield
    finally:
        activation.in_hand = False
        activation.put_again()


async def _raised(activation: Activation, unit: Unit, error: BaseException) -> None:
    """A plain handler has raised, and others have returned before it."""
    with _in_hand(activation):
        await _wait_for_those_before(activation, unit, error)


async def _wait_for_those_before(activation: Activation, unit: Unit, error: BaseException) -> None:
    """Raise `error` when what returned before is committed; else its message runs again."""
    if unit.generation == activation.generation:
        ended = isinstance(error, GeneratorExit | asyncio.CancelledError)
        if ended:
            raise error
        if is_of_the_store(error, unit):
            activation.engine.committer.failed_alone(activation, error)
            activation.run_again(unit)
            return
        if activation.keep_refusal(unit, error):
            return
        if await activation.flushed(unit.generation):
            raise error
    elif isinstance(error, GeneratorExit):
        raise error
    activation.run_again(unit)
