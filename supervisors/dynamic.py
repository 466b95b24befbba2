"""`DynamicSupervisor`: children that come and go at run time.

For children that are not known at the start: one per session, per order, per file.
They are unordered and independent (`one_for_one`); one that ends for good is
forgotten; at the end all are stopped at the same time, under one timer for each
length of `shutdown`. For a fixed set in a fixed order use `Supervisor`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from supervisors._base import Supervising
from supervisors._policy import DynamicOptions, checked_policy, take_options
from supervisors.errors import SpecError
from supervisors.spec import ChildSpec

if TYPE_CHECKING:
    from typing import Unpack

    from supervisors._executor import Executor
    from supervisors._state import Policy

__all__ = ["DynamicSupervisor"]


class DynamicSupervisor(Supervising):
    """Starts with no children; `start_child(ref, child(...))` adds them.

    - `max_children`: the most there may be; one more is refused with `max_children`;
    - `max_restarts`, `max_seconds`, `backoff`: as in `Supervisor`.

    A child without a name of its own gets one: its class's name and a number.
    Raises `SpecError`.
    """

    max_children: int | None = None
    _number = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _checked(cls)

    def __init__(self, **options: Unpack[DynamicOptions]) -> None:
        super().__init__()
        take_options(self, options, DynamicOptions.__optional_keys__)

    @classmethod
    def of(cls, *, name: str | None = None, **options: Unpack[DynamicOptions]) -> ChildSpec:
        """Make a dynamic supervisor as a value: to be started, or to be a child of another.

        Args:
            name: Its name; None: that of the class.
            options: As the attributes of the class.

        Returns:
            The value.

        Raises:
            SpecError: an option is not right.
        """
        cls(**options).policy()
        return ChildSpec(cls, (), dict(options), name or "")

    def policy(self) -> Policy:
        """See `Supervising.policy`."""
        return _checked(self)

    def specs(self) -> tuple[ChildSpec, ...]:
        """None: children come later."""
        return ()

    def _spec_of(self, executor: Executor, child: object) -> ChildSpec:
        spec = super()._spec_of(executor, child)
        if spec.name != spec.actor_class.__name__:
            return spec
        while True:
            self._number += 1
            name = f"{spec.name}-{self._number}"
            if executor.state.children.get(name) is None:
                return replace(spec, name=name)


def _checked(owner: Any) -> Policy:
    if owner.strategy != "one_for_one":
        raise SpecError("invalid_strategy", owner.strategy, "dynamic children are one_for_one")
    return checked_policy(owner, dynamic=True, max_children=owner.max_children)
