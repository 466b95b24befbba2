"""When a reminder is due: pure functions of its schedule and a time.

    once            at one time
    every           at its first time and each period after it, whatever happened meanwhile
    cron, zone      at the times that a line of cron names, on the clock of a place. Where the line
                    names the hour, what the clock leaps over as it is set forward comes when it
                    has, and what it shows twice comes once; other lines come whenever it matches

What was missed is told by its misfire policy: "once" (one comes, and says how many were missed),
"all" (each of them), "skip" (none that is later than its grace). What that costs does not grow
with the time that was missed. Times are seconds since 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from actors.rules import shown

__all__ = ["COUNTED", "MISFIRES", "Fired", "Misfire", "Schedule", "check_cron", "fired", "zone_of"]

#: What becomes of the occurrences that were missed.
Misfire = Literal["once", "all", "skip"]
MISFIRES: Final[tuple[Misfire, ...]] = ("once", "all", "skip")
#: Occurrences that are told at the same time, of those that were all missed.
AT_ONCE: Final = 100
#: Missed occurrences of a line of cron that are counted: each is looked for by itself.
COUNTED: Final = 1000
#: Characters that a line of cron may have.
_LINE: Final = 256
_MICROSECOND: Final = 1e-6


class Schedule(NamedTuple):
    """When something comes.

    Attributes:
        due: The next time, in seconds since 1970.
        every: Seconds of its period; 0.0: it has none.
        cron: A line of cron; "": it has none.
        zone: The name of the zone of `cron`.
        misfire: See the module.
        grace: Seconds for which a late one is not taken for missed, where that matters.
    """

    due: float
    every: float = 0.0
    cron: str = ""
    zone: str = "UTC"
    misfire: Misfire = "once"
    grace: float = 60.0

    def after(self, time: float) -> float | None:
        """The first occurrence behind `time`; None: there is none any more."""
        if self.cron:
            return next_cron(self.cron, self.zone, time)
        if not self.every:
            return self.due if self.due > time else None
        if self.due > time:
            return self.due
        return self.due + (int((time - self.due) / self.every) + 1) * self.every


class Fired(NamedTuple):
    """What comes of a schedule at a time.

    Attributes:
        missed: For each message that is told now, how many occurrences it stands for beside its
            own.
        due: When it comes next; None: never again.
    """

    missed: tuple[int, ...]
    due: float | None


def fired(schedule: Schedule, now: float) -> Fired:
    """What is told at `now` of a schedule whose `due` has come.

    A wall clock that went back tells nothing: what is due later is waited for.
    """
    if schedule.due > now:
        return Fired((), schedule.due)
    following = schedule.after(now)
    missed: tuple[int, ...]
    match schedule.misfire:
        case "skip":
            missed = (0,) if _is_fresh(schedule, now) else ()
        case "all":
            times = _first(schedule, now, AT_ONCE + 1)
            missed = (0,) * min(len(times), AT_ONCE)
            if len(times) > AT_ONCE:
                following = times[AT_ONCE]
        case _:
            missed = (_later(schedule, now),)
    return Fired(missed, following)


def _last(schedule: Schedule, now: float) -> float:
    """The last occurrence up to `now` of a schedule without a line of cron."""
    return schedule.due + _periods(schedule, now) * schedule.every


def _periods(schedule: Schedule, now: float) -> int:
    """How many periods have gone by since `due`."""
    return int((now - schedule.due) / schedule.every) if schedule.every else 0


def _is_fresh(schedule: Schedule, now: float) -> bool:
    """Whether the last occurrence up to `now` is within the grace."""
    if not schedule.cron:
        return now - _last(schedule, now) <= schedule.grace
    if now - schedule.due <= schedule.grace:
        return True
    found = next_cron(schedule.cron, schedule.zone, now - schedule.grace - _MICROSECOND)
    if now - found > schedule.grace:
        found = next_cron(schedule.cron, schedule.zone, found)
    return found <= now


def _later(schedule: Schedule, now: float) -> int:
    """How many have come behind `due` up to `now`; of a line of cron at most `COUNTED`."""
    if schedule.cron:
        return len(_first(schedule, now, COUNTED + 1)) - 1
    return _periods(schedule, now)


def _first(schedule: Schedule, now: float, most: int) -> list[float]:
    """The occurrences from `due` up to `now`, the first `most` of them."""
    if not schedule.cron:
        count = min(_periods(schedule, now) + 1, most)
        return [schedule.due + number * schedule.every for number in range(count)]
    times = [schedule.due]
    while len(times) < most:
        following = next_cron(schedule.cron, schedule.zone, times[-1])
        if following > now:
            break
        times.append(following)
    return times


def next_cron(line: str, zone: str, time: float) -> float:
    """The first time behind `time` that a line of cron names in a zone."""
    start = datetime.fromtimestamp(time, _zone(zone))
    while True:
        found: datetime = next(CronSim(line, start))
        moment = found.astimezone(UTC).timestamp()
        if moment > time:
            return moment
        start = found


def check_cron(line: object) -> str:
    """Return the line. Raises `ValueError` for what is none, or names no time."""
    if not isinstance(line, str):
        raise ValueError(f"cron={shown(line)} is not a line of cron, such as '0 3 * * *'")  # noqa: TRY004  # as each wrong argument
    if len(line) > _LINE:
        raise ValueError(f"cron={shown(line)} has {len(line):,} characters, and {_LINE} may be")
    try:
        next(CronSim(line, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"cron={line!r}: {str(error) or 'it names no time'}") from error
    return line


def zone_of(name: object) -> str:
    """Return the name of a zone. Raises `ValueError` for one that is not known here."""
    try:
        _zone(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"tz={shown(name)} is no time zone that this system knows; write a name such as "
            "'Europe/Berlin', and where the system has no zones: pip install tzdata"
        ) from error
    return str(name)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    """A zone, which is read from its file once."""
    return ZoneInfo(name)
