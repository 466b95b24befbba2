"""Which shards this node has, among all nodes that share its store.

    every few seconds, and when presence says that somebody came or went:
        beat              a commit on the row of this node: it lives
        look              at the rows of all nodes, and of the shards
        decide            placement.decide, a function
        take              a commit on the row of a shard, which one node alone can make
        give up           stop consuming, commit, leave; then the row says: nobody

A node owns its shards for the time of a lease after it began to write a beat that was
written. When that is over, as the store is away or the process was stopped, it lets go of all
of them; others take them when they have seen the same beat for as long on their own clocks. So
nobody compares clocks, and nobody is elected. Moves come in rounds, of which there is one in
ten seconds at most. What may be written is decided by none of this: see placement.

Knows rows, members and hosts; no entity, no broker, no relay. Loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.clock import LoopClock
from irismq_runtime.entities.placement import LEASE, Decision, Sightings, decide
from irismq_runtime.entities.process_place import gone_among, process_place
from irismq_runtime.entities.records import (
    MEMBERS,
    PINS,
    NodeRow,
    member_in,
    owner_in,
    owner_state,
    pins_in,
)
from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.messaging import shard_address
from irismq_runtime.ports.state_store import ABSENT, END, KEEP, Committed, StateCommit, StateKey
from irismq_runtime.wire import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.clock import TimerHandle
    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.ports.state_store import StateChange, StoredState

__all__ = ["HostNumbers", "Ownership", "ShardHost", "ownership_of"]

_LOG: Final = logging.getLogger("irismq.entities")
#: Seconds between two beats.
BEAT: Final = 3.0
#: Seconds between two looks while shards are on their way to this node.
_EXPECTING: Final = 0.3
#: Seconds after a word of presence before it is looked at what it comes to.
_SOON: Final = 0.05
#: Seconds between two rounds of moves.
_ROUND: Final = 10.0
#: Seconds after which the row of a node that is gone is deleted.
_FORGET: Final = 600.0
#: Rows that one read takes.
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class HostNumbers:
    """What a node does for the entities of one address.

    Attributes:
        address: The address.
        shards: Into how many parts its keys are divided.
        owned: How many of them this node has.
        active: Entities that are active here.
        failing: Those of them that have crashed and wait before they are started again.
        activated: How many were made active since the host began,
        rested: and how many of them were let go again.
    """

    address: str
    shards: int
    owned: int
    active: int
    failing: int
    activated: int
    rested: int


class ShardHost(Protocol):
    """Who works on the shards of one address."""

    address: str
    shards: int

    def numbers(self, owned: int) -> HostNumbers:
        """How many of what there are here; `owned`: shards of this node."""
        ...

    def begin(self, shard: int) -> asyncio.Task[None]:
        """Work on a shard; the task fails where that cannot be."""
        ...

    def finish(self, shard: int) -> asyncio.Task[None]:
        """Stop consuming, commit and leave; whatever is behind is in order when the task ends."""
        ...


class _Held:
    """A shard that this node has."""

    __slots__ = ("giving", "host", "version")

    def __init__(self, host: ShardHost, version: int) -> None:
        self.host = host
        #: Of its row.
        self.version = version
        self.giving = False


class Ownership:
    """The shards of one node.

    Args:
        engine: Its durable actors.
        place: Where its process is, see `process_place`.
    """

    def __init__(self, engine: DurableEngine, place: str = "") -> None:
        self._engine = engine
        self._store = engine.store
        self._place = place
        self._now = _steady(engine)
        self.me = engine.packer.node_id
        self._hosts: dict[str, ShardHost] = {}
        #: Addresses whose shards are being given up, all of them.
        self._leaving: set[str] = set()
        #: Whether shards are on their way here.
        self._expects = False
        self._held: dict[tuple[str, int], _Held] = {}
        #: The addresses of shards that this node does not want; see `avoid`.
        self._avoids: set[str] = set()
        self._sightings = Sightings(LEASE)
        self._row = StateKey(MEMBERS, self.me)
        self._version = ABSENT
        self._said: NodeRow | None = None
        #: Until when its shards are its own, on the monotonic clock.
        self.lease_until = float("-inf")
        self._lease_timer: TimerHandle | None = None
        self._moved_at = float("-inf")
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        #: One at a time: a round, or the end of a host.
        self._turn = asyncio.Lock()
        #: Shards that came to this node, and that went from it to another one.
        self.taken = self.given = 0
        engine.outbound.directory.on_change(self._changed)

    @property
    def holds(self) -> bool:
        """Whether what this node has is still its own."""
        return self._now() < self.lease_until

    def holds_now(self) -> bool:
        """As `holds`, to be called again and again."""
        return self._now() < self.lease_until

    def held_of(self, address: str) -> list[int]:
        """The shards of an address that this node has."""
        return sorted(shard for of, shard in self._held if of == address)

    def numbers(self) -> list[HostNumbers]:
        """What this node does for the entities of each address that it runs."""
        hosts = self._hosts.values()
        return [host.numbers(len(self.held_of(host.address))) for host in hosts]

    @property
    def complaint(self) -> str:
        """What is wrong with it; "" for nothing."""
        if self.holds or not self._hosts or self.lease_until == float("-inf"):
            return ""
        return (
            f"no beat of this node was written for {LEASE:g} s: others may have its shards, "
            "and its entities take nothing"
        )

    def avoid(self, shard: str) -> None:
        """Want a shard no more, as long as another node does: newer code has written in it.

        Args:
            shard: Its address.
        """
        if shard not in self._avoids:
            self._avoids.add(shard)
            _LOG.warning(
                "%s has a state that newer code has written: this node leaves it to others", shard
            )
            self._wake.set()

    # Hosts ----------------------------------------------------------------------

    async def add(self, host: ShardHost) -> None:
        """Take part for the entities of a host; what is free is begun when this returns.

        Raises what beginning a shard raises.
        """
        self._hosts[host.address] = host
        begun = await self._round()
        while begun is None:  # the store is away
            await self._engine.committer.usable()
            begun = await self._round()
        if self._running is None:
            self._running = self._engine.spawn(self._run())
        await asyncio.gather(*begun)

    async def remove(self, host: ShardHost) -> None:
        """Give up all that the host has, in order. Idempotent."""
        if self._hosts.get(host.address) is not host:
            return
        del self._hosts[host.address]
        self._leaving.add(host.address)
        mine = [shard for shard, held in self._held.items() if held.host is host]
        await asyncio.gather(*(host.finish(shard) for _, shard in mine), return_exceptions=True)
        self._leaving.discard(host.address)
        async with self._turn:
            try:
                await self._release(mine)
                await self._beat()
                if not self._hosts and self._lease_timer is not None:
                    self._lease_timer.cancel()
            except StoreUnavailable as fault:  # the others find it by the beat that does not come
                self._engine.committer.fault_seen(fault)

    async def _release(self, shards: Iterable[tuple[str, int]]) -> None:
        """Say of shards that nobody has them. Raises `StoreUnavailable`."""
        released = [(shard, self._held.pop(shard)) for shard in shards if shard in self._held]
        commits = [
            StateCommit(_row_of(*shard), held.version, new_id(), owner_state(""))
            for shard, held in released
        ]
        self.given += len(commits)
        if commits:
            await self._store.commit(commits)  # where one is lost, another node has it already

    # Rounds -----------------------------------------------------------------------

    def _changed(self, change: Any) -> None:
        """Somebody came or went, as presence says: look at it now."""
        member = change.member
        if member is not None and member.address.partition("#")[0] not in self._hosts:
            return
        self._engine.clock.call_later(_SOON, self._wake.set)

    async def _run(self) -> None:
        delay = BEAT
        while self._hosts:
            timer = self._engine.clock.call_later(delay, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            delay = BEAT
            try:
                begun = await self._round()
                delay = _EXPECTING if begun is not None and self._expects else BEAT
            except Exception:  # of the store's code: the next round comes all the same
                _LOG.exception("A round of ownership failed")
        self._running = None

    async def _round(self) -> list[asyncio.Task[None]] | None:
        """Beat, look, take and give up; the tasks that begin shards. None: the store is away."""
        async with self._turn:
            began = self._now()
            try:
                await self._beat()
                members = await self._members()
                decided = await self._decide(members, began)
                return await self._take(decided)
            except StoreUnavailable as fault:
                self._engine.committer.fault_seen(fault)
                return None

    async def _beat(self) -> None:
        """Say that this node lives. Raises `StoreUnavailable`."""
        began = self._now()
        addresses = frozenset({*self._hosts, *self._leaving})
        avoids = frozenset(self._avoids)
        says = NodeRow(addresses, self._place, self.me.rpartition("-")[0], avoids)
        while True:
            state: StateChange = KEEP if says == self._said else says.state()
            if not addresses:
                state = END
            (outcome,) = await self._store.commit(
                [StateCommit(self._row, self._version, new_id(), state)]
            )
            if isinstance(outcome, Committed):
                break
            (found,) = await self._store.load([self._row])  # somebody has deleted it
            self._version, self._said = found.version, None
        self._version, self._said = outcome.version, says
        self._lease_begun(began)

    def _lease_begun(self, began: float) -> None:
        if not self.holds:  # others may have taken what it had, while nobody looked here
            self._let_go()
        self.lease_until = began + LEASE
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        self._look_at_lease()

    def _look_at_lease(self) -> None:
        """Let go of everything where no beat was written for the time of a lease."""
        self._lease_timer = None
        left = self.lease_until - self._now()
        if left > 0.0:
            self._lease_timer = self._engine.clock.call_later(left, self._look_at_lease)
            return
        self._let_go()

    def _let_go(self) -> None:
        if not self._held:
            return
        _LOG.warning(
            "no beat of this node was written for %g s: it lets go of %d shards, which others "
            "may take now",
            LEASE,
            len(self._held),
        )
        held, self._held = self._held, {}
        for (_, shard), one in held.items():
            one.host.finish(shard)

    async def _members(self) -> dict[str, StoredState]:
        found: dict[str, StoredState] = {}
        after = ""
        while True:
            page = await self._store.scan(MEMBERS, after, _PAGE)
            found.update((each.key.key, each) for each in page)
            if len(page) < _PAGE:
                return found
            after = page[-1].key.key

    async def _decide(
        self, members: dict[str, StoredState], began: float
    ) -> list[tuple[ShardHost, Decision, dict[int, StoredState]]]:
        """Raises `StoreUnavailable`."""
        says = {node: member_in(each.state) for node, each in members.items()}
        beats = {node: each.version for node, each in members.items()}
        gone = await gone_among({node: each.place for node, each in says.items()}, self._place)
        live = self._sightings.see(beats, began, gone)
        await self._forget(members, live, began)
        may_give = began - self._moved_at >= _ROUND
        decided = []
        for address, host in tuple(self._hosts.items()):
            keys = [_row_of(address, shard) for shard in range(host.shards)]
            *found, pinned = await self._store.load([*keys, StateKey(PINS, address)])
            rows = dict(enumerate(found))
            owners = {shard: owner_in(row.state) for shard, row in rows.items()}
            here = {node for node in live if address in says[node].addresses} | {self.me}
            held = self.held_of(address)
            pins = pins_in(pinned.state)
            decision = decide(
                self.me,
                address,
                owners,
                held,
                here,
                may_give=may_give,
                pins=pins,
                avoids={node: says[node].avoids for node in here if node in says},
            )
            decided.append((host, decision, rows))
        return decided

    async def _forget(
        self, members: dict[str, StoredState], live: frozenset[str], now: float
    ) -> None:
        """Delete the rows of those that have been gone for long."""
        gone = [
            StateCommit(each.key, each.version, new_id(), END)
            for node, each in members.items()
            if node not in live and self._sightings.unseen_for(node, now) > _FORGET
        ]
        if gone:
            await self._store.commit(gone)

    async def _take(
        self, decided: list[tuple[ShardHost, Decision, dict[int, StoredState]]]
    ) -> list[asyncio.Task[None]]:
        """Do what was decided. Raises `StoreUnavailable`."""
        begun: list[asyncio.Task[None]] = []
        self._expects = any(decision.due for _, decision, _ in decided)
        for host, decision, rows in decided:
            for shard in decision.lost:
                self._held.pop((host.address, shard))
                host.finish(shard)
            if decision.give:
                self._moved_at = self._now()
                for shard in decision.give:
                    self._give_up(host, shard)
            commits = [
                StateCommit(
                    _row_of(host.address, shard),
                    rows[shard].version,
                    new_id(),
                    owner_state(self.me),
                )
                for shard in decision.take
            ]
            outcomes = await self._store.commit(commits) if commits else []
            for shard, outcome in zip(decision.take, outcomes, strict=True):
                if isinstance(outcome, Committed):
                    self._held[host.address, shard] = _Held(host, outcome.version)
                    self.taken += 1
                    begun.append(host.begin(shard))
                    begun[-1].add_done_callback(partial(self._begun, host.address, shard))
        return begun

    def _begun(self, address: str, shard: int, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:  # the next round tries again
            self._held.pop((address, shard), None)

    def _give_up(self, host: ShardHost, shard: int) -> None:
        held = self._held[host.address, shard]
        if not held.giving:
            held.giving = True
            self._engine.spawn(self._hand_over(host, shard))

    async def _hand_over(self, host: ShardHost, shard: int) -> None:
        """Stop consuming, commit, leave; then say that nobody has it."""
        await host.finish(shard)
        try:
            await self._release([(host.address, shard)])
        except StoreUnavailable as fault:  # others find that it is free when the beat says so
            self._engine.committer.fault_seen(fault)


def _steady(engine: DurableEngine) -> Callable[[], float]:
    """The monotonic time, on a real machine that which goes on while it sleeps."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None or not isinstance(engine.clock, LoopClock):
        return engine.now
    return partial(time.clock_gettime, boottime)


def _row_of(address: str, shard: int) -> StateKey:
    return StateKey(shard_address(address, shard))


async def ownership_of(engine: DurableEngine) -> Ownership:
    """The one of a node, made when the first host asks for it."""
    place = await process_place()
    found: Ownership | None = engine.above.get(Ownership)
    if found is None:
        found = engine.above[Ownership] = Ownership(engine, place)
    return found
