"""What a node has for its durable actors: the store, the committer, the rows, who is active.

Made by the node when it was given a store and the first durable actor may start; knows no
node. Activations reach everything else through this. Loop thread only.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from actors import ActorRef, Outcome
from actors.chance import default_random
from actors.runtime import slot_of
from irismq_runtime.dispatch import DurableDelivery
from irismq_runtime.durability.activation import Activation
from irismq_runtime.durability.addressing import Addressing
from irismq_runtime.durability.committer import Committer
from irismq_runtime.durability.crowding import Crowding
from irismq_runtime.durability.dispatch import AWAY, PAUSE, StatefulDispatch
from irismq_runtime.durability.loads import Loads
from irismq_runtime.durability.origin import RowOrigin
from irismq_runtime.durability.results import ResultDispatch, Results
from irismq_runtime.durability.rights import Rights
from irismq_runtime.durability.rows import RowSender
from irismq_runtime.durability.staging import begin_staging
from irismq_runtime.durability.state_codec import StateCodec
from irismq_runtime.durability.unit import Unit, is_answered, is_durable
from irismq_runtime.durability.wheel import ReminderWheel
from irismq_runtime.errors import ConfigError, StoreUnavailable
from irismq_runtime.ports.state_store import StateKey, StoreSizes
from irismq_runtime.wire.headers import ORIGIN, REPEATS, REPEATS_LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from actors import System
    from actors.runtime import Slot
    from irismq_runtime.dispatch import StoredDispatch
    from irismq_runtime.durability.asked import AskedIds
    from irismq_runtime.observe.logs import RateLimitedLog
    from irismq_runtime.ports.state_store import (
        CommitOutcome,
        OwnedRight,
        StateCommit,
        StateStore,
        StoredState,
        StoreInfo,
    )
    from irismq_runtime.refs import Outbound

__all__ = ["ENGINES", "DurableEngine", "DurableNumbers"]


D = TypeVar("D", bound=StatefulDispatch)

_LOG: Final = logging.getLogger("irismq.durable")
#: Seconds for which the ids of handled messages are kept that have no row here, and may repeat.
KEPT: Final[float] = REPEATS_LONG
#: The last header of what is relayed.
_REPEATING: Final = (REPEATS, REPEATS_LONG)


@dataclass(slots=True)
class DurableNumbers:
    """Plain numbers, changed on the loop alone.

    `commits`, `messages` in them, and the `seconds` that they took; commits `lost` to
    another activation; rows that were `sent_again`. What the store had at the last look for what
    is missing: nothing before the first.
    """

    commits: int = 0
    messages: int = 0
    seconds: float = 0.0
    lost: int = 0
    sent_again: int = 0
    sizes: StoreSizes = field(default_factory=partial(StoreSizes, 0, 0))

    def committed(self, messages: int, seconds: float) -> None:
        """One commit more."""
        self.commits += 1
        self.messages += messages
        self.seconds += seconds


class DurableEngine:
    """The durable actors of one node.

    Args:
        store: Open.
        outbound: The sending half of the node.
        system: The actors of the node.
        log: For what happens often.
        republish_after: Seconds past due after which a row may be missing; half of it is between
            two looks for that, and for so long a mailbox is quiet before.
        outbox_rows: Rows that may wait for one address before telling it is refused.
        chance: Gives numbers from 0 to 1, for pauses after lost races.
    """

    def __init__(
        self,
        store: StateStore,
        outbound: Outbound,
        system: System,
        log: RateLimitedLog,
        *,
        republish_after: float = 60.0,
        outbox_rows: int = 100_000,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self.store = store
        self.outbound = outbound
        self.packer = outbound.packer
        self.mailbox = outbound.mailbox
        self.publish_timeout = outbound.publish_timeout
        #: Whether what a message says of the store is ours to say: with keys nobody else can.
        self.believes = self.packer.signs
        self.clock = system.clock
        self.now = system.clock.monotonic
        self.events = system.events
        self.soon = system.loop.call_soon
        self.chance = default_random().random if chance is None else chance
        self.republish_after = republish_after
        self.closed = False
        #: What the store was when it was looked at last, and what that comes to.
        self._info: StoreInfo | None = None
        self._origin = RowOrigin("", 0)
        self._ending: tuple[str, object] = (ORIGIN, "")
        self._blank = b""
        self.numbers = DurableNumbers()
        self.addressing = Addressing(store, self.now)
        self.rights = Rights(self)
        self.committer = Committer(self, store)
        self.rows = RowSender(self)
        self.wheel = ReminderWheel(self)
        self.crowding = Crowding(self, outbox_rows)
        self._log = log
        self._system = system
        self._active: dict[StateKey, Activation] = {}
        #: Who is about to be active.
        self._starting: dict[StateKey, Slot] = {}
        #: The addresses whose rows are looked after here, active or not.
        self._served: dict[str, None] = {}
        self._loads = Loads(self)
        #: What the floors above keep with it, by their classes.
        self.above: dict[type, Any] = {}
        self._dispatches: dict[StatefulDispatch, None] = {}
        self._looking = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.results = Results(self)

    @property
    def look_every(self) -> float:
        """Seconds between two looks for what is missing."""
        return self.republish_after / 2

    @property
    def origin(self) -> RowOrigin:
        """What the rows of the store are marked with now."""
        self._seen()
        return self._origin

    def _seen(self) -> None:
        """Take what the store is now, if that has changed."""
        info = self.store.info
        if info is not self._info:
            self._info = info
            self._origin = RowOrigin(info.id.hex(), info.epoch)
            self._ending = (ORIGIN, self._origin.blank())
            self._blank = self._origin.blank().encode()

    @property
    def blank(self) -> bytes:
        """How an envelope ends that only lacks the number of its row: see `origin`."""
        self._seen()
        return self._blank

    def ending_of(self, to: StateKey, *, owned: bool) -> tuple[str, object] | None:
        """The last header of a message that is told to `to`; None: it is not known yet."""
        if not owned:
            return _REPEATING
        self._seen()
        return self._ending if self.addressing.is_owned(to) else None

    @property
    def url(self) -> str:
        """Where the store is, without any password."""
        return self.store.info.url

    @property
    def uncommitted(self) -> int:
        """Messages whose handlers have returned and that are not committed."""
        return sum(len(activation.pending) for activation in self._active.values())

    # Actors ---------------------------------------------------------------------

    async def activate(
        self, slot: Slot, kind: type | None, limit: int, key: StateKey | None = None
    ) -> Activation:
        """Begin an incarnation of the durable actor in `slot`, with its state.

        Args:
            slot: Where it lives.
            kind: The type of its state; None: it has none.
            limit: Bytes that a state may have.
            key: What its state is kept under, where that is not its address alone; what serves
                the address is somebody else's (`serve`).

        Raises:
            ConfigError: It has no address, or another actor here has the same.
            StateUnreadable: This code cannot read what is stored.
        """
        keyed = key is not None
        if key is None:
            key = StateKey(slot.actor.address or "")
        if not key.address:
            raise ConfigError(
                f"{slot.actor_class.__name__}.address",
                "a durable actor has none, and its state is kept under it",
                'give the class one: address = "shop.cart"',
            )
        before = self._active.get(key)
        other = self._starting.get(key)
        if other is None and before is not None and not before.slot.down:
            other = before.slot
        if other is not None and other is not slot:
            raise ConfigError(
                f"{slot.actor_class.__name__}.address",
                f"{other.ref} has the one state of {key.address!r} on this node already",
                "start one actor of a durable address on a node",
            )
        self._starting[key] = slot
        try:
            if before is not None:
                before.close()
                await before.flushed(before.generation)
            name = key.address if not keyed else str(slot.actor.__asked_as__)
            codec = None if kind is None else StateCodec(self.packer.serializer, kind, name, limit)
            activation = Activation(self, slot, key, codec)
            await activation.load()
            if not keyed:
                await activation.make_known()
                await self.serve(key.address)
                self.addressing.add(key.address)
            self._active[key] = activation
            begin_staging(self.outbound)
            return activation
        finally:
            del self._starting[key]

    async def serve(self, address: str) -> None:
        """The actors of `address` run here from now on: send what they told and nobody has."""
        self._served[address] = None
        self.wheel.look_by(0.0)
        if self.committer.fault is None:
            try:
                await self.rows.take_over(address)
            except StoreUnavailable as fault:  # they are found when it is looked for them again
                self.committer.fault_seen(fault)

    @property
    def served(self) -> tuple[str, ...]:
        """The addresses whose rows are looked after here."""
        return tuple(self._served)

    def leave(self, address: str) -> None:
        """The actors of `address` run elsewhere from now on."""
        self._served.pop(address, None)

    def ended(self, key: StateKey) -> None:
        """The actor of `key` has ended in order: nothing of it is kept here."""
        activation = self._active.pop(key, None)
        if activation is not None:
            activation.close()

    def is_at_rest(self, key: StateKey) -> bool:
        """Whether nothing of what the actor of `key` has done is on its way to the store."""
        activation = self._active.get(key)
        return activation is None or activation.is_at_rest

    def unbound(self, ref: ActorRef[Any], address: str) -> None:
        """The actor of `ref` is reached no more at `address`: it has ended, or its node ends."""
        for dispatch in tuple(self._dispatches):
            if dispatch.feeds(ref):
                del self._dispatches[dispatch]
        for keeping in tuple(self.results.dispatches):
            if keeping.feeds(ref):
                del self.results.dispatches[keeping]
        slot = slot_of(ref)
        if slot.ended:
            self._served.pop(address, None)
            activation = self._active.get(StateKey(address))
            if activation is not None and activation.slot is slot:
                self.ended(activation.key)

    async def flush(self, address: str) -> None:
        """Wait until what the actors of `address` have done is committed, or cannot be now."""
        for key, activation in tuple(self._active.items()):
            while key.address == address and activation.pending and self.committer.fault is None:
                await activation.until_moved()

    def dispatch(self, owner: str, *args: Any, **options: Any) -> StatefulDispatch:
        """Return what feeds the durable actor of the address `owner`; see `StoredDispatch`."""
        return self.fed_by(StatefulDispatch(self, owner, *args, **options))

    def fed_by(self, dispatch: D) -> D:
        """Let `dispatch` take nothing while the store is away, until it is `unbound`."""
        self._dispatches[dispatch] = None
        self._look_after(dispatch)
        return dispatch

    def keeping(self, keep: float, *args: Any, **options: Any) -> ResultDispatch:
        """Return what feeds an ordinary actor whose results are kept; see `StoredDispatch`."""
        dispatch = ResultDispatch(self.results, keep, *args, **options)
        self.results.dispatches[dispatch] = None
        self._look_after(dispatch)
        return dispatch

    def _look_after(self, dispatch: StoredDispatch) -> None:
        if self.committer.fault is not None:
            dispatch.pause.add(AWAY)
        if not self._looking:
            self._looking = True
            self.spawn(self._look_again())

    @staticmethod
    def is_durable(actor: object) -> bool:
        """Whether it is to be fed by `dispatch`."""
        return is_durable(actor)

    # What activations need ------------------------------------------------------

    async def load(self, key: StateKey) -> StoredState:
        """What is stored for `key`, as soon as the store can be used; many at once in one read."""
        return await self._loads.load(key)

    async def commit_first(self, commit: StateCommit) -> CommitOutcome | None:
        """Commit for a key that was never written, when the store can be used; None: not known."""
        await self.committer.usable()
        try:
            return (await self.store.commit([commit]))[0]
        except StoreUnavailable as fault:
            if fault.kind != "conflict":
                self.committer.fault_seen(fault)
            return None

    async def sleep(self, seconds: float) -> None:
        """Wait on the node's clock."""
        done = self._system.loop.create_future()
        timer = self.clock.call_later(seconds, _wake, done)
        try:
            await done
        finally:
            timer.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that ends with this; what it raises is logged.

        Not a task of the system, whose orderly end waits for those. Raises `RuntimeError`
        where the loop is closed; the coroutine is, too.
        """
        task = self._system.new_task(coroutine, contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("A task of the durable actors failed", exc_info=error)

    def settle(self, unit: Unit, asked: AskedIds) -> None:
        """It is committed: whoever waits for its message learns how it ended."""
        unit.end(None)
        if unit.result is not None:
            self.results.known(unit.result)
        if unit.waits is not None:
            item, answer = unit.waits
            others = [] if unit.question is None else asked.done(unit.question[0])
            for each in (item, *others):
                if unit.refusal is None:
                    each.reply(answer)
                else:
                    each.fail(Outcome("refused", error=unit.refusal))

    def fail(self, unit: Unit, outcome: Outcome) -> None:
        """It cannot be committed, and is not tried again."""
        unit.drop()
        if unit.waits is not None:
            unit.waits[0].fail(outcome)

    def refuse(self, item: Any, fault: StoreUnavailable) -> bool:
        """The store is away: end the message of `item`; False: nobody waits for its end."""
        if isinstance(item, DurableDelivery):
            dispatch = item.dispatch
            if isinstance(dispatch, StatefulDispatch):
                dispatch.take_back(item)
            item.fail(Outcome("cancelled"))
        elif is_answered(item):
            item.fail(Outcome("refused", error=fault))
        else:
            return False
        return True

    def tell_again(self, item: DurableDelivery, delay: float) -> None:
        """Let go of a message whose row stands, and tell the row again in `delay` seconds."""
        dispatch = item.dispatch
        if isinstance(dispatch, StatefulDispatch) and item.envelope is not None:
            dispatch.let_go(item)
            self.spawn(self._tell_again(item.envelope.id, delay))

    async def _tell_again(self, id: bytes, delay: float) -> None:  # noqa: A002  # the field's name on the wire
        await self.sleep(delay)
        try:
            await self.rows.again(id)
        except StoreUnavailable as fault:  # then it is missing, and found as such
            self.committer.fault_seen(fault)

    async def use_up(self, key: StateKey, row: OwnedRight) -> None:
        """Let the row be gone, or dead (`row.aside`), in the order of the commits of `key`.

        One that is gone, or meant for another key, is left as it is.

        Raises:
            StoreUnavailable: It is not known to be.
            NotInUnit: The commit was lost to another activation.
        """
        (found,) = await self.store.standing(key, [row])
        activation = self._active.get(key)
        if found.state == "gone" or (found.state == "dead" and row.aside):
            return
        if found.state == "dead":
            await self.store.forget([row.id])
            return
        if activation is None or found.state == "early":
            reason = "its actor is not active here, or an earlier message of its sender waits"
            raise StoreUnavailable(self.url, "conflict", reason)
        done = self._system.loop.create_future()
        activation.use_up(row, partial(_tell_end, done))
        await done

    def count_try(self, id: bytes, delay: float) -> None:  # noqa: A002  # the field's name on the wire
        """A try of the message with the row `id` failed, and comes again in `delay` seconds."""
        self.spawn(self._count_try(id, delay))

    async def _count_try(self, id: bytes, delay: float) -> None:  # noqa: A002  # as above
        try:
            await self.store.put_off([id], delay, tried=True)
        except StoreUnavailable as fault:
            self.committer.fault_seen(fault)

    # The store comes and goes -------------------------------------------------------

    def store_lost(self, fault: StoreUnavailable) -> None:
        """Consume nothing while it cannot be used."""
        for activation in self._active.values():
            activation.has_moved()  # who waits for a commit looks again
        if fault.kind != "conflict":
            self._log.fault("store", "%s", str(fault), like=(fault.kind,))
        for dispatch in (*self._dispatches, *self.results.dispatches):
            dispatch.pause.add(AWAY)
        if self.events.active:
            self.events.emit("store.lost", store=fault.store, kind=fault.kind, reason=fault.reason)

    def load_all_again(self, fault: StoreUnavailable) -> None:
        """The store was accepted as it is: what rests on what it had before does not count."""
        for activation in self._active.values():
            if not activation.taken:  # what is in a commit ends with it
                activation.store_failed(fault)

    def store_found(self) -> None:
        """It can be used again."""
        for dispatch in (*self._dispatches, *self.results.dispatches):
            dispatch.pause.remove(AWAY)
        if self.events.active:
            self.events.emit("store.found", store=self.url)

    async def _look_again(self) -> None:
        while not self.closed:
            await self.sleep(self.look_every)
            if self.committer.fault is not None:
                continue
            try:
                await self.rows.look(tuple(self._served), self._quiet(), self._passed())
                for dispatch in tuple(self._dispatches):
                    await dispatch.forget_handled(self.look_every)
                while await self.store.tidy(KEPT):
                    await self.sleep(PAUSE)
                self.numbers.sizes = await self.store.sizes()
            except StoreUnavailable as fault:
                self.committer.fault_seen(fault)
            except Exception:  # what is missing is looked for again all the same
                _LOG.exception("Looking for what is missing failed")

    def _quiet(self) -> frozenset[str]:
        """The addresses whose mailbox has had nothing for a while, though it was asked."""
        return frozenset(
            dispatch.owner
            for dispatch in self._dispatches
            if dispatch.kind == "tell" and dispatch.is_quiet(self.look_every)
        )

    def _passed(self) -> dict[str, int]:
        """The rows that each address had come to a look ago: earlier ones have not come."""
        passed = dict.fromkeys(self._served, 0)
        for key, each in self._active.items():
            passed[key.address] = max(passed.get(key.address, 0), each.passed_by_now())
        return passed

    async def close(self) -> None:
        """Commit what has returned, if the store can be used, and close it."""
        await self.committer.idle()
        self.closed = True
        self.wheel.stop()
        while self._tasks:  # one that ends may begin another
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks))
        ENGINES.pop(self._system, None)
        await self.store.close()


def _tell_end(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


#: The engine of each system whose node has a store.
ENGINES: Final[WeakKeyDictionary[System, DurableEngine]] = WeakKeyDictionary()
