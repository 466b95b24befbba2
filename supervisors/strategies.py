"""Whom a failure concerns: the three strategies of OTP.

`one_for_one`: the failed child alone. `one_for_all`: every child. `rest_for_one`:
the failed one and those started after it. What is concerned is stopped in reverse
order and started in order, by others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from supervisors._children import Child, Children

__all__ = ["STRATEGIES", "Strategy", "concerned"]

#: Whom the failure of one child concerns: it alone, all, or those started after it too.
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")


def concerned(strategy: Strategy, children: Children, failed: Child) -> list[Child]:
    """The children that a failure of `failed` concerns, itself among them, in start order."""
    if strategy == "one_for_one":
        return [failed]
    if strategy == "one_for_all":
        return children.ordered()
    return [one for one in children.ordered() if one.seat >= failed.seat]
