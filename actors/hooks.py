"""Which hooks a class of actors fills, found once when the class is made.

A hook that is not filled is not called: most actors have none, and starting
and stopping them then needs no call and no task.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

__all__ = ["Hooks"]


class Hooks(NamedTuple):
    """True for each hook that the class (or a base that is not ours) fills."""

    on_start: bool
    after_start: bool
    on_stop: bool
    on_failure: bool
    #: `on_stop(self, reason)`, as against Pykka's `on_stop(self)`.
    stop_takes_reason: bool

    @staticmethod
    def of(actor_class: type) -> Hooks:
        """Look at the methods of `actor_class`."""
        on_stop = getattr(actor_class, "on_stop", None)
        return Hooks(
            on_start=_filled(actor_class, "on_start"),
            after_start=_filled(actor_class, "after_start"),
            on_stop=_filled(actor_class, "on_stop"),
            on_failure=_filled(actor_class, "on_failure"),
            stop_takes_reason=on_stop is not None and _takes_one(on_stop),
        )


def _filled(actor_class: type, name: str) -> bool:
    method = getattr(actor_class, name, None)
    return (
        method is not None
        and not getattr(method, "__unfilled__", False)
        and getattr(method, "__module__", "") != "pykka._actor"
    )


def _takes_one(method: Any) -> bool:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return any(
        parameter.kind
        in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY)
        for parameter in parameters
    )
