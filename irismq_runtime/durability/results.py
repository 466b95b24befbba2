"""Results of stored messages: kept where a class says so, and waited for by whoever told them.

    an ordinary actor   handled -> the result is kept -> FIN; put aside: its error, then the letter
    a durable actor     the result is in the commit of what the handler did
    who waits           looks into the store, less and less often; in the process where the
                        message is handled it is told at once

So what is finished has its result, and a message whose result could not be kept comes again. Many
results that come together share a commit, under a key of this node alone: that its outcome
was not heard does no harm, as the same is kept once more. Loop thread only, but for `wait`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors import Future, Refused
from actors.texts import line_of
from irismq_runtime.dispatch import StoredDispatch
from irismq_runtime.durability.kept_answers import failed, read, returned_or_failed
from irismq_runtime.errors import NodeStopped, ResultExpired, ResultTimeout, StoreUnavailable
from irismq_runtime.ports.state_store import (
    ABSENT,
    RESULTS,
    CommitInvalid,
    CommitLost,
    KeptResult,
    StateCommit,
    StateKey,
)
from irismq_runtime.wire import Kind, new_id

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from actors import ActorRef, Outcome
    from actors.clock import TimerHandle
    from irismq_runtime.dispatch.delivery import DurableDelivery
    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = ["ResultDispatch", "Results", "result_of"]

_LOG: Final = logging.getLogger("irismq.durable")
#: Results in one commit.
_TOGETHER: Final = 256
#: Seconds between two looks at a result: at first, at most,
_FIRST_LOOK: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
#: and looks a second of all who wait.
_LOOKS: Final = 500
#: Seconds that the look at the end of a wait may take.
_LAST_LOOK: Final = 1.0
#: Seconds for which it is tried to keep a result whose message waits for that.
_PATIENCE: Final = 30.0
#: Seconds after which its message comes again then.
_LATER: Final = 1.0
#: Seconds after which a commit is tried again that others were in the way of.
_AGAIN: Final = 0.1


def result_of(activation: Activation, item: Any, value: Any, keep: float) -> KeptResult | None:
    """What a commit keeps of a message that was handled; None: nobody waits for such a one."""
    envelope = getattr(item, "envelope", None)
    if envelope is None or envelope.kind is not Kind.TELL:
        return None
    serializer = activation.engine.packer.serializer
    kept = returned_or_failed(serializer, value, activation.key.address)
    return KeptResult(envelope.id, kept, keep)


class ResultDispatch(StoredDispatch):
    """Feeds one actor whose results are kept; see `StoredDispatch`."""

    __slots__ = ("_keep", "_results")

    def __init__(self, results: Results, keep: float, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._results = results
        self._keep = keep

    def feeds(self, ref: ActorRef[Any]) -> bool:
        """Whether it is `ref` that this feeds."""
        return self._ref == ref

    def handled(self, delivery: DurableDelivery, value: object) -> None:
        """As `StoredDispatch.handled`, once the result is kept."""
        self._settle_after(delivery, value, partial(super().handled, delivery, value))

    def settle(self, delivery: DurableDelivery, outcome: Outcome) -> None:
        """As `StoredDispatch.settle`, once the result is kept."""
        settle = partial(super().settle, delivery, outcome)
        if outcome.kind == "replied":
            self._settle_after(delivery, outcome.value, settle)
        else:
            settle()

    def _settle_after(
        self, delivery: DurableDelivery, value: object, settle: Callable[[], None]
    ) -> None:
        envelope = delivery.envelope
        if envelope is None or envelope.kind is not Kind.TELL or delivery.gone:
            settle()
            return
        kept = returned_or_failed(self._context.packer.serializer, value, self.address)

        def ended(done: bool) -> None:
            if done:
                settle()
            else:
                self._comes_again(delivery)

        self._results.keep(KeptResult(envelope.id, kept, self._keep), ended)

    def _comes_again(self, delivery: DurableDelivery) -> None:
        """It has used up no attempt: that the store is away is not its fault."""
        self.take_back(delivery)
        if delivery.envelope is not None:
            self._held.pop(delivery.envelope.id, None)
        for stored in (delivery.stored, *delivery.copies):
            stored.requeue(_LATER, penalty=False)

    def _bury(
        self,
        stored: StoredMessage,
        envelope: Envelope | None,
        reason: str,
        error: BaseException | None = None,
    ) -> None:
        letter = partial(super()._bury, stored, envelope, reason, error)
        why = reason if error is None else error
        self._results.keep_failure(self, self._keep, stored, envelope, why, letter)

    def _expired(self, stored: StoredMessage, envelope: Envelope | None, what: object) -> None:
        said = partial(super()._expired, stored, envelope, what)
        self._results.keep_failure(self, self._keep, stored, envelope, "expired", said)


class _AwaitedResult(Future[Any]):
    """The future of one result."""

    __slots__ = ("_thread", "id")

    def __init__(self, id: bytes, thread: int) -> None:  # noqa: A002  # the field's name on the wire
        super().__init__()
        self.id = id
        self._thread = thread

    def _loop_thread(self) -> int:
        return self._thread


class _Invalid(Exception):
    """The store cannot hold what is in a commit."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(line_of(error))


class Results:
    """The results that one node keeps, and those that it waits for.

    Args:
        engine: Whose store they are in.
    """

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine
        self._key = StateKey(RESULTS.address, engine.packer.node_id)
        #: Of the last commit of this node.
        self._version = ABSENT
        self._queue: deque[tuple[KeptResult, Callable[[bool], None]]] = deque()
        self._runs = False
        #: What feeds ordinary actors whose results are kept.
        self.dispatches: dict[ResultDispatch, None] = {}
        engine.outbound.results = self.wait
        self._waiting: dict[bytes, dict[_AwaitedResult, asyncio.Task[None]]] = {}

    # Keeping ------------------------------------------------------------------

    def keep(self, result: KeptResult, ended: Callable[[bool], None]) -> None:
        """Keep a result; `ended` is called with whether it is kept."""
        self._queue.append((result, ended))
        if not self._runs:
            self._runs = True
            self._engine.spawn(self._run())

    def keep_failure(  # noqa: PLR0917  # bound but for the last
        self,
        dispatch: StoredDispatch,
        keep: float,
        stored: StoredMessage,
        envelope: Envelope | None,
        error: BaseException | str,
        then: Callable[[], None],
    ) -> None:
        """Keep that nothing comes of a message, and then put it aside."""
        if envelope is None or envelope.kind is not Kind.TELL:
            then()
            return
        if isinstance(error, str):
            code = "expired" if error == "expired" else "dead-letter"
            error = Refused(f"{dispatch.address}: {error}", code=code)

        def ended(done: bool) -> None:
            if done:
                then()
            else:
                dispatch.disclaim(stored)
                stored.requeue(_LATER, penalty=False)

        self.keep(KeptResult(envelope.id, failed(error, dispatch.address), keep), ended)

    async def _run(self) -> None:
        batch: dict[bytes, tuple[KeptResult, Callable[[bool], None]]] = {}
        try:
            while self._queue:
                while self._queue and len(batch) < _TOGETHER and self._queue[0][0].id not in batch:
                    entry = self._queue.popleft()
                    batch[entry[0].id] = entry
                done = await self._kept_of([result for result, _ in batch.values()])
                ended, batch = list(batch.values()), {}
                for result, call in ended:
                    kept = done.get(result.id)
                    if kept is not None:
                        self.known(kept)
                    _say(call, kept is not None)
        finally:
            self._runs = False
            for _, call in (*batch.values(), *self._queue):  # the node ends: they come again
                _say(call, False)
            self._queue.clear()

    async def _kept_of(self, results: list[KeptResult]) -> dict[bytes, KeptResult]:
        """Keep them; returns those that are kept, by id.

        What a store cannot hold costs those beside it nothing: each is then tried by itself,
        and the error is kept in the place of a result that it is the fault of.
        """
        try:
            return await self._commit(results)
        except _Invalid as invalid:
            problem = invalid.error
        done: dict[bytes, KeptResult] = {}
        if len(results) > 1:
            for each in results:
                done |= await self._kept_of([each])
            return done
        (result,) = results
        _LOG.error("The store cannot hold a result: %s", line_of(problem))
        with contextlib.suppress(_Invalid):  # not even that: the message comes again
            error = failed(problem, self._key.address)
            done = await self._commit([KeptResult(result.id, error, result.keep)])
        return done

    async def _commit(self, results: list[KeptResult]) -> dict[bytes, KeptResult]:
        """All of them by id, or nothing: the store was away too long. Raises `_Invalid`."""
        engine = self._engine
        latest = engine.now() + _PATIENCE
        while engine.now() < latest and not engine.closed:
            commit = StateCommit(self._key, self._version, new_id(), results=results)
            try:
                (outcome,) = await engine.store.commit([commit])
            except StoreUnavailable as fault:
                if fault.kind != "conflict":
                    engine.committer.fault_seen(fault)
                await engine.sleep(_AGAIN)
                continue
            if isinstance(outcome, CommitInvalid):
                raise _Invalid(outcome.error)
            if isinstance(outcome, CommitLost):  # one of this node's own that was not heard of
                self._version = outcome.version
                continue
            self._version = getattr(outcome, "version", ABSENT)
            return {each.id: each for each in results}
        return {}

    # Waiting ------------------------------------------------------------------

    def wait(self, id: bytes, timeout: float) -> Future[Any]:  # noqa: A002  # as above
        """Return the future of the result of a message, which ends in `timeout` seconds."""
        outbound = self._engine.outbound
        future = _AwaitedResult(id, outbound.thread)
        if not outbound.system.call_on_loop(self._begin, future, timeout):
            raise outbound.loop_closed()
        return future

    def _begin(self, future: _AwaitedResult, timeout: float) -> None:
        engine = self._engine
        if engine.closed:  # nobody would end what begins now
            self._stopped(future)
            return
        task = engine.spawn(self._look(future, timeout))
        self._waiting.setdefault(future.id, {})[future] = task
        # A store that does not answer is waited for no longer than the result.
        late = engine.clock.call_later(timeout + _LAST_LOOK, self._late, future, timeout)
        task.add_done_callback(partial(self._over, future, late))

    def _over(self, future: _AwaitedResult, late: TimerHandle, task: asyncio.Task[None]) -> None:
        """Nobody looks any more: also called of a task that was cancelled before it began."""
        late.cancel()
        self._forget(future)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _fail(future, error)
        else:
            self._stopped(future)  # unless it was told already

    def _stopped(self, future: _AwaitedResult) -> None:
        _fail(future, NodeStopped(self._engine.packer.node_id))

    def _late(self, future: _AwaitedResult, timeout: float) -> None:
        _fail(future, ResultTimeout(future.id.hex(), timeout))
        if (task := self._waiting.get(future.id, {}).get(future)) is not None:
            task.cancel()

    async def _look(self, future: _AwaitedResult, timeout: float) -> None:
        engine = self._engine
        began = engine.now()
        pause = _FIRST_LOOK
        while not future.done():
            if (kept := await self._kept(future.id)) is not None:
                self._give(future, kept)
                return
            waited = engine.now() - began
            if waited >= timeout:
                _fail(future, ResultTimeout(future.id.hex(), timeout))
                return
            pause = max(pause, min(_LONGEST_PAUSE, waited / 2), len(self._waiting) / _LOOKS)
            await engine.sleep(min(pause, timeout - waited))

    async def _kept(self, id: bytes) -> bytes | None:  # noqa: A002  # as above
        """What is kept; b"" if it is not kept any more; None: nothing is known."""
        try:
            kept = await self._engine.store.kept_answer(RESULTS, id.hex())
        except StoreUnavailable:  # whoever waits has a time
            return None
        return None if kept is None else kept.answer

    def known(self, result: KeptResult) -> None:
        """It is kept: tell those who wait for it here."""
        for future, task in self._waiting.pop(result.id, {}).items():
            self._give(future, result.result)
            task.cancel()

    def _give(self, future: _AwaitedResult, kept: bytes) -> None:
        if future.done():
            return
        if not kept:
            _fail(future, ResultExpired(future.id.hex()))
            return
        try:
            value = read(self._engine.packer.serializer, kept)
        except Exception as error:
            _fail(future, error)
        else:
            future.set(value)

    def _forget(self, future: _AwaitedResult) -> None:
        waiting = self._waiting.get(future.id)
        if waiting is not None:
            waiting.pop(future, None)
            if not waiting:
                del self._waiting[future.id]


def _say(ended: Callable[[bool], None], done: bool) -> None:
    try:
        ended(done)
    except Exception:  # the next ones are settled all the same; the broker gives this one out again
        _LOG.exception("Settling a message whose result is kept failed")


def _fail(future: _AwaitedResult, error: BaseException) -> None:
    if not future.done():
        future.set_exception((type(error), error, error.__traceback__))
