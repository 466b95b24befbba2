"""What the options of a `System` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.rules import POSITIVE_SECONDS, SECONDS, TEXT, Rule, count, need, optional

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_options"]

_RULES: Final[Mapping[str, Rule]] = {
    "name": TEXT,
    "inbox_limit": count(1, 2**31),
    "ask_timeout": SECONDS,
    "dead_letter_limit": count(0, 2**31),
    "blocked_after": optional(POSITIVE_SECONDS),
    "slow_after": POSITIVE_SECONDS,
}


def check_options(**options: Any) -> None:
    """Raise `ValueError` that names the first option without meaning."""
    for name, value in options.items():
        need(_RULES[name], name, value)
