"""The entities of one class that are active on one node, by key.

    no entry -> starting -> active -> (idle, or too many) -> ending -> no entry
                   |           |                                |  something came meanwhile
                   v           v                                v
                 down <-- it crashed                         starting

An entity that crashes is started again at once; one that crashes again without a quiet time
in between, or that cannot be started, waits longer each time: asks of it fail with `Restarting`,
what is stored is stored again for later, which is no attempt, and no other key is held up. What
comes while one ends waits in its inbox, and has it started again: of one key there are never two.

Knows slots and the engine; no broker, no relay and no shard. Loop thread only.
"""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors import Outcome, runtime
from actors.delays import exponential_delay
from actors.errors import ActorError
from irismq_runtime.dispatch import AskDelivery, DurableDelivery
from irismq_runtime.durability import StatefulDispatch, StateUnreadable
from irismq_runtime.messaging import shard_address, shard_of
from irismq_runtime.ports.state_store import StateKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors import ActorRef, Exit
    from actors.runtime import Slot
    from irismq_runtime.durability import DurableEngine

__all__ = ["EntityTable", "KeptEntity"]

#: Seconds before the second start in a row after a crash; it doubles
_FIRST_WAIT: Final = 0.1
#: up to this.
_LONGEST_WAIT: Final = 30.0
#: Seconds of life after which a crash is the first one again.
_QUIET: Final = 30.0
#: Seconds that an entity has to end in order.
_TO_END: Final = 5.0
#: Entities that are ended at the same time.
_AT_ONCE: Final = 200
#: The share of all that are let go when there are too many.
_SHARE: Final = 20


class KeptEntity:
    """One entity: its slot, when it was used last, and how it has failed lately."""

    __slots__ = ("began", "ending", "failures", "key", "retry_at", "slot", "used")

    def __init__(self, key: StateKey, slot: Slot, now: float) -> None:
        #: What its state is kept under.
        self.key = key
        self.slot = slot
        self.used = now
        #: When it was started last, on the monotonic clock.
        self.began = now
        self.failures = 0
        #: When it is started again; 0.0 while nothing keeps it from that.
        self.retry_at = 0.0
        self.ending = False


class EntityTable:
    """See the module.

    Args:
        engine: The durable actors of the node.
        host: The ref of their host, which is their parent.
        entity: Their class, a subclass of `Entity`.
        args: What their constructor is given,
        kwargs: also by name.
    """

    def __init__(
        self,
        engine: DurableEngine,
        host: ActorRef[Any],
        entity: type[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._system = runtime.slot_of(host).system
        self._clock = engine.clock
        self._host = host
        self.entity = entity
        self.address: str = entity.address
        self._args = args
        self._kwargs = kwargs
        self._entries: dict[str, KeptEntity] = {}
        self.closed = False
        #: Called with the address of a shard that has a state which newer code has written.
        self.on_newer: Callable[[str], None] | None = None
        #: How many were made active, and how many of them were let go again.
        self.activated = self.rested = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[KeptEntity]:
        return iter(tuple(self._entries.values()))

    def find(self, key: str) -> KeptEntity | None:
        """The entity of `key`, if it is active."""
        return self._entries.get(key)

    def entry_for(self, key: str) -> KeptEntity:
        """The entity of `key`, which is started if it rests; a message for it has come."""
        entry = self._entries.get(key)
        if entry is None:
            return self._begin(key)
        entry.used = self._clock.monotonic()
        return entry

    def _begin(self, key: str) -> KeptEntity:
        slot = runtime.new_slot(
            self._system,
            self.entity,
            self._args,
            self._kwargs,
            name=key,
            parent=self._host,
            hosted=True,
        )
        shard = shard_address(self.address, shard_of(key, self.entity.shards))
        entry = KeptEntity(StateKey(shard, key), slot, self._clock.monotonic())
        slot.on_down = partial(self._down, entry)
        self._entries[key] = entry
        self.activated += 1
        if len(self._entries) > self.entity.max_active:
            self._make_room()
        self._system.spawn(self._start(entry))
        return entry

    async def started(self, entry: KeptEntity) -> None:
        """Wait until an entity has started, or could not."""
        with suppress(ActorError):
            await entry.slot.wait_started()

    # Starting, and starting again -----------------------------------------------

    async def _start(self, entry: KeptEntity) -> None:
        try:
            await runtime.start(entry.slot)
        except ActorError as error:
            if self.on_newer is not None and _is_of_newer_code(error):
                self.on_newer(entry.key.address)
            self._failed(entry)
            return
        entry.began = self._clock.monotonic()
        if entry.slot.ignored:  # it does not want to be, and somebody wants something of it
            self._failed(entry)

    def _down(self, entry: KeptEntity, _slot: Slot, exit_: Exit) -> None:
        """Its incarnation is over, and nobody has asked for that."""
        if self.closed:
            return
        if exit_.reason in {"crash", "killed"}:
            self._failed(entry)
        else:
            entry.ending = True
            self._system.spawn(self._end(entry))

    def _failed(self, entry: KeptEntity) -> None:
        now = self._clock.monotonic()
        if now - entry.began > _QUIET:
            entry.failures = 0
        delay = 0.0
        if entry.failures:
            chance = self._engine.chance()
            delay = exponential_delay(entry.failures - 1, _FIRST_WAIT, _LONGEST_WAIT, chance)
            entry.retry_at = now + delay
            entry.slot.retry_after = delay
            self._put_off(entry, delay)
        entry.failures += 1
        self._clock.call_later(delay, self._start_again, entry)

    def _put_off(self, entry: KeptEntity, delay: float) -> None:
        """What is stored is not held here until it can be handled."""
        for item in tuple(entry.slot.inbox):
            if isinstance(item, DurableDelivery) and isinstance(item.dispatch, StatefulDispatch):
                item.dispatch.put_off(item, delay)
                item.fail(Outcome("cancelled"))

    def _start_again(self, entry: KeptEntity) -> None:
        if self.closed or entry.slot.ended:
            return
        entry.retry_at = 0.0
        wanted = entry.slot.inbox or entry.key.key in self.entity.__eager__
        if wanted or self._clock.monotonic() - entry.used < _QUIET:
            self._system.spawn(self._start(entry))
        else:  # nobody wants it
            entry.ending = True
            self._system.spawn(self._end(entry))

    # Resting --------------------------------------------------------------------

    def rest_idle(self) -> None:
        """Let those go that nobody has used for a while."""
        latest = self._clock.monotonic() - self.entity.idle
        for entry in self:
            if entry.used <= latest:
                self.rest(entry)

    def _make_room(self) -> None:
        most = max(1, len(self._entries) // _SHARE)
        for entry in heapq.nsmallest(most, self._entries.values(), key=lambda entry: entry.used):
            self.rest(entry)

    def rest(self, entry: KeptEntity) -> bool:
        """Let an entity go, if it has nothing to do; whether it goes."""
        if entry.ending or not self._is_at_rest(entry):
            return False
        entry.ending = True
        self._system.spawn(self._end(entry))
        return True

    def _is_at_rest(self, entry: KeptEntity) -> bool:
        slot = entry.slot
        if slot.state is not runtime.SlotState.RUNNING or slot.inbox or slot.scheduled:
            return False
        attached = slot.attached
        if attached is not None and (attached.promises or attached.stash):
            return False
        return not slot.delayed and self._engine.is_at_rest(entry.key)

    async def _end(self, entry: KeptEntity) -> None:
        """End it in order, and forget it; unless something has come meanwhile."""
        slot = entry.slot
        await runtime.stop(slot, "shutdown", timeout=_TO_END)
        if slot.inbox and not self.closed:
            entry.ending = False
            await self._start(entry)
            return
        if self._entries.get(entry.key.key) is entry:  # in one step with its end
            del self._entries[entry.key.key]
            self.rested += 1
        await self._ended(entry)

    async def _ended(self, entry: KeptEntity) -> None:
        slot = entry.slot
        for item in tuple(slot.inbox):  # its next owner is to be asked
            if isinstance(item, AskDelivery):
                item.turn_away()
        ending = runtime.end(slot, slot.exit or slot.make_exit("shutdown"))
        self._engine.ended(entry.key)
        await ending

    async def end_shard(self, address: str) -> None:
        """End the entities of one shard, which others have from now on.

        Those that have nothing to do hold nobody up: they end afterwards.
        """
        busy: list[KeptEntity] = []
        idle: list[KeptEntity] = []
        for entry in self:
            if entry.key.address == address:
                (idle if self._is_at_rest(entry) else busy).append(entry)
        await self._end_all(busy, _TO_END)
        if idle:
            self._system.spawn(self._end_all(idle, _TO_END))

    async def close(self, timeout: float = _TO_END) -> None:
        """End all of them; each has `timeout` seconds."""
        self.closed = True
        await self._end_all(list(self), timeout)

    async def _end_all(self, entries: list[KeptEntity], timeout: float) -> None:
        for first in range(0, len(entries), _AT_ONCE):
            some = entries[first : first + _AT_ONCE]
            await asyncio.gather(*(self._close(entry, timeout) for entry in some))

    async def _close(self, entry: KeptEntity, timeout: float) -> None:
        entry.ending = True
        await runtime.stop(entry.slot, "shutdown", timeout=timeout)
        if self._entries.get(entry.key.key) is entry:
            del self._entries[entry.key.key]
        await self._ended(entry)


def _is_of_newer_code(error: BaseException | None) -> bool:
    """Whether an entity could not start as its state was written by newer code."""
    while error is not None:
        if isinstance(error, StateUnreadable):
            return error.newer
        error = error.__cause__
    return False
