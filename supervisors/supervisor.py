"""`Supervisor`: ordered children under one strategy, as a class or as a value.

    class Shop(Supervisor):
        strategy = "rest_for_one"
        children = [child(Ledger, "shop.db"), child(Clerk, instances=4)]

    Shop = Supervisor.of(child(Ledger, "shop.db"), Clerk, strategy="rest_for_one")

A class is checked when it is made, a value when `of` is called: what OTP would
refuse at the start is an error at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisors._base import Supervising
from supervisors._policy import Options, checked_policy, take_options
from supervisors.spec import ChildSpec, check_children

if TYPE_CHECKING:
    from typing import Unpack

    from supervisors._state import Policy

__all__ = ["Supervisor"]


class Supervisor(Supervising):
    """Starts its children in order, restarts them, and stops them in reverse.

    Attributes of the class, or options of `Supervisor.of`:

    - `children`: a sequence of `child(...)` or actor classes, or a method that gives one;
    - `strategy`: `one_for_one` (default), `one_for_all`, `rest_for_one`;
    - `max_restarts` within `max_seconds` (3 in 5): one restart more, and it stops its
      children and ends with the reason `shutdown`, which its own parent takes as a
      failure. `None` sets no limit and needs a `backoff`;
    - `backoff`: `(min, max, jitter)` seconds before each restart, or a `Backoff`;
    - `auto_shutdown`: `never` (default), `any_significant`, `all_significant`.

    Raises `SpecError` at the definition, `ChildStartFailed` at the start.
    """

    children: Any = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        checked_policy(cls)
        if not callable(cls.children) or isinstance(cls.children, type):
            check_children(cls.children, auto_shutdown=cls.auto_shutdown)

    def __init__(self, *children: ChildSpec | type[Any], **options: Unpack[Options]) -> None:
        super().__init__()
        if children:
            self.children = children
        take_options(self, options, Options.__optional_keys__)

    @classmethod
    def of(
        cls,
        *children: ChildSpec | type[Any],
        name: str | None = None,
        **options: Unpack[Options],
    ) -> ChildSpec:
        """Make a supervisor as a value: to be started, or to be a child of another.

        Args:
            children: What it starts, in this order: `child(...)` or classes.
            name: Its name; None: that of the class.
            options: As the attributes of the class.

        Returns:
            The value.

        Raises:
            SpecError: the children or the options are not right.
        """
        made = cls(*children, **options)
        made.policy()
        made.specs()
        return ChildSpec(cls, children, dict(options), name or "")

    def policy(self) -> Policy:
        """See `Supervising.policy`."""
        return checked_policy(self)

    def specs(self) -> tuple[ChildSpec, ...]:
        """See `Supervising.specs`."""
        children = self.children
        if callable(children) and not isinstance(children, type):
            children = children()
        return check_children(children, auto_shutdown=self.auto_shutdown)
