"""The living objects of a class, among all that the garbage collector knows of.

A process that has run other tests holds objects whose classes misbehave when they are
asked for anything, also for their own class (`tests/support/hostile.py`). So an object's
type is looked at, and the object itself never.
"""

from __future__ import annotations

import gc
from typing import Any, TypeVar

T = TypeVar("T")


def instances_of(kind: type[T]) -> list[T]:
    """All objects of `kind` and of the classes below it that are alive; garbage as well."""
    every: list[Any] = gc.get_objects()
    return [each for each in every if issubclass(type(each), kind)]
