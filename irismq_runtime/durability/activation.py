"""One incarnation of a durable actor and its state: what has returned and is not committed.

    loading -> ready -> (a commit is lost, or the store is away) -> loading -> ... -> closed

Handlers run ahead of their commits. So the state in memory is that after the last unit
that returned (`HeldState`); `version` is that of what the store has. The units
in between stand in `pending`, in order, and only the committer takes them off.

When one of them cannot be committed none after it can: all are undone, the state is loaded
again, and their messages go back to the front of the inbox, in their order. A message that
is in hand just then is cancelled and goes there too, behind them. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from actors import Delivery, Outcome
from actors.runtime import exit_with, is_refusal, put_back, take_current
from irismq_runtime.durability.asked import AskedIds, question_of
from irismq_runtime.durability.errors import NotInUnit
from irismq_runtime.durability.held_state import HeldState
from irismq_runtime.durability.origin import number_of
from irismq_runtime.durability.results import result_of
from irismq_runtime.durability.state_codec import as_it_is_now
from irismq_runtime.durability.unit import Outside, Unit, UnitState, current_unit, is_answered
from irismq_runtime.ports.state_store import (
    ABSENT,
    END,
    KEEP,
    CommitInvalid,
    Committed,
    OwnedRight,
    StateCommit,
    right_name,
)
from irismq_runtime.wire import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.runtime import Slot
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.durability.reminder_book import ReminderBook
    from irismq_runtime.durability.state_codec import StateCodec
    from irismq_runtime.errors import StoreUnavailable
    from irismq_runtime.ports.state_store import StateKey, StoredState

__all__ = ["MOST_AHEAD", "Activation"]

#: Units of one activation that may have returned and not be committed.
MOST_AHEAD: Final = 32
#: Seconds before the state is loaded again after a race was lost twice in a row; it doubles
_FIRST_WAIT: Final = 0.005
#: up to this.
_LONGEST_WAIT: Final = 1.0


class Activation:
    """The state of one incarnation, and its units on their way to the store.

    Args:
        engine: What all activations of a node share.
        slot: The slot of the actor.
        key: Whose state it is.
        codec: Writes and reads the state; None: the actor has none.
    """

    __slots__ = (
        "_again",
        "_cautious",
        "_loading",
        "_lost",
        "_moved",
        "_passed",
        "_state",
        "asked",
        "closed",
        "early_delay",
        "early_until",
        "engine",
        "epoch",
        "fresh",
        "generation",
        "in_hand",
        "keeps_results",
        "key",
        "latest",
        "leased",
        "open",
        "pending",
        "slot",
        "taken",
        "version",
    )

    def __init__(
        self, engine: DurableEngine, slot: Slot, key: StateKey, codec: StateCodec | None
    ) -> None:
        self.engine = engine
        self.slot = slot
        self.key = key
        #: Seconds for which the results of stored messages are kept; None: they are not.
        self.keeps_results: float | None = getattr(slot.actor_class, "keeps_results", None)
        self.version = ABSENT
        #: The epoch of the store when it was loaded.
        self.epoch = engine.origin.epoch
        self._state = HeldState(key.address, codec)
        #: Which load of the state this is.
        self.generation = 0
        #: Nothing has been committed on what was loaded: rights are looked up.
        self.fresh = True
        #: Until when each message is looked up, as one came before an earlier one of its sender.
        self.early_until = 0.0
        #: Seconds until the next such one is told again; 0: the shortest time.
        self.early_delay = 0.0
        #: The latest message with a row that was handled, or came too early; and the number of
        #: such a row a look ago: see `RowSender.look`.
        self.latest: Any = None
        self._passed = 0
        #: The unit whose handler runs.
        self.open: Unit | None = None
        #: Units that have returned, oldest first; the committer has the first `taken` of them.
        self.pending: deque[Unit] = deque()
        self.taken = 0
        #: Whether a message is in hand that waits for something.
        self.in_hand = False
        #: Messages of undone units, for the front of the inbox.
        self._again: list[Any] = []
        self._loading: asyncio.Task[Any] | None = None
        self._lost = 0
        #: A commit held what the store cannot: the next ones hold one unit each.
        self._cautious = False
        self.asked = AskedIds(engine, key)
        #: Whether this node alone works on the key now; None: that is not known.
        self.leased: Callable[[], bool] | None = None
        self._moved: list[asyncio.Future[None]] = []
        #: The incarnation is over: nothing new begins.
        self.closed = False

    # The state ----------------------------------------------------------------

    def read(self) -> Any:
        """The state as the running code sees it: its unit's, else a copy that stays as it is."""
        unit = current_unit.get()
        if isinstance(unit, Outside):
            unit = unit.unit
        if unit is None or unit is not self.open:
            return self._state.copy()
        return self._state.live()

    def write(self, state: object) -> None:
        """Put another state in the place of the present one. Raises `NotInUnit`, TypeError."""
        unit = current_unit.get()
        if unit is None or unit is not self.open:
            raise NotInUnit("a change of self.state")
        self._state.put(state)

    @property
    def is_at_rest(self) -> bool:
        """Whether no message is in hand, none waits for a commit, and none is to come again."""
        busy = self.open or self.pending or self.in_hand or self._again or self._loading
        return not busy and not self.asked.are_in_hand

    def book(self, what: str) -> ReminderBook:
        """The reminders, for the running handler to change. Raises `NotInUnit`."""
        self.open_here(what)
        return self._state.book()

    def kept_book(self) -> ReminderBook:
        """The reminders as the running code sees them."""
        in_unit = self.open is not None and current_unit.get() is self.open
        return self._state.book() if in_unit else self._state.kept_book()

    # A message ----------------------------------------------------------------

    def is_ready_for(self, item: Any) -> bool:
        """Whether the handler of `item` may begin now; else `prepare` it."""
        return (
            self.engine.committer.fault is None
            and self._loading is None
            and not self._again
            and len(self.pending) < MOST_AHEAD
            and self.engine.rights.needs_no_look(self, item)
        )

    async def prepare(self, item: Any) -> bool:
        """Wait until the handler of `item` may begin; False: it must not, and that is settled."""
        committer = self.engine.committer
        while True:
            if committer.fault is not None:
                if is_answered(item):
                    take_current(self.slot)
                    self.engine.refuse(item, committer.fault)
                    return False
                await committer.usable()
            if self._loading is not None:
                await asyncio.wait([self._loading])
            if self._again:
                return self.give_back(item)
            if len(self.pending) >= MOST_AHEAD:
                await self.until_moved()
                continue
            generation = self.generation
            if await self.engine.rights.look(self, item):
                if generation == self.generation and self._loading is None:
                    return True
                self._ask_again(question_of(item))
            elif generation == self.generation or self.slot.taken:
                return False  # what is taken is settled, whatever was undone meanwhile

    def begin(self, item: Any) -> Unit:
        """The handler of `item` begins."""
        if self.open is not None:  # its coroutine was thrown away before it began
            self.undo(self.open)
        unit = self.open = Unit(item, self.engine.rights.of(item), self.generation)
        unit.question = question_of(item)
        return unit

    def returned(self, unit: Unit, value: Any) -> Any:
        """The handler of `unit` has returned `value`; give what is to be answered at once.

        Raises:
            EncodeError, StateTooLarge: The state cannot be kept; the unit is still open.
        """
        if unit.generation != self.generation:
            self.run_again(unit)
            return None
        if unit.life is UnitState.DROPPED:  # it was stashed
            self.open = None
            self._state.restore()
            unit.drop()
            self._ask_again(unit.question)
            return None
        answer = self._note(unit, value)
        if self._is_sure(unit):
            unit.end(None)
            return answer
        waiting = take_current(self.slot)
        if waiting is None and unit.is_empty and not self.pending:
            unit.end(None)
            return answer
        self._append(unit, waiting, answer)
        return None

    def _is_sure(self, unit: Unit) -> bool:
        """Whether an answer without a change needs no look at the version: nobody else writes."""
        leased = self.leased
        return leased is not None and unit.is_empty and not self.pending and leased()

    def _append(self, unit: Unit, waiting: Any, answer: Any) -> None:
        """The unit has returned, and is to be committed; `waiting` hears of it then."""
        self._return(unit, waiting, answer)
        self.pending.append(unit)
        self.engine.committer.wake(self)

    def _return(self, unit: Unit, waiting: Any, answer: Any) -> None:
        unit.life = UnitState.RETURNED
        if waiting is not None:
            waiting.promised()
            unit.waits = (waiting, answer)
        if unit.change is not None:
            self._state.advance(unit.change)

    def returned_alone(self, unit: Unit, value: Any) -> None:
        """As `returned`, of a handler with a transaction: the next commit is this unit's alone.

        What was to be put aside meanwhile has waited, and comes after it. Raises as `returned`.
        """
        answer = self._note(unit, value)
        self._return(unit, take_current(self.slot), answer)
        self.pending.appendleft(unit)
        self.taken = 1
        self.engine.committer.commit_alone(self, unit)

    def _note(self, unit: Unit, value: Any) -> Any:
        """Note in `unit` what its commit does; the answer as it is now. Raises as `returned`."""
        if unit.change is None:
            unit.change = self._state.change()
        answer = as_it_is_now(value, self.engine.packer.serializer)
        if unit.question is not None:
            unit.right = self.asked.right(*unit.question, answer)
        if self.keeps_results is not None:
            unit.result = result_of(self, unit.item, answer, self.keeps_results)
        self.open = None
        return answer

    def undo(self, unit: Unit, error: BaseException | None = None) -> bool:
        """The handler of `unit` ended in another way; whether units before it are not committed."""
        if unit is self.open:
            self.open = None
            self._state.restore()
        if unit.transaction is not None:
            transaction, unit.transaction = unit.transaction, None
            self.engine.spawn(transaction.rollback())
        if unit.uses_sql and self.pending:  # what has waited for it
            self.engine.committer.wake(self)
        unit.drop()
        if error is None or not self._is_kept(unit, error):
            self._ask_again(unit.question)
        return bool(self.pending)

    def _is_kept(self, unit: Unit, error: BaseException) -> bool:
        """Whether `error` is the answer to a question, which is kept for who asks it again."""
        asked = unit.question is not None and unit.generation == self.generation
        return asked and is_refusal(self.slot, error)

    def keep_refusal(self, unit: Unit, error: BaseException) -> bool:
        """Keep what a handler has refused, if its ask has an id: a commit of that alone."""
        if unit.question is None or not self._is_kept(unit, error):
            return False
        kept = Unit(unit.item, self.asked.refusal(*unit.question, error), self.generation)
        kept.question = unit.question
        kept.refusal = error
        self._append(kept, take_current(self.slot), None)
        return True

    def _ask_again(self, question: tuple[str, bytes] | None) -> None:
        """Nothing is kept of this question: others who wait for its answer run it again."""
        if question is not None:
            self._again.extend(self.asked.done(question[0]))

    def end_state(self) -> None:
        """Delete the state with this unit. Raises `NotInUnit`."""
        self.open_here("self.end()")[1].change = END

    def open_here(self, what: str) -> tuple[Activation, Unit]:
        """This, and the unit whose handler is the running code. Raises `NotInUnit` for none."""
        unit = self.open
        if unit is None or current_unit.get() is not unit:
            raise NotInUnit(what)
        return self, unit

    async def flushed(self, generation: int) -> bool:
        """Wait until all that has returned is committed; False: it was undone."""
        while self.generation == generation and self.pending:
            await self.until_moved()
        return self.generation == generation

    async def until_moved(self) -> None:
        """Wait until units were committed or undone, or the store came or went."""
        future = asyncio.get_running_loop().create_future()
        self._moved.append(future)
        await future

    def passed_by_now(self) -> int:
        """The number of the latest row that was handled here when this was asked before."""
        before = self._passed
        if self.latest is not None:
            self._passed = max(before, number_of(self.latest.envelope, self.engine.origin))
        return before

    def has_moved(self) -> None:
        """Let those who wait for it look again."""
        moved, self._moved = self._moved, []
        for future in moved:
            if not future.done():
                future.set_result(None)

    def use_up(self, row: OwnedRight, known: Callable[[BaseException | None], object]) -> None:
        """Let a row go with the next commit; `known` is called with the end of that."""
        unit = Unit(None, row, self.generation)
        unit.life = UnitState.RETURNED
        unit.after.append(known)
        self.pending.append(unit)
        self.engine.committer.wake(self)

    # The committer ------------------------------------------------------------

    def take(self, most: int) -> list[Unit]:
        """The units of the next commit, at most `most`."""
        if self.taken or (self.open is not None and self.open.uses_sql):
            return []
        count = 1 if self._cautious else min(most, MOST_AHEAD, len(self.pending))
        units: list[Unit] = []
        rights: set[tuple[object, ...] | None] = set()
        for unit in self.pending:
            name = None if unit.right is None else right_name(unit.right)
            if len(units) == count or (name is not None and name in rights):
                break
            rights.add(name)
            units.append(unit)
        self.taken = len(units)
        return units

    def commit_of(self, units: list[Unit]) -> StateCommit:
        """What the store is asked for these units."""
        changes = [unit.change for unit in units if unit.change is not None]
        row_of = self.engine.addressing.row_of
        return StateCommit(
            self.key,
            self.version,
            new_id(),
            changes[-1] if changes else KEEP,
            tuple(unit.right for unit in units if unit.right is not None),
            tuple(row_of(message) for unit in units for message in unit.staged),
            () if self.keeps_results is None else [u.result for u in units if u.result is not None],
        )

    def committed(self, units: list[Unit], version: int) -> None:
        """The store has them: FIN and answer, in order."""
        self.version = version
        self.fresh = self._cautious = False
        self.looked_at(units)

    def looked_at(self, units: list[Unit]) -> None:
        """The state is that on which these rest, and there is nothing more to write for them."""
        self._lost = self.taken = 0
        for unit in units:
            self.pending.popleft()
            if unit.waits is not None and isinstance(unit.right, OwnedRight):
                self.latest, self.early_delay = unit.item, 0.0
            self.engine.settle(unit, self.asked)
        self.has_moved()
        if self.pending:
            self.engine.committer.wake(self)

    def lost(self) -> None:
        """Nothing of what has returned can be committed: load again, and run it again."""
        self._lost += 1
        wait = 0.0
        if self._lost > 1:
            longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._lost, 16))
            wait = longest * self.engine.chance()
        self._undo_all()
        self._begin_loading(wait)

    def invalid(self, units: list[Unit], error: Exception) -> None:
        """The store cannot hold what is in `units`: find the one it is, which fails alone."""
        if len(units) > 1:
            self._cautious = True
        else:
            self.pending.popleft()
            self.engine.fail(units[0], _crash(self.slot, error))
            self._ask_again(units[0].question)
        self._undo_all()
        self._begin_loading(0.0)

    def spoiled(self, unit: Unit, error: StoreUnavailable) -> None:
        """The handler of `unit` has ended its transaction itself, or took too long: a crash."""
        self.pending.popleft()
        self.engine.fail(unit, _crash(self.slot, error))
        self._ask_again(unit.question)
        self._undo_all()
        exit_with(self.slot, "crash", error)

    def store_failed(self, fault: StoreUnavailable) -> None:
        """The store is away: nothing is applied. Asks fail, what is stored goes back."""
        for unit in self.pending:
            if unit.item is not None and self.engine.refuse(unit.item, fault):
                unit.item = None
        self._undo_all()
        self._begin_loading(0.0)

    def _undo_all(self) -> None:
        """Undo every unit that is not committed; their messages will be handled again."""
        self.generation += 1
        self.fresh = True
        self._state.restore()
        units, self.pending, self.taken = self.pending, deque(), 0
        undone = NotInUnit("what was told by a handler whose commit was lost")
        for unit in units:
            unit.end(undone)
            if unit.item is not None:
                self.slot.keep_promise(unit.item)  # it will promise again
                self._again.append(unit.item)
            self._ask_again(unit.question)
        if self.open is not None:
            running, self.open = self.open, None
            running.life = UnitState.DROPPED
            self.slot.cancel_current(running.item)
        if not self.in_hand:
            self.put_again()
        self.has_moved()

    def give_back(self, item: Any) -> bool:
        """Put the message in hand back, behind those that came before it. Always False."""
        take_current(self.slot)
        self._again.append(item)
        self.put_again()
        return False

    def run_again(self, unit: Unit) -> None:
        """The message of `unit` is to be handled again, and who asked the same with it."""
        self._ask_again(unit.question)
        self.give_back(unit.item)

    def put_again(self) -> None:
        """Put the messages of undone units to the front of the inbox."""
        again, self._again = self._again, []
        for item in again:
            if isinstance(item, Delivery):
                item.stashed()
        if again:
            put_back(self.slot, again)

    # Loading --------------------------------------------------------------------

    def _begin_loading(self, wait: float) -> None:
        if self._loading is None and not self.closed:
            self._loading = self.engine.spawn(self._load_again(wait))

    async def _load_again(self, wait: float) -> None:
        try:
            if wait:
                await self.engine.sleep(wait)
            await self.load()
        except Exception as error:  # its type cannot read it: the actor is told as of a crash
            exit_with(self.slot, "crash", error)
        finally:
            self._loading = None

    async def load(self) -> None:
        """Take what the store has, when it can be used. Raises `StateUnreadable`."""
        stored = await self.engine.load(self.key)
        self.taken_over(stored)

    async def make_known(self) -> None:
        """See to it that the store has a version: by it others know that the address is durable.

        Raises what the store says of an address that it cannot hold.
        """
        while self.version == ABSENT:
            commit = StateCommit(self.key, ABSENT, new_id())
            outcome = await self.engine.commit_first(commit)
            if isinstance(outcome, Committed):
                self.version = outcome.version
            elif isinstance(outcome, CommitInvalid):  # it will be no better the next time
                raise outcome.error
            else:
                await self.load()

    def taken_over(self, stored: StoredState) -> None:
        """This is what is stored now. Raises `StateUnreadable`."""
        self._state.load(stored.state)
        self.version = stored.version
        self.epoch = self.engine.origin.epoch
        self.fresh = True

    def close(self) -> None:
        """The incarnation is over. What has returned is committed all the same."""
        self.closed = True
        if self.open is not None:
            self.undo(self.open)
        self._again.extend(self.asked.let_go())
        self.put_again()


def _crash(slot: Slot, error: Exception) -> Outcome:
    return Outcome("crashed", error=error, exit=slot.make_exit("crash", error))
