"""Many small cases in one test, which fails at its end with each case that failed.

A case as a test of its own costs some milliseconds in each worker, before it does
anything: what walks through hundreds of values in less than that each is one test,
or one for each group of them.

    with walk() as case:
        for value in VALUES:
            with case(value):
                assert ...

`walked` makes that of a test as `pytest.mark.parametrize` would take it: its fixtures
are made once, for all cases.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["walk", "walked"]

Case = contextlib.AbstractContextManager[None]


@contextlib.contextmanager
def walk() -> Iterator[Callable[..., Case]]:
    """Raise at the end what the cases raised, each under its name; fail if there was no case."""
    walked = 0
    failed: list[BaseException] = []

    @contextlib.contextmanager
    def case(*name: object) -> Iterator[None]:
        nonlocal walked
        walked += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:
            error.add_note(f"case {', '.join(f'{part!r:.60}' for part in name)}")
            failed.append(error)

    yield case
    assert walked, "there was no case"
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {walked} cases failed", failed)


def walked(
    names: str | tuple[str, ...], values: Iterable[Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a test all `values` of the parameters `names`, one after the other."""
    several = (names,) if isinstance(names, str) else names
    cases = [(value,) if isinstance(names, str) else tuple(value) for value in values]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def test(**fixtures: Any) -> None:
            with walk() as case:
                for each in cases:
                    with case(*each):
                        function(**dict(zip(several, each, strict=True)), **fixtures)

        async def async_test(**fixtures: Any) -> None:
            with walk() as case:
                for each in cases:
                    with case(*each):
                        await function(**dict(zip(several, each, strict=True)), **fixtures)

        made = async_test if inspect.iscoroutinefunction(function) else test
        functools.update_wrapper(made, function)
        signature = inspect.signature(function)
        kept = [each for name, each in signature.parameters.items() if name not in several]
        made.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]  # read by pytest
        return made

    return decorate
