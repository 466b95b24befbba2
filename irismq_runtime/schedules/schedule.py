"""`ScheduleEntity`: the entity that one schedule is, and the messages that it takes.

Its key is the name of the schedule, its state what was set, and its calendar a reminder. So
what is promised of reminders holds for schedules: an occurrence is told in the commit that uses up
its reminder, to the row of its target, which a durable target uses up in turn. The message is kept
as it was encoded when it was set, and is not read here: the node that owns a schedule need not know
its type.

    set       the reminder begins; the same again changes nothing, so every node may set it
    due       the target is told, and the reminder has its next time
    paused    the reminder is forgotten, and what is on its way with it; resumed, it begins with
              the next occurrence of its calendar
    removed   the state ends, as it does when what comes once has come

Loop thread only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from actors import Refused, Request, message, receives
from irismq_runtime.durability import ENGINES
from irismq_runtime.durability.occurrences import Misfire  # noqa: TC001  # what a plan is read by
from irismq_runtime.durability.reminding import due_of, remind
from irismq_runtime.entities import Entity
from irismq_runtime.refs import EntityRef, ServiceRef, carrying
from irismq_runtime.wire import EncodedMessage

if TYPE_CHECKING:
    from irismq_runtime.durability.occurrences import Schedule as Times
    from irismq_runtime.refs import Outbound

__all__ = [
    "ADDRESS",
    "REMINDER",
    "SHARDS",
    "Pause",
    "Remove",
    "Resume",
    "RunNow",
    "ScheduleEntity",
    "SchedulePlan",
    "ScheduleState",
    "SetPlan",
    "no_schedule",
    "times_of",
]

#: Where schedules are reached, each by its name.
ADDRESS: Final = "irismq.schedule"
#: Into how many parts their names are divided: each is a topic and a cluster on every system that
#: has schedules, and a node works off some thousand occurrences a second of one.
SHARDS: Final = 4
#: The name of the reminder that is the calendar of a schedule.
REMINDER: Final = "due"


@message("irismq.schedule-plan")
@dataclass(frozen=True)
class SchedulePlan:
    """Who is told what, and when.

    Attributes:
        to: The address.
        key: Which entity of it; "": it has none.
        shards: Into how many parts the keys of `to` are divided; 0: it has no entities.
        type: The name of the message's type,
        body: its bytes,
        codec: and their codec; "" for the usual one.
        cron: A line of cron; "": it has a period.
        zone: The zone of `cron`.
        every: Seconds of its period; 0.0: it has a line of cron, or comes once.
        at: The one time of what comes once, or one from which periods are counted, in seconds
            since 1970; 0.0: when it was set.
        misfire: What becomes of occurrences that were missed.
        grace: Seconds for which one that is late is not taken for missed.
    """

    to: str
    key: str
    shards: int
    type: str
    body: bytes
    codec: str = ""
    cron: str = ""
    zone: str = "UTC"
    every: float = 0.0
    at: float = 0.0
    misfire: Misfire = "once"
    grace: float = 60.0


@message("irismq.schedule-state")
@dataclass
class ScheduleState:
    """What is kept of a schedule.

    Attributes:
        plan: What was set; None: nothing yet.
        paused: It tells nothing.
        next: While it is paused, when it would have come next, in seconds since 1970.
        since: When it was set, in seconds since 1970.
        told: How often it has told its target,
        last: and when it did so last, in seconds since 1970; 0.0: never.
    """

    plan: SchedulePlan | None = None
    paused: bool = False
    next: float = 0.0
    since: float = 0.0
    told: int = 0
    last: float = 0.0


@message("irismq.schedule-set")
@dataclass(frozen=True)
class SetPlan(Request[bool]):
    """Begin, or go on with another plan; whether anything changed."""

    plan: SchedulePlan


@message("irismq.schedule-pause")
@dataclass(frozen=True)
class Pause(Request[bool]):
    """Tell nothing until it is resumed; whether it did."""


@message("irismq.schedule-resume")
@dataclass(frozen=True)
class Resume(Request[bool]):
    """Go on with the next occurrence; whether it was paused."""


@message("irismq.schedule-run")
@dataclass(frozen=True)
class RunNow(Request[None]):
    """Tell the target now, beside the calendar."""


@message("irismq.schedule-remove")
@dataclass(frozen=True)
class Remove(Request[bool]):
    """End it; whether there was one."""


@message("irismq.schedule-due")
@dataclass(frozen=True)
class _Due:
    """An occurrence has come."""


class ScheduleEntity(Entity):
    """See the module."""

    address = ADDRESS
    shards = SHARDS
    state: ScheduleState
    refuses = (ValueError,)  # of a plan: who sets it is told

    @receives(SetPlan)
    def set(self, request: SetPlan) -> bool:
        """See `SetPlan`. A schedule that is paused stays so."""
        state, plan = self.state, request.plan
        if state.plan == plan:
            return False
        self._begin(plan, plan.at)
        state.plan, state.next, state.since = plan, 0.0, _now(self)
        if state.paused:
            self._hold()
        return True

    @receives(_Due)
    def due(self, _: _Due) -> None:
        """Tell the target in this commit, which is that of the occurrence."""
        plan = self.state.plan
        if plan is not None:
            self._tell(plan)
            if not plan.cron and not plan.every:  # it came once
                self.end()

    @receives(Pause)
    def pause(self, _: Pause) -> bool:
        """See `Pause`."""
        self._plan()
        if self.state.paused:
            return False
        self.state.paused = True
        self._hold()
        return True

    @receives(Resume)
    def resume(self, _: Resume) -> bool:
        """See `Resume`. A period goes on in its steps, as if it had never been paused."""
        plan, state = self._plan(), self.state
        if not state.paused:
            return False
        self._begin(plan, state.next or plan.at)
        state.paused, state.next = False, 0.0
        return True

    @receives(RunNow)
    def run_now(self, _: RunNow) -> None:
        """See `RunNow`."""
        self._tell(self._plan())

    @receives(Remove)
    def remove(self, _: Remove) -> bool:
        """See `Remove`."""
        if self.state.plan is None:
            return False
        self.end()
        return True

    def _plan(self) -> SchedulePlan:
        """Raises `Refused` where there is none."""
        if self.state.plan is None:
            raise no_schedule(self.key)
        return self.state.plan

    def _begin(self, plan: SchedulePlan, anchor: float) -> None:
        """Raises `ValueError` where the plan has no meaning."""
        if self.__activation__ is not None:  # as in every handler
            times = times_of(plan, anchor, _now(self))
            remind(self.__activation__, REMINDER, _Due(), times)

    def _hold(self) -> None:
        for reminder in self.reminders():
            self.state.next = 0.0 if reminder.due is None else reminder.due.timestamp()
        self.forget(REMINDER)

    def _tell(self, plan: SchedulePlan) -> None:
        missed = self.context.headers.get("missed", 0)
        said = {"schedule": self.key, "missed": missed} if missed else {"schedule": self.key}
        with carrying(said):
            target = _target(ENGINES[self.system].outbound, plan)
            target.tell(EncodedMessage(plan.type, plan.body, plan.codec or None))
        self.state.told += 1
        self.state.last = _now(self)


def times_of(plan: SchedulePlan, anchor: float, now: float) -> Times:
    """When a plan comes from `now` on. Pure.

    Args:
        plan: What was set.
        anchor: A time from which its periods are counted; 0.0: `now`.
        now: The time, in seconds since 1970.

    Raises:
        ValueError: It has no meaning; the text names what is wrong.
    """
    once = not plan.every and not plan.cron
    times = due_of(
        now,
        at=None,
        after=0.0 if once else None,
        every=plan.every or None,
        cron=plan.cron or None,
        tz=plan.zone if plan.cron else None,
        misfire=plan.misfire,
        grace=plan.grace,
    )
    if once:  # one whose time has passed while it was on its way, or paused, comes now
        return times._replace(due=max(now, anchor))
    if not (plan.every and anchor):
        return times
    return times._replace(due=times._replace(due=anchor).after(now) or times.due)


def _now(schedule: ScheduleEntity) -> float:
    return schedule.system.clock.time()


def no_schedule(name: str) -> Refused:
    """What is raised where there is no schedule of that name."""
    return Refused(
        f"there is no schedule {name!r}; irismq schedule list shows those of a store",
        code="no-schedule",
    )


def _target(outbound: Outbound, plan: SchedulePlan) -> EntityRef | ServiceRef:
    if not plan.shards:
        return ServiceRef(outbound, plan.to)
    shards = outbound.shards.get(plan.to, plan.shards)  # what runs here knows best
    return EntityRef(outbound, plan.to, plan.key, shards=shards)
