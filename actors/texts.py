"""Text as it can be sent, and the one place that makes text of what users raise.

The class of an exception, its `__str__`, its `__repr__`, its `__cause__` and its
`__traceback__` are a user's code: they may raise, exit, or return megabytes. What
is asked of them is asked here, and nothing here raises, whatever they do. Answers,
dead letters, reports, logs, events and spans take their words from here.

Imports nothing of this package.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "class_name",
    "exc_info_of",
    "full_class_name",
    "line_of",
    "repr_of",
    "sendable",
    "text_of",
    "trace_of",
]

ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None]"

# Read from `type` and `BaseException` themselves: a metaclass, a property or a
# `__getattribute__` of a user's class has no part in it.
_NAME: Final[Any] = vars(type)["__name__"].__get__
_QUALNAME: Final[Any] = vars(type)["__qualname__"].__get__
_MODULE: Final[Any] = vars(type)["__module__"].__get__
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"].__get__


def sendable(text: str) -> str:
    """Return `text` with lone surrogates escaped: they have no UTF-8, so no wire takes them."""
    # Of `str` itself: what a user's `__str__` returns may be a subclass of it.
    return str.encode(text, "utf-8", "backslashreplace").decode()


def class_name(value: object) -> str:
    """The name of the class of `value`."""
    return sendable(_NAME(type(value)))


def full_class_name(value: object) -> str:
    """The module and qualified name of the class of `value`."""
    kind = type(value)
    return f"{text_of(_MODULE(kind))}.{sendable(_QUALNAME(kind))}"


def text_of(value: object) -> str:
    """`str(value)`, or a remark that it cannot be had; fit to be sent."""
    return _made(str, value, "its text")


def repr_of(value: object) -> str:
    """`repr(value)`, or a remark that it cannot be had; fit to be sent."""
    return _made(repr, value, "its repr")


def _made(make: Callable[[object], str], value: object, what: str) -> str:
    try:
        return sendable(make(value))
    except BaseException as failure:
        # A user's code that raises, or exits, where a word was asked for: the word is missing.
        return f"({what} cannot be had: {class_name(failure)})"


def line_of(error: BaseException) -> str:
    """The class and the text of `error`, as the last line of a traceback has them."""
    return f"{class_name(error)}: {text_of(error)}"


def trace_of(error: BaseException, limit: int = -40) -> str:
    """The traceback of `error` and its causes, as text; `limit` as in `traceback`."""
    try:
        return sendable("".join(_seen(error, limit).format()))
    except BaseException:
        # `__cause__`, `__notes__` or the like is a user's: the way here and the class remain.
        return f"{_way_of(error, limit)}{line_of(error)}\n"


def exc_info_of(error: BaseException) -> ExcInfo:
    """What a logger may be given as `exc_info`: `error`, or a stand-in if it cannot be shown."""
    way: TracebackType | None = _TRACEBACK(error)
    try:
        list(_seen(error, -1).format())
    except BaseException:
        # A logger would raise the same, in the middle of its handlers.
        return Unshowable, Unshowable(line_of(error)), way
    return type(error), error, way


class Unshowable(Exception):
    """Stands in a log for an exception whose attributes cannot be read; says what it was."""


def _seen(error: BaseException, limit: int) -> traceback.TracebackException:
    return traceback.TracebackException(type(error), error, _TRACEBACK(error), limit=limit)


def _way_of(error: BaseException, limit: int) -> str:
    try:
        return "".join(traceback.format_tb(_TRACEBACK(error), limit))
    except Exception:  # a source file that cannot be read any more
        return ""
