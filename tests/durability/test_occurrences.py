"""When reminders are due: functions of a schedule and a time, held against a walk of minutes."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from irismq_runtime.durability import occurrences as occurrences_module
from irismq_runtime.durability.occurrences import (
    AT_ONCE,
    COUNTED,
    MISFIRES,
    Fired,
    Schedule,
    check_cron,
    fired,
    next_cron,
    zone_of,
)

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
#: A line, and whether it matches a local time. The last ones name no hour: they come by the clock,
#: also in an hour that comes twice.
FIXED = {
    "30 2 * * *": lambda t: (t.hour, t.minute) == (2, 30),
    "0 3 * * 0": lambda t: (t.hour, t.minute) == (3, 0) and t.weekday() == 6,
    "15 1,2 * * *": lambda t: t.hour in {1, 2} and t.minute == 15,
}
BY_THE_CLOCK = {"*/20 * * * *": lambda t: t.minute % 20 == 0}
MINUTE = timedelta(minutes=1)


def minutes(zone, start, end):
    """Each minute from `start` up to `end`: its moment, the time there, what the clock leapt over.

    The last as the times of it; and whether the clock has shown this time before.
    """
    found = []
    before = (start - MINUTE).astimezone(zone)
    now = start
    while now < end:
        local = now.astimezone(zone)
        leapt = []
        if local.utcoffset() > before.utcoffset():
            wall = before.replace(tzinfo=None) + MINUTE
            while wall < local.replace(tzinfo=None):
                leapt.append(wall)
                wall += MINUTE
        second = local.fold == 1 and local.replace(fold=0).astimezone(UTC) != now
        found.append((now.timestamp(), local, leapt, second))
        before, now = local, now + MINUTE
    return found


def walked(line, all_minutes):
    """The moments of a line, minute by minute, as cron has it.

    What a clock that is set forward leaps over comes when it has; what it names twice, once.
    """
    fixed = line in FIXED
    matches = FIXED[line] if fixed else BY_THE_CLOCK[line]
    return [
        moment
        for moment, local, leapt, second in all_minutes
        if (matches(local) and not (fixed and second)) or (fixed and any(map(matches, leapt)))
    ]


def days_of_change(zone):
    """The days in twenty years on which the clocks of a zone are set, and one a year without."""
    day = datetime(2015, 1, 1, tzinfo=UTC)
    while day.year < 2035:
        after = day + timedelta(days=1)
        changes = day.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset()
        if changes or day.timetuple().tm_yday == 200:
            yield day - timedelta(hours=3)
        day = after


@pytest.mark.parametrize("name", ZONES)
def test_cron_comes_when_a_walk_through_the_minutes_of_twenty_years_does(name):
    zone = ZoneInfo(name)
    for start in days_of_change(zone):
        end = start + timedelta(hours=30)
        all_minutes = minutes(zone, start, end)
        for line in (*FIXED, *BY_THE_CLOCK):
            time, found = start.timestamp() - 60, []
            while (time := next_cron(line, name, time)) < end.timestamp():
                found.append(time)
            assert found == walked(line, all_minutes), (line, start)


def test_what_was_missed_is_told_as_the_policy_says():
    every = Schedule(due=100.0, every=10.0)
    assert fired(every, 99.0) == Fired((), 100.0)
    assert fired(every, 100.0) == Fired((0,), 110.0)
    assert fired(every, 134.0) == Fired((3,), 140.0)
    assert fired(every._replace(misfire="all"), 134.0) == Fired((0,) * 4, 140.0)
    skip = every._replace(misfire="skip", grace=5.0)
    assert fired(skip, 134.0) == Fired((0,), 140.0)
    assert fired(skip, 138.0) == Fired((), 140.0)
    once = Schedule(due=100.0)
    assert fired(once, 5000.0) == Fired((0,), None)
    assert fired(once._replace(misfire="skip"), 5000.0) == Fired((), None)


def test_of_many_that_were_missed_all_come_in_pieces():
    schedule, told = Schedule(due=0.0, every=1.0, misfire="all"), 0
    while schedule.due <= 1000.0:
        came = fired(schedule, 1000.0)
        assert len(came.missed) <= AT_ONCE
        told += len(came.missed)
        schedule = schedule._replace(due=came.due)
    assert told == 1001
    cron = Schedule(due=0.0, cron="* * * * *", misfire="all")
    came = fired(cron, 60.0 * 5000)
    assert came == Fired((0,) * AT_ONCE, 60.0 * AT_ONCE)


def test_what_was_missed_for_years_costs_no_more_than_what_was_missed_for_days(monkeypatch):
    looks = []

    class Counted(occurrences_module.CronSim):
        def __init__(self, *arguments):
            looks.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(occurrences_module, "CronSim", Counted)
    years = 20 * 366 * 86400.0
    for misfire in MISFIRES:
        del looks[:]
        cron = Schedule(due=0.0, cron="* * * * * *", misfire=misfire, grace=5.0)
        came = fired(cron, years)
        assert len(looks) <= COUNTED + 10
        assert (
            came
            == {
                "once": Fired((COUNTED,), years + 1.0),
                "all": Fired((0,) * AT_ONCE, AT_ONCE),
                "skip": Fired((0,), years + 1.0),
            }[misfire]
        )
        every = Schedule(due=0.0, every=0.001, misfire=misfire)
        tracemalloc.start()
        came = fired(every, years)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
        if misfire == "once":
            assert came.missed == (int(years * 1000),)


def test_what_is_skipped_is_what_no_occurrence_within_the_grace_stands_for():
    hourly = Schedule(due=0.0, cron="0 * * * *", misfire="skip", grace=600.0)
    assert fired(hourly, 7200.0) == Fired((0,), 10800.0)
    assert fired(hourly, 7800.0) == Fired((0,), 10800.0)  # as late as it may be
    assert fired(hourly, 7801.0) == Fired((), 10800.0)
    assert fired(hourly, 600.0) == Fired((0,), 3600.0)


def test_what_is_no_line_or_no_zone_is_refused_in_a_short_text():
    for check, wrong in ((check_cron, "0-59," * 10_000 + "0 * * * *"), (zone_of, "x" * 50_000)):
        with pytest.raises(ValueError, match=r"cron=|tz=") as caught:
            check(wrong)
        assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match="tz=''"):
        zone_of("")


def test_the_next_time_is_that_of_the_schedule_and_not_of_now():
    assert fired(Schedule(due=100.0, every=0.001), 100.0004).due == pytest.approx(100.001)
    assert Schedule(due=0.5, every=2.0).after(7.0) == 8.5
    assert Schedule(due=9.0, every=2.0).after(7.0) == 9.0
    assert Schedule(due=9.0).after(9.0) is None
