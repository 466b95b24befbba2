"""Which steps bring the tables of a store to the form that this code knows: pure.

The form has a number, which stands in the store. Steps are numbered and never changed
once they were released: a new form is a new step at the end. They run in the
transaction that holds the store's lock, so that of several nodes that start one does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_form", "check_namespace", "steps_from"]

_T = TypeVar("_T")


def steps_from(form: int, steps: Sequence[_T]) -> Sequence[_T]:
    """The steps that a store of `form` (0: empty) lacks. Raises `ConfigError`: it is newer."""
    if form > len(steps):
        raise ConfigError(
            "store",
            f"its tables have form {form}, and this version knows forms up to {len(steps)}",
            "run the version that made them, or a newer one",
        )
    return steps[form:]


def check_form(form: int, steps: Sequence[object]) -> None:
    """Raise `ConfigError` unless a store has the form of now, for who must not change it."""
    if steps_from(form, steps):
        problem = "there is no store in it" if form == 0 else f"its tables have the old form {form}"
        raise ConfigError("store", problem, "the first node that starts with it sees to that")


def check_namespace(stored: str, wanted: str) -> None:
    """Raise `ConfigError` when a store belongs to another namespace."""
    if stored != wanted:
        raise ConfigError(
            "store",
            f"it belongs to the namespace {stored!r}, this node to {wanted!r}",
            "give each namespace a store of its own",
        )
