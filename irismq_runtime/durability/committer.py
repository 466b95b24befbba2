"""The committer of a node: one commit at a time, of all that has gathered meanwhile.

    idle -> (an activation has units) -> committing -> looking -> idle
                                            |  the store cannot be used
                                            v
                                          waiting: nothing is begun; it is tried again

Where nothing is to be written the version is looked at, so that no answer is given from a state
that another activation has changed. A lone message waits for one commit, and many at once
share one. A commit whose outcome
nobody heard is settled by a barrier: the same key, the same version, nothing to write. If
that fits, the lost commit can never land; if it does not, the id of the commit that stands
says whose it is. Loop thread only.
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import shake_128
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import StoreUnavailable
from irismq_runtime.ports.state_store import (
    ABSENT,
    END,
    CommitInvalid,
    CommitLost,
    Committed,
    RightsGone,
    StateCommit,
    StateKey,
)
from irismq_runtime.wire import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.durability.unit import Unit
    from irismq_runtime.ports.state_store import CommitOutcome, StateStore, StoreTransaction

_LOG: Final = logging.getLogger("irismq.durable")

__all__ = ["MOST_TOGETHER", "Committer", "PendingCommit"]

#: Messages in one commit.
MOST_TOGETHER: Final = 256
#: Seconds between two looks at a store that cannot be used.
_PROBE: Final = 0.5
#: What a probe writes, and ends again: so much that it does not fit where little else does, and
#: that no store makes it smaller.
_NOBODY: Final = StateKey("irismq.probe")
_PROBE_SIZE: Final = 1 << 16


class PendingCommit:
    """What one activation has in a commit."""

    __slots__ = ("_commit", "activation", "units")

    def __init__(
        self, activation: Activation, units: list[Unit], commit: StateCommit | None = None
    ) -> None:
        self.activation = activation
        self.units = units
        self._commit = commit

    @property
    def commit(self) -> StateCommit:
        """What the store is asked: made when it is first wanted, once all addresses are known."""
        if self._commit is None:
            self._commit = self.activation.commit_of(self.units)
        return self._commit

    @property
    def is_read(self) -> bool:
        """Whether nothing is to be written: then the version is looked at, and that is all."""
        return all(unit.is_empty for unit in self.units)


class Committer:
    """Commits what the activations of one node have gathered. See above.

    Attributes:
        fault: Why the store cannot be used now; None while it can.
    """

    __slots__ = (
        "_alone",
        "_dirty",
        "_engine",
        "_faulty",
        "_running",
        "_store",
        "_usable",
        "fault",
    )

    def __init__(self, engine: DurableEngine, store: StateStore) -> None:
        self._engine = engine
        self._store = store
        self._dirty: dict[Activation, None] = {}
        self._running: asyncio.Task[None] | None = None
        #: Commits of handlers that have a transaction of their own.
        self._alone: dict[asyncio.Task[None], None] = {}
        self._usable: asyncio.Event = asyncio.Event()
        self._usable.set()
        self._faulty = asyncio.Event()
        self.fault: StoreUnavailable | None = None

    def wake(self, activation: Activation) -> None:
        """This activation has units that are not committed."""
        fault = self.fault
        if fault is not None:
            if not activation.taken:  # what is in a commit ends with it
                self._engine.soon(activation.store_failed, fault)
            return
        self._dirty[activation] = None
        if self._running is None:
            self._running = self._engine.spawn(self._run())

    async def idle(self) -> None:
        """Wait until nothing is to be committed, or the store cannot be used."""
        while self.fault is None:
            runs = [*self._alone, *([] if self._running is None else [self._running])]
            if not runs:
                return
            faulty = asyncio.ensure_future(self._faulty.wait())
            await asyncio.wait([*runs, faulty], return_when=asyncio.FIRST_COMPLETED)
            faulty.cancel()

    async def usable(self) -> None:
        """Wait until the store can be used."""
        await self._usable.wait()

    async def _run(self) -> None:
        try:
            while self.fault is None and (gathered := self._gather()):
                try:
                    await self._end(gathered)
                except Exception as error:  # a fault of ours or the store's
                    left = [each for each in gathered if each.activation.taken]
                    self._failed(left, self._unforeseen(error))  # nobody is left waiting
                    raise
        finally:
            self._running = None

    def _unforeseen(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(self._engine.url, "away", repr(error), "unknown")

    async def _end(self, gathered: list[PendingCommit]) -> None:
        """Commit what writes, then look at what reads."""
        if not await self._learn(gathered):
            return
        reads = [each for each in gathered if each.is_read]
        if len(reads) < len(gathered):
            writes = [each for each in gathered if not each.is_read]
            fault = await self._commit(writes)
            if fault is not None and reads and fault.kind != "conflict":
                self._failed(reads, fault)  # what becomes of the others is nothing to them
                reads = []
            if fault is not None and fault.outcome == "unknown":
                await self._settle_unknown(writes, fault)
            elif fault is not None:
                self._failed(writes, fault)
        if reads:
            await self._look(reads)

    def _gather(self) -> list[PendingCommit]:
        """The units of the next commit, of as many activations as there is room for."""
        gathered = []
        room = MOST_TOGETHER
        while self._dirty and room > 0:
            activation = next(iter(self._dirty))
            del self._dirty[activation]
            units = activation.take(room)
            if units:
                room -= len(units)
                gathered.append(PendingCommit(activation, units))
        return gathered

    async def _learn(self, gathered: list[PendingCommit]) -> bool:
        """Know whether the addresses that are told are durable; False: the store failed."""
        units = [unit for each in gathered for unit in each.units if unit.staged]
        if units:
            try:
                await self._engine.addressing.learn(units)
            except StoreUnavailable as fault:
                self._failed(gathered, fault)
                return False
        return True

    async def _commit(self, gathered: list[PendingCommit]) -> StoreUnavailable | None:
        """Commit them together; what the store failed with, None if it did not."""
        began = self._engine.now()
        try:
            outcomes = await self._store.commit([each.commit for each in gathered])
        except StoreUnavailable as fault:
            return fault
        self._engine.numbers.committed(
            sum(len(each.units) for each in gathered), self._engine.now() - began
        )
        self._done(gathered, outcomes)
        return None

    async def _look(self, reads: list[PendingCommit]) -> None:
        """Answer from a state that nobody else has changed meanwhile."""
        try:
            found = await self._store.load([each.commit.key for each in reads])
        except StoreUnavailable as fault:
            self._failed(reads, fault)
            return
        for each, stored in zip(reads, found, strict=True):
            if stored.version == each.commit.version:
                each.activation.looked_at(each.units)
            else:
                self._one_done(each, CommitLost(stored.version, stored.commit))

    def _done(self, gathered: list[PendingCommit], outcomes: Sequence[CommitOutcome]) -> None:
        for each, outcome in zip(gathered, outcomes, strict=True):
            self._one_done(each, outcome)
        for each, outcome in zip(gathered, outcomes, strict=True):
            if isinstance(outcome, Committed) and each.commit.staged:
                self._engine.rows.send(each.commit, outcome.version)

    def _one_done(self, each: PendingCommit, outcome: CommitOutcome) -> None:
        activation = each.activation
        match outcome:
            case Committed():
                activation.committed(each.units, outcome.version)
            case CommitLost() if self._went_back(each, outcome):
                reason = f"{each.commit.key} has version {outcome.version}, and had a later one"
                fault = StoreUnavailable(self._engine.url, "went back", reason)
                self._fail_dirty(fault)
                activation.store_failed(fault)
            case CommitLost() | RightsGone():
                self._engine.numbers.lost += 1
                activation.lost()
            case CommitInvalid():
                activation.invalid(each.units, outcome.error)

    def _went_back(self, each: PendingCommit, outcome: CommitLost) -> bool:
        """Whether the store has less than was loaded, and nobody has accepted that since."""
        less = ABSENT < outcome.version < each.commit.version
        return less and self._engine.origin.epoch == each.activation.epoch

    # Units that commit alone --------------------------------------------------------

    def commit_alone(self, activation: Activation, unit: Unit) -> None:
        """Commit a unit with the transaction that its handler began."""
        transaction, unit.transaction = unit.transaction, None
        if transaction is not None:
            each = PendingCommit(activation, [unit])
            task = self._engine.spawn(self._commit_alone(each, transaction))
            self._alone[task] = None
            task.add_done_callback(self._alone.pop)

    async def _commit_alone(self, each: PendingCommit, transaction: StoreTransaction) -> None:
        (unit,) = each.units
        try:
            outcome = await transaction.commit(each.commit)
        except StoreUnavailable as fault:
            if fault.kind in {"ended", "late"}:
                each.activation.spoiled(unit, fault)
            elif fault.outcome == "not sent":
                self.failed_alone(each.activation, fault)
            else:
                await self._settle_unknown([each], fault)
        except Exception as error:
            self._failed([each], self._unforeseen(error))
            raise
        else:
            self._done([each], [outcome])

    def failed_alone(self, activation: Activation, fault: StoreUnavailable) -> None:
        """A transaction of a handler did not begin, or nothing of it is written."""
        if fault.kind == "conflict":
            activation.lost()
        else:
            self.fault_seen(fault)
            activation.store_failed(fault)

    # A store that cannot be used -------------------------------------------------

    def _failed(self, gathered: list[PendingCommit], fault: StoreUnavailable) -> None:
        """Nothing of it is written."""
        if fault.kind == "conflict":  # others were in the way: no fault of anybody
            for each in gathered:
                each.activation.lost()
            return
        self._fail_dirty(fault)
        for each in gathered:
            each.activation.store_failed(fault)

    def _fail_dirty(self, fault: StoreUnavailable) -> None:
        self.fault_seen(fault)
        dirty, self._dirty = self._dirty, {}
        for activation in dirty:
            if not activation.taken:  # what is in a commit ends with it
                activation.store_failed(fault)

    def fault_seen(self, fault: StoreUnavailable) -> None:
        """The store does not do what it is asked: begin nothing, and look again."""
        if self.fault is None:
            # As those see it whose messages were not begun.
            self.fault = StoreUnavailable(fault.store, fault.kind, fault.reason)
            self._usable.clear()
            self._faulty.set()
            self._engine.store_lost(fault)
            self._engine.spawn(self._probe(fault))

    async def _probe(self, fault: StoreUnavailable) -> None:
        epoch = self._store.info.epoch
        logged = ""
        while True:
            await self._engine.sleep(_PROBE)
            try:
                if not await self._writes():
                    continue
                seen = (await self._store.look()).epoch
            except StoreUnavailable as again:
                self.fault = fault = again
                continue
            except Exception as error:  # of the store's code: it is looked at again all the same
                if repr(error) != logged:
                    logged = repr(error)
                    _LOG.error("the store failed as it must not", exc_info=error)
                continue
            if fault.kind != "went back" or seen != epoch:
                break
        self.fault = None
        self._faulty.clear()
        self._usable.set()
        if fault.kind == "went back":
            self._engine.load_all_again(fault)
        self._engine.store_found()

    async def _writes(self) -> bool:
        """Whether the store writes; False: another node tries the same. Raises as `commit`."""
        (found,) = await self._store.load([_NOBODY])
        version = found.version
        for state in (shake_128(b"probe").digest(_PROBE_SIZE), END):
            (outcome,) = await self._store.commit([StateCommit(_NOBODY, version, new_id(), state)])
            if not isinstance(outcome, Committed):
                return False
            version = outcome.version
        return True

    async def _settle_unknown(self, gathered: list[PendingCommit], fault: StoreUnavailable) -> None:
        """Find out what became of a commit that nobody heard the end of."""
        self._fail_dirty(fault)
        while True:
            await self.usable()
            barriers = [
                StateCommit(each.commit.key, each.commit.version, new_id()) for each in gathered
            ]
            try:
                outcomes = await self._store.commit(barriers)
            except StoreUnavailable as again:
                self.fault_seen(again)
                continue
            break
        for each, outcome in zip(gathered, outcomes, strict=True):
            self._one_settled(each, outcome, fault)

    def _one_settled(
        self, each: PendingCommit, outcome: CommitOutcome, fault: StoreUnavailable
    ) -> None:
        if isinstance(outcome, CommitLost) and outcome.id == each.commit.id:
            self._one_done(each, Committed(outcome.version))  # it has landed
            self._engine.rows.send(each.commit, outcome.version)
        elif isinstance(outcome, Committed):
            each.activation.lost()  # it never will
        else:
            each.activation.store_failed(fault)
