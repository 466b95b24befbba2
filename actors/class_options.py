"""What the attributes of a class of actors may be, and slips of their names.

A class is looked at when it is made: a value that has no meaning is an
`ActorClassError` there, and a name that almost is that of an option, with a value
that looks like one of it, is a `UserWarning`. Attributes of the user's own are not
touched: both the name and the value have to look like the option. An instance is
looked at when its constructor has run, for what only the class can say.

Options of the floors above are made known by them (`known_option`), so that nothing
here knows what a supervisor or a node is.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from typing import Any, Final, NamedTuple

from actors.errors import ActorClassError
from actors.rules import FLAG, POSITIVE_SECONDS, Rule, count, optional, seconds, text

__all__ = ["check_class", "check_instance", "known_option"]


class Option(NamedTuple):
    """One option of a class. `rule`: for a slip, what looks like a value of it."""

    rule: Rule
    #: Whether a value that breaks the rule is refused here; else whoever reads it does.
    checked: bool = False
    #: How alike another name must be to count as a slip of this one.
    alike: float = 0.85
    #: The classes that have it; empty: all actors.
    owners: tuple[type, ...] = ()


def are_errors(value: Any) -> bool:
    """Whether it is a tuple of exception classes, as `refuses` is."""
    return isinstance(value, tuple) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in value
    )


_MANY: Final = count(0, 2**31)
_OPTIONS: Final[dict[str, Option]] = {
    "registered_name": Option(optional(text(1)), checked=True),
    "inbox_limit": Option(optional(count(1, 2**31)), checked=True),
    "stash_limit": Option(_MANY, checked=True),
    "crash_retries": Option(_MANY, checked=True),
    "address": Option(optional(text(1)), checked=True),
    "mailbox_window": Option(optional(count(1, 2500)), checked=True),  # nsqd's max-rdy-count
    "keeps_results": Option(optional(seconds(0.0, 30 * 86_400.0, above=True)), checked=True),
    "handler_timeout": Option(optional(POSITIVE_SECONDS), checked=True),
    "ends_with_ask": Option(FLAG, checked=True),
    "use_daemon_thread": Option(FLAG, checked=True),
    "codec": Option(optional(text(1)), checked=True),
    "foreign": Option(text(1)),
    "refuses": Option(Rule("a tuple of exception classes", are_errors), checked=True),
}
#: What is read from the class alone: an instance that sets it would not be heard.
_OF_THE_CLASS: Final = frozenset(
    {
        "registered_name",
        "inbox_limit",
        "stash_limit",
        "crash_retries",
        "handler_timeout",
        "ends_with_ask",
        "handler_rate",
        "use_daemon_thread",
    }
)


def known_option(
    name: str,
    rule: Rule,
    *,
    alike: float = 0.85,
    owner: type | None = None,
    checked: bool = False,
) -> None:
    """Make an option of a floor above known, so that slips of its name are said.

    `rule` takes what looks like a value of it. `alike`, 0 to 1: how alike a name must
    be to count as a slip; less will do where hardly anything else looks like a value.
    `owner`: the class whose subclasses have it. `checked`: whether a value that breaks the
    rule is refused when the class is made.
    """
    option = _OPTIONS.get(name, Option(rule, checked=checked, alike=alike))
    owners = option.owners if owner is None else (*option.owners, owner)
    _OPTIONS[name] = option._replace(owners=owners)


def check_class(cls: type) -> None:
    """Raise `ActorClassError` for a value without meaning, and warn of slips of names."""
    for name, value in vars(cls).items():
        option = _OPTIONS.get(name)
        if option is None or (option.owners and not issubclass(cls, option.owners)):
            if not name.startswith("_"):
                _warn_of_slip(cls, name, value)
        elif option.checked and not hasattr(value, "__get__"):  # what computes it is not looked at
            complaint = option.rule.complaint(value)
            if complaint:
                raise ActorClassError(f"{cls.__qualname__}.{name}: {complaint}")


def _warn_of_slip(cls: type, name: str, value: object) -> None:
    if value is None or any(name in vars(base) for base in cls.__mro__[1:]):
        return  # what a base class has as well is no slip
    near = (
        meant
        for meant, option in _OPTIONS.items()
        if (not option.owners or issubclass(cls, option.owners))
        and difflib.SequenceMatcher(None, name, meant).ratio() >= option.alike
        and value != ()  # which looks like a value of anything
        and option.rule.takes(value)
    )
    for meant in near:
        warnings.warn(
            f"{cls.__qualname__}.{name} is read by nobody: is {meant} meant? "
            "If not, give it a name that is less alike",
            UserWarning,
            stacklevel=_level_of(cls.__module__),
        )
        return


def _level_of(module: str) -> int:
    """How many frames above the caller the class is being made, for a warning."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  # what `warnings` itself counts
    while frame.f_back is not None and frame.f_globals.get("__name__") != module:
        level, frame = level + 1, frame.f_back
    return level


def check_instance(actor: Any) -> None:
    """Raise `ActorClassError` when the constructor set what only a class can say."""
    cls = type(actor)
    for name in _OF_THE_CLASS:
        # Looked at by name first: an instance whose `__dict__` was asked for has one from
        # then on, and each of its attributes is slower and takes more room.
        same = getattr(actor, name, None) is getattr(cls, name, None)
        if same or name not in getattr(actor, "__dict__", ()):
            continue
        raise ActorClassError(
            f"{type(actor).__qualname__}: self.{name} is not heard; "
            f"write {name} = ... in the class, beside its methods"
        )
