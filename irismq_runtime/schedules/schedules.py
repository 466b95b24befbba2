"""`Node.schedules`: messages for addresses at the times of a calendar, kept in the store.

    await node.schedules.add(
        "nightly", Close(), to=node.entity("shop.books", "eu"), cron="0 3 * * *", tz="Europe/Berlin"
    )

Each is an entity (schedule.py), which nodes that share a store have among them. A node works on
them from when its store has any: it looks when it starts, when presence says that somebody does,
and every minute. Changes are asks of the entity; what is listed is read in the store. Loop
thread only.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.errors import ActorError
from actors.rules import need
from irismq_runtime.durability.reminder_book import ReminderBook, split
from irismq_runtime.durability.reminding import due_of, moment_of
from irismq_runtime.durability.state_codec import StateCodec
from irismq_runtime.errors import DecodeError, RuntimeFault
from irismq_runtime.messaging import ENTITY_KEY, entity_name, shard_address, shard_of
from irismq_runtime.ports.state_store import ABSENT, StateKey
from irismq_runtime.refs import EntityRef, ServiceRef
from irismq_runtime.schedules.schedule import (
    ADDRESS,
    REMINDER,
    SHARDS,
    Pause,
    Remove,
    Resume,
    RunNow,
    ScheduleEntity,
    SchedulePlan,
    ScheduleState,
    SetPlan,
    no_schedule,
)
from irismq_runtime.wire import Serializer
from supervisors import Supervisor, child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors.request import RequestOf
    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.durability.occurrences import Misfire, Schedule
    from irismq_runtime.ports.state_store import StateStore, StoredState

__all__ = ["ASK_TIMEOUT", "Scheduled", "Schedules", "schedules_in"]

_LOG: Final = logging.getLogger("irismq.schedules")
#: Seconds that a change may take: what a killed node had of shards, others have after 15.
ASK_TIMEOUT: Final = 30.0
#: Seconds between two looks whether there is anything to work on.
_LOOK: Final = 60.0
#: Keys that one read takes.
_PAGE: Final = 1000


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule as it stands in the store.

    Attributes:
        name: Its name.
        to: Who is told: an address, or "address/key".
        type: The name of the type of what is told.
        due: When it comes next; None: it is paused.
        since: When it was set as it is.
        message: What is told: its fields by name, or what it is; None where that needs a codec of
            one's own.
        cron: Its line of cron; None: it has a period, or comes once.
        tz: The zone of that line.
        every: Seconds of its period; None: it has a line of cron, or comes once.
        misfire: What becomes of what is missed.
        paused: It tells nothing until it is resumed.
        told: How often it has told its target.
        last: When it did so last; None: never.
    """

    name: str
    to: str
    type: str
    due: datetime | None
    since: datetime
    message: Any
    cron: str | None
    tz: str
    every: float | None
    misfire: Misfire
    paused: bool
    told: int
    last: datetime | None


#: The name of the builtin is a method's below.
_Listing = list[Scheduled]


class Schedules:
    """The schedules of a store, as one of its nodes reaches them. Made by the node.

    Args:
        engine: The durable actors of the node.
        start: Starts a tree as a root of the node.
    """

    def __init__(self, engine: DurableEngine, start: Callable[[Any], Awaitable[Any]]) -> None:
        self._engine = engine
        self._start = start
        self._hosting: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        engine.outbound.directory.on_change(self._changed)
        engine.spawn(self._watch())

    async def add(
        self,
        name: str,
        message: object,
        *,
        to: ServiceRef[Any] | EntityRef,
        cron: str | None = None,
        tz: str | None = None,
        every: float | timedelta | None = None,
        at: datetime | None = None,
        after: float | timedelta | None = None,
        misfire: Misfire = "once",
        grace: float | None = None,
    ) -> bool:
        """Tell `to` the message at each time of a calendar, from now on and whatever is killed.

        With `at` or `after` alone it is told once, and there is no such schedule any more: a tell
        for later, which `remove` takes back and `list` shows.

        Each occurrence is told once, by whichever node has the schedule then. A durable target
        of the same store handles it once, another one as any tell. Set again as it is it
        stays as it is, so every node may set it when it starts; set otherwise it is replaced, and
        stays paused where it was. What is told has the name in
        `self.context.headers["schedule"]`.

        Args:
            name: Of the schedule: a text of 1 to 256 characters without NUL.
            message: What is told. It is encoded now.
            to: Who is told: the ref of an address or of an entity.
            cron: The times, as a line of cron: "0 3 * * *".
            tz: The zone of `cron`, "Europe/Berlin"; UTC if None.
            every: Or: seconds between two of them, 0.001 or more.
            at: Or: the one time, with a time zone, not in the past. With `every`: a time from which
                periods are counted, be it past; that at which it is set if None.
            after: Or: seconds from now until the one time. Set again, it begins again.
            misfire: What becomes of occurrences that were missed: "once" tells one of them, with
                the number of the others in `self.context.headers["missed"]`, "all" each, "skip"
                none that is late by more than `grace`.
            grace: Seconds; 60 if None.

        Returns:
            Whether anything changed.

        Raises:
            ValueError: An argument that has no meaning, named.
            EncodeError, MessageTooLarge: The message cannot be kept.
            AskTimeout: No node that has it has answered within 30 s: it may have been set.
        """
        anchored = every is not None and after is None
        if len([each for each in (cron, every, after) if each is not None]) > 1 or (
            at is not None and not anchored and (cron, every, after) != (None, None, None)
        ):
            raise ValueError(
                "say when: cron=, every= (and at= for one of its times), at= or after="
            )
        if cron is None and every is None and misfire != "once":
            raise ValueError(f"misfire={misfire!r} is for what comes again: leave it out")
        need(ENTITY_KEY, "name", name)
        now = self._engine.clock.time()
        times = due_of(
            now,
            at=None if anchored else at,
            after=after,
            every=every,
            cron=cron,
            tz=tz,
            misfire=misfire,
            grace=grace,
        )
        where = _where(to)
        kind, body, codec = self._engine.packer.serializer.dump(message, to.codec)
        plan = SchedulePlan(
            *where,
            type=kind,
            body=body,
            codec=codec or "",
            cron=times.cron,
            zone=times.zone,
            every=times.every,
            at=_anchor(times, at, now, once=cron is None and every is None),
            misfire=times.misfire,
            grace=times.grace,
        )
        await self._serve()
        return await self._ask(name, SetPlan(plan))

    async def pause(self, name: str) -> bool:
        """Let a schedule tell nothing, from now on; what it misses is not made up for.

        Returns:
            Whether it was not paused already.

        Raises:
            Refused: There is none of this name (code "no-schedule").
            AskTimeout: As of `add`.
        """
        return await self._ask(name, Pause())

    async def resume(self, name: str) -> bool:
        """Let a schedule that was paused go on with its next occurrence.

        Returns:
            Whether it was paused.

        Raises:
            Refused, AskTimeout: As of `pause`.
        """
        return await self._ask(name, Resume())

    async def run(self, name: str) -> None:
        """Tell the target now, beside the calendar, also where the schedule is paused.

        Raises:
            Refused, AskTimeout: As of `pause`.
        """
        await self._ask(name, RunNow())

    async def remove(self, name: str) -> bool:
        """End a schedule.

        Returns:
            Whether there was one.

        Raises:
            AskTimeout: As of `add`.
        """
        return await self._are_there() and await self._ask(name, Remove())

    async def list(self) -> _Listing:
        """Return all schedules of the store, by their names. Raises `StoreUnavailable`."""
        return await schedules_in(self._engine.store)

    async def find(self, name: str) -> Scheduled | None:
        """Return one schedule; None: there is none of this name. Raises `StoreUnavailable`."""
        need(ENTITY_KEY, "name", name)
        (stored,) = await self._engine.store.load([_key_of(name)])
        return _read(_codec(), stored)

    async def _ask(self, name: str, request: RequestOf[Any, R]) -> R:
        ref = EntityRef(self._engine.outbound, ADDRESS, name, shards=SHARDS)
        if not await self._are_there():
            raise no_schedule(name)
        return await ref.ask(request, timeout=ASK_TIMEOUT)

    # Working on them --------------------------------------------------------------

    async def _are_there(self) -> bool:
        """Whether the store has, or had, any."""
        return (await self._engine.load(StateKey(ADDRESS))).version != ABSENT

    def _changed(self, change: Any) -> None:
        member = change.member
        if member is not None and member.address.partition("#")[0] == ADDRESS:
            self._wake.set()

    async def _watch(self) -> None:
        """Work on them as soon as there are any."""
        while self._hosting is None:
            if await self._are_there():
                try:
                    return await self._serve()
                except (RuntimeFault, ActorError):
                    _LOG.exception("The schedules of the store cannot be worked on now")
            timer = self._engine.clock.call_later(_LOOK, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
            self._wake.clear()
        return None

    async def _serve(self) -> None:
        if self._hosting is None:
            self._hosting = self._engine.spawn(self._begin())
        await asyncio.shield(self._hosting)

    async def _begin(self) -> None:
        try:
            await self._start(Supervisor.of(child(ScheduleEntity)))
        except BaseException:
            self._hosting = None
            raise


def _anchor(times: Schedule, at: datetime | None, now: float, *, once: bool) -> float:
    """The `at` of a plan."""
    if once:
        return times.due
    return 0.0 if at is None else moment_of(at, now)


def _where(to: object) -> tuple[str, str, int]:
    """Address, key and number of shards of a target. Raises `ValueError`."""
    if isinstance(to, EntityRef):
        return to.address, to.key, to.shards
    if isinstance(to, ServiceRef) and to.foreign is None:
        return to.address, "", 0
    raise ValueError(
        f"to={to!r:.100} is no ref of an address or an entity of irismq: a schedule outlives every "
        "process, so give it node.ref(address) or node.entity(address, key)"
    )


# What stands in the store -----------------------------------------------------------


async def schedules_in(store: StateStore) -> list[Scheduled]:
    """Return all schedules of a store, by their names. Raises `StoreUnavailable`."""
    codec = _codec()
    found: list[Scheduled] = []
    for shard in range(SHARDS):
        after = ""
        while True:
            page = await store.scan(shard_address(ADDRESS, shard), after, _PAGE)
            found += [read for each in page if (read := _read(codec, each)) is not None]
            if len(page) < _PAGE:
                break
            after = page[-1].key.key
    return sorted(found, key=lambda each: each.name)


def _key_of(name: str) -> StateKey:
    return StateKey(shard_address(ADDRESS, shard_of(name, SHARDS)), name)


def _codec() -> StateCodec:
    return StateCodec(Serializer(), ScheduleState, ADDRESS, 0)


def _shown(plan: SchedulePlan) -> Any:
    """The message without its class, which need not be known here."""
    try:
        return Serializer().load("", plan.body, plan.codec or None)
    except DecodeError:  # in it are objects of classes, or it has a codec, that are not known here
        return None


def _read(codec: StateCodec, stored: StoredState) -> Scheduled | None:
    """What a stored state says; None for none. Raises `StateUnreadable`."""
    data, book = split(stored.state)
    state: Any = codec.decode(data)
    plan: SchedulePlan | None = state.plan
    if plan is None:
        return None
    due = dict(ReminderBook(book)).get(REMINDER)
    return Scheduled(
        name=stored.key.key,
        to=entity_name(plan.to, plan.key) if plan.shards else plan.to,
        type=plan.type,
        due=None if due is None else datetime.fromtimestamp(due.due, UTC),
        since=datetime.fromtimestamp(state.since, UTC),
        message=_shown(plan),
        cron=plan.cron or None,
        tz=plan.zone,
        every=plan.every or None,
        misfire=plan.misfire,
        paused=state.paused,
        told=state.told,
        last=datetime.fromtimestamp(state.last, UTC) if state.last else None,
    )
