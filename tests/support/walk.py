"""Many small cases in one test, which fails at its end with each case that failed.

A case as a test of its own costs some milliseconds in each worker, before it does
anything: what walks through hundreds of values in less than that each is one test,
or one for each group of them.

    with walk() as case:
        for value in VALUES:
            with case(value):
                assert ...
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["walk"]

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
