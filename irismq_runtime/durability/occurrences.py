"""When a reminder is due: pure functions of its schedule and a time.

    once            at one time
    every           at its first time and each period after it, whatever happened meanwhile
    cron, zone      at the times that a line of cron names, on the clock of a place. Where the line
                    names the hour, what the clock leaps over as it is set forward comes when it
                    has, and what it shows twice comes once; other lines come whenever it matches

What was missed is told by its misfire policy: "once" (one comes, and says how many were missed),
"all" (each of them), "skip" (none that is later than its grace). Times are seconds since 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

__all__ = ["MISFIRES", "Fired", "Misfire", "Schedule", "check_cron", "fired", "zone_of"]

#: What becomes of the occurrences that were missed.
Misfire = Literal["once", "all", "skip"]
MISFIRES: Final[tuple[Misfire, ...]] = ("once", "all", "skip")
#: Occurrences that are told at the same time, of those that were all missed.
AT_ONCE: Final = 100


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
    times, following = _occurrences(schedule, now)
    late = now - times[-1]
    missed: tuple[int, ...]
    match schedule.misfire:
        case "skip":
            missed = (0,) if late <= schedule.grace else ()
        case "all":
            some = times[:AT_ONCE]
            missed = (0,) * len(some)
            if len(some) < len(times):
                following = times[AT_ONCE]
        case _:
            missed = (len(times) - 1,)
    return Fired(missed, following)


def _occurrences(schedule: Schedule, now: float) -> tuple[list[float], float | None]:
    """Those from `due` up to `now`, and the one behind them."""
    if schedule.every:
        count = int((now - schedule.due) / schedule.every) + 1
        most = count if schedule.misfire != "all" else min(count, AT_ONCE + 1)
        times = [schedule.due + number * schedule.every for number in range(most)]
        if most < count or schedule.misfire != "all":
            return times, schedule.due + count * schedule.every
        return times, schedule.after(now)
    times = [schedule.due]
    while (following := schedule._replace(due=times[-1]).after(times[-1])) is not None:
        if following > now:
            return times, following
        times.append(following)
        if schedule.misfire == "all" and len(times) > AT_ONCE:
            return times, following
    return times, None


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
        raise ValueError(f"cron={line!r} is not a line of cron, such as '0 3 * * *'")  # noqa: TRY004  # as each wrong argument
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
            f"tz={name!r} is no time zone that this system knows; write a name such as "
            "'Europe/Berlin', and where the system has no zones: pip install tzdata"
        ) from error
    return str(name)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    """A zone, which is read from its file once."""
    return ZoneInfo(name)
