"""Records of events: a frozen class for each name of an event, and its form in JSON.

The packages below emit plain `actors.Event`s, because an emitter that nobody
hears must cost one attribute test and know none of this. Whoever listens may
have each as the record that the catalogue (events.py) declares under its name:
an event that is not in it, or has other fields, is an error there and then.

Nothing that a user sent is ever made text here: of a message, its type.

A record is a struct of msgspec: each process that imports a node has all the classes made,
and half a hundred dataclasses take a tenth of the time of that.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from actors import ActorRef, BlockedLoop, DeadLetter, Exit, SlowHandler
from actors.texts import class_name, line_of
from irismq_runtime.observe.logs import shorten
from irismq_runtime.safe_text import safe
from supervisors import Report
from supervisors.reports import exit_dict

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Event, Events

__all__ = ["EVENTS", "Record", "event", "on_event", "plain", "record_of"]

R = TypeVar("R", bound="type[Record]")

#: Characters of a text in plain values: a stack may be long.
_LONGEST: Final = 4000

#: Every class of event by its name; filled by the catalogue.
EVENTS: dict[str, type[Record]] = {}


class Record(msgspec.Struct, frozen=True):
    """One thing that happened: the base of every class in `EVENTS`. A value.

    Args:
        time: Seconds on the monotonic clock of the system.
    """

    #: The event's name.
    NAME: ClassVar[str] = ""

    time: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can carry.

        Returns:
            The fields by name, and the event's name under "event".
        """
        values = {name: plain(getattr(self, name)) for name in self.__struct_fields__}
        return {"event": self.NAME, **values}


def event(name: str) -> Callable[[R], R]:
    """Declare a record class as the event `name`; a second one is an error at import."""

    def declare(cls: R) -> R:
        if name in EVENTS:
            raise TypeError(f"the event {name!r} is declared twice")
        cls.NAME = name
        EVENTS[name] = cls
        return cls

    return declare


def record_of(happened: Event) -> Record:
    """Return the record of an event. For any thread.

    Args:
        happened: What an emitter told.

    Returns:
        An instance of the class that `EVENTS` has for its name.

    Raises:
        LookupError: The catalogue has no such event, or one with other fields.
    """
    cls = EVENTS.get(happened.name)
    if cls is None:
        raise LookupError(f"the event {happened.name!r} is not in the catalogue")
    try:
        return cls(time=happened.time, **happened.fields)
    except TypeError as error:
        raise LookupError(f"the event {happened.name!r} has other fields: {error}") from error


def on_event(events: Events, callback: Callable[[Any], None]) -> Callable[[], None]:
    """Call `callback` with the record of every event.

    Args:
        events: The events of a system.
        callback: Called in the thread of the emitter; it must be quick, see
            `actors.Events.subscribe`.

    Returns:
        A function that ends the calls.
    """
    return events.subscribe(lambda happened: callback(record_of(happened)))


def required_fields(cls: type[Record]) -> set[str]:
    """The fields that every event of the class has, without `time`."""
    names = cls.__struct_fields__
    return set(names[: len(names) - len(cls.__struct_defaults__)]) - {"time"}


def plain(value: Any) -> Any:
    """`value` as JSON can carry it; an object of a user by its type alone."""
    if issubclass(type(value), BaseException):
        return shorten(line_of(value))
    try:
        return _plain(value)
    except BaseException:  # a match asks a user's object for `__class__`, which may be anything
        return class_name(value)


def _plain(value: Any) -> Any:
    made: Any
    match value:
        case None | bool() | int() | float():
            made = value
        case str():
            made = safe(value if len(value) <= _LONGEST else shorten(value, _LONGEST), "\n\t")
        case tuple() | list():
            made = [plain(each) for each in value]
        case dict():
            made = {key: plain(each) for key, each in value.items()}
        case Exit() | Report():
            made = plain(exit_dict(value) if isinstance(value, Exit) else value.to_dict())
        case DeadLetter():
            made = {
                "type": class_name(value.message),
                "target": str(value.target),
                "reason": shorten(value.reason),
            }
        case SlowHandler() | BlockedLoop():
            made = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        case ActorRef():
            made = str(value)
        case _:  # of a message that a user sent, its type
            made = class_name(value)
    return made
