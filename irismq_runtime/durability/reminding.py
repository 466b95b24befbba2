"""Reminders of durable actors: `remind`, `forget`, `reminders`, and what happens when one is due.

    remind      a row for the actor itself that is due later, and an entry in its book: one commit
    it is due   the row comes as a `ReminderDue`: the runtime, and no code of the actor, tells it
                what is due and stages the next row; that commit uses up the row, so that each
                occurrence is told once, whoever published it how often
    it comes    the message is handled as any that the actor tells itself, unless its generation has
                passed: the name was set again, or forgotten

A handler that fails costs its own message an attempt, and no occurrence after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from actors import message
from actors.rules import LONGEST, Rule, need, seconds, shown
from irismq_runtime.durability.occurrences import (
    MISFIRES,
    Misfire,
    Schedule,
    check_cron,
    fired,
    zone_of,
)
from irismq_runtime.durability.reminder_book import KeptReminder
from irismq_runtime.messaging import MAILBOX_CHANNEL
from irismq_runtime.ports.state_store import LATER, StagedMessage
from irismq_runtime.wire import Kind

if TYPE_CHECKING:
    from irismq_runtime.durability.activation import Activation

__all__ = [
    "Reminded",
    "Reminder",
    "ReminderDue",
    "due_of",
    "forget",
    "message_of",
    "moment_of",
    "remind",
    "reminders_of",
    "tick",
]

#: What the name of a reminder may be.
NAME: Final = Rule(
    "a text of 1 to 200 characters",
    lambda value: isinstance(value, str) and 0 < len(value) <= 200,
)
_PERIOD: Final = Rule(
    "a number of seconds, 0.001 or more",
    lambda value: seconds().takes(value) and value >= 0.001,
)


@message("irismq.reminder-due")
@dataclass(frozen=True, slots=True)
class ReminderDue:
    """A reminder is due."""

    name: str
    generation: int


@message("irismq.reminded")
@dataclass(frozen=True, slots=True)
class Reminded:
    """The message of a reminder whose time has come, as its actor tells it to itself."""

    name: str
    generation: int
    missed: int
    type: str
    codec: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder as `reminders()` shows it.

    Attributes:
        name: Its name.
        due: When it comes next; None: it has come, and its message is on its way.
        message: What it tells.
        every: Seconds of its period; None: it has none.
        cron: Its line of cron; None: it has none.
        tz: The zone of that line.
        misfire: What becomes of what is missed.
    """

    name: str
    due: datetime | None
    message: Any
    every: float | None = None
    cron: str | None = None
    tz: str = "UTC"
    misfire: Misfire = "once"


def due_of(  # what `remind` takes, by name
    now: float,
    *,
    at: datetime | None,
    after: float | timedelta | None,
    every: float | timedelta | None,
    cron: str | None,
    tz: str | None,
    misfire: str,
    grace: float | None,
) -> Schedule:
    """The schedule that these arguments mean. Raises `ValueError` that names the wrong one."""
    if misfire not in MISFIRES:
        raise ValueError(f"misfire={misfire!r} is none of {', '.join(MISFIRES)}")
    late = 60.0 if grace is None else float(need(seconds(), "grace", grace))
    given = [each for each in (at, after, cron) if each is not None]
    if len(given) > 1 or (cron is not None and every is not None) or not (given or every):
        raise ValueError("say when: at=, after= or every= (or the first and a period), or cron=")
    if tz is not None and cron is None:
        raise ValueError("tz= is the zone of cron=, and there is none")
    if cron is not None:
        first = Schedule(
            now, 0.0, check_cron(cron), zone_of("UTC" if tz is None else tz), misfire, late
        )
        return first._replace(due=first.after(now) or now)
    period = 0.0 if every is None else float(need(_PERIOD, "every", _seconds_in(every)))
    if at is not None:
        due = _moment(at, now)
    elif after is not None:
        due = now + float(need(seconds(), "after", _seconds_in(after)))
    else:
        due = now + period
    return Schedule(due, period, "", "UTC", misfire, late)


def _seconds_in(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def moment_of(at: object, now: float) -> float:
    """The time of a datetime, in seconds since 1970.

    Raises `ValueError` for one without a zone, or further away from `now` than is waited for.
    """
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(f"at={shown(at)} is no datetime with a time zone")
    moment = at.timestamp()
    if moment - now > LONGEST:
        raise ValueError(f"at={at} is more than {LONGEST:,.0f} s away, the longest that is waited")
    return moment


def _moment(at: object, now: float) -> float:
    moment = moment_of(at, now)
    if moment < now:
        raise ValueError(f"at={at} is {now - moment:,.0f} s in the past")
    return moment


# What an actor calls -----------------------------------------------------------------


def remind(activation: Activation, name: str, told: object, schedule: Schedule) -> bool:
    """Keep a reminder with the running unit; whether it takes the place of another.

    Raises `EncodeError`, `NotInUnit`, `ValueError`.
    """
    need(NAME, "name", name)
    book = activation.book("self.remind()")
    kind, body, codec = activation.engine.packer.serializer.dump(told)
    generation = book.next_generation(activation.engine.chance())
    reminder = KeptReminder(generation, kind, codec or "", body, *schedule)
    _stage_tick(activation, name, reminder)
    return book.set(name, reminder)


def forget(activation: Activation, name: str) -> bool:
    """Let a reminder go with the running unit; whether there was one. Raises `NotInUnit`."""
    return activation.book("self.forget()").forget(need(NAME, "name", name))


def reminders_of(activation: Activation) -> list[Reminder]:
    """The reminders of an actor, by their names."""
    load = activation.engine.packer.serializer.load
    return [
        Reminder(
            name,
            None if kept.fired else datetime.fromtimestamp(kept.due, UTC),
            load(kept.type, kept.body, kept.codec or None),
            kept.every or None,
            kept.cron or None,
            kept.zone,
            kept.misfire,
        )
        for name, kept in activation.kept_book()
    ]


# When it is due ------------------------------------------------------------------------


def tick(activation: Activation, due: ReminderDue) -> None:
    """Tell what is due, and stage the next time. In a unit of its own."""
    book = activation.book("a tick")
    reminder = book.standing(due.name, due.generation)
    if reminder is None or reminder.fired:
        return
    now = activation.engine.clock.time()
    came = fired(reminder.schedule, now)
    for missed in came.missed:
        _tell(activation, due, reminder, missed)
    if came.due is None:
        if came.missed:
            reminder.fired = True
        else:
            book.forget(due.name)
        return
    reminder.due = came.due
    _stage_tick(activation, due.name, reminder)


def _tell(activation: Activation, due: ReminderDue, reminder: KeptReminder, missed: int) -> None:
    told = Reminded(due.name, due.generation, missed, reminder.type, reminder.codec, reminder.body)
    _stage(activation, told, 0.0, missed)


def _stage_tick(activation: Activation, name: str, reminder: KeptReminder) -> None:
    delay = max(0.0, reminder.due - activation.engine.clock.time())
    _stage(activation, ReminderDue(name, reminder.generation), delay)


def _stage(activation: Activation, told: object, delay: float, missed: int = 0) -> None:
    """Stage a message of an actor to itself."""
    engine, unit = activation.engine, activation.open
    if unit is None:
        return  # never: a book is changed in a unit alone
    to = activation.key
    headers = engine.outbound.headers_to_store(to.key, delay)
    if missed:
        headers["missed"] = missed
    last = engine.ending_of(to, owned=True)
    row_id, data = engine.packer.unsigned(Kind.TELL, told, headers, None, last)
    channel = LATER if delay else MAILBOX_CHANNEL
    row = StagedMessage(row_id, to, data, channel=channel, delay=delay, ordered=False)
    unit.staged.append(row)


def message_of(activation: Activation, reminded: Reminded) -> tuple[object] | None:
    """The message of a reminder that is to be handled; None: its generation has passed.

    Raises `DecodeError`.
    """
    book = activation.book("a reminder")
    reminder = book.standing(reminded.name, reminded.generation)
    if reminder is None:
        return None
    if reminder.fired:
        book.forget(reminded.name)
    load = activation.engine.packer.serializer.load
    return (load(reminded.type, reminded.body, reminded.codec or None),)
