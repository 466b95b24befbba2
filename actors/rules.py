"""What the value of an option may be: rules, and the complaint about a value.

Pure functions of one value. A rule takes whatever a caller without a type checker
may give and never raises; who reads the option turns a complaint into the error of
its own floor, with the option's name. `True` is not a number, NaN and infinity are
no times, and a text is not read as one: what a command line reads has been read
before it comes here.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "FLAG",
    "LONGEST",
    "POSITIVE_SECONDS",
    "SECONDS",
    "TEXT",
    "Rule",
    "complaints",
    "count",
    "need",
    "number",
    "one_of",
    "optional",
    "seconds",
    "shown",
    "text",
    "value_of",
]

#: The longest time that is taken, in seconds: a hundred years. Longer ones are the
#: same to a person, and overflow in a timer, a lock or milliseconds on a wire.
LONGEST: Final = 3_153_600_000.0


class Rule(NamedTuple):
    """`takes(value)` says whether it will do; `wanted` is what to give, for a person.

    `secret`: a complaint says the class of the value alone.
    """

    wanted: str
    takes: Callable[[Any], bool]
    secret: bool = False

    def complaint(self, value: object) -> str:
        """What is wrong with `value`, as half a sentence; empty when it will do."""
        if self.takes(value):
            return ""
        what = f"a {type(value).__name__}" if self.secret else shown(value)
        return f"{what} is not {self.wanted}"


def shown(value: object) -> str:
    """A value for a message: short, and made whatever its `repr` does."""
    try:
        return reprlib.repr(value)
    except Exception:  # the repr is the user's, and may raise anything
        return f"a {type(value).__name__}"


def number(low: float, high: float, unit: str, *, above: bool = False) -> Rule:
    """A number from `low` (`above`: more than it) to `high`; `unit` is what it counts."""

    def takes(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return (low < value if above else low <= value) and value <= high  # NaN is neither

    least = f"more than {low:g}, and at most" if above else f"from {low:g} to"
    return Rule(f"a finite number{unit} {least} {high:,.10g}", takes)


def seconds(low: float = 0.0, high: float = LONGEST, *, above: bool = False) -> Rule:
    """A time in seconds, within these bounds."""
    return number(low, high, " of seconds", above=above)


def count(low: int, high: int) -> Rule:
    """A whole number from `low` to `high`."""

    def takes(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Rule(f"a whole number from {low:,} to {high:,}", takes)


def one_of(*words: str) -> Rule:
    """One of these texts."""

    def takes(value: Any) -> bool:
        return isinstance(value, str) and value in words

    return Rule(f"one of {', '.join(words)}", takes)


def text(least: int = 0) -> Rule:
    """A text of at least so many characters that UTF-8 can carry."""

    def takes(value: Any) -> bool:
        return isinstance(value, str) and len(value) >= least and _encodes(value)

    return Rule("a text" if not least else "a text that is not empty", takes)


def value_of(kind: type | tuple[type, ...], wanted: str) -> Rule:
    """A value of this class; `wanted` names it."""
    return Rule(wanted, lambda value: isinstance(value, kind))


def optional(rule: Rule) -> Rule:
    """None, or what `rule` takes."""
    return Rule(f"{rule.wanted}, or None", lambda value: value is None or rule.takes(value))


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


#: Any time, none at all included.
SECONDS: Final = seconds()
#: A time that is longer than none.
POSITIVE_SECONDS: Final = seconds(above=True)
FLAG: Final = value_of(bool, "True or False")
TEXT: Final = text()


def complaints(rules: Mapping[str, Rule], owner: object) -> Iterator[tuple[str, str]]:
    """The name of each attribute of `owner` that breaks its rule, and how."""
    for name, rule in rules.items():
        complaint = rule.complaint(getattr(owner, name))
        if complaint:
            yield name, complaint


def need(rule: Rule, name: str, value: Any) -> Any:
    """Return `value`. Raises `ValueError` that names the option when it breaks the rule."""
    complaint = rule.complaint(value)
    if complaint:
        raise ValueError(f"{name}={complaint}")
    return value


def check_seconds(name: str, value: float) -> float:
    """Return `value` when it is a time in seconds that can be waited for; else `ValueError`."""
    if type(value) is float and 0.0 <= value <= LONGEST:  # as most are, with each ask
        return value
    seconds_: float = need(SECONDS, name, value)
    return seconds_
