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
from supervisors._policy import checked_policy
from supervisors.errors import SpecError
from supervisors.spec import ChildSpec

if TYPE_CHECKING:
    from supervisors._keeper import Keeper
    from supervisors._state import Policy
    from supervisors.backoff import Backoff

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

    def __init__(
        self,
        *,
        max_children: int | None = None,
        max_restarts: int | None = -1,
        max_seconds: float | None = None,
        backoff: Backoff | tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        if max_children is not None:
            self.max_children = max_children
        if max_restarts != -1:
            self.max_restarts = max_restarts
        if max_seconds is not None:
            self.max_seconds = max_seconds
        if backoff is not None:
            self.backoff = backoff

    @classmethod
    def of(cls, *, name: str | None = None, **options: Any) -> ChildSpec:
        """A dynamic supervisor as a value, with the options of the constructor."""
        _checked(cls(**options))
        return ChildSpec(cls, (), options, name or "")

    def policy(self) -> Policy:
        """See `Supervising.policy`."""
        return _checked(self)

    def specs(self) -> tuple[ChildSpec, ...]:
        """None: children come later."""
        return ()

    def _spec_of(self, keeper: Keeper, child: object) -> ChildSpec:
        spec = super()._spec_of(keeper, child)
        if spec.name != spec.actor_class.__name__:
            return spec
        while True:
            self._number += 1
            name = f"{spec.name}-{self._number}"
            if keeper.state.children.get(name) is None:
                return replace(spec, name=name)


def _checked(owner: Any) -> Policy:
    if owner.strategy != "one_for_one":
        raise SpecError("invalid_strategy", owner.strategy, "dynamic children are one_for_one")
    return checked_policy(owner, dynamic=True, max_children=owner.max_children)
