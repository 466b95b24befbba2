"""Polls every node twice a second, and makes a snapshot of the answers.

Each turn: who is there according to presence; a request to the private cluster of
each node that is not being asked already, `ASKED` of them at most, so that of many
each has its turn; a look at each broker's statistics; a wait for the answers, at most
half a turn; the snapshot. A node or a broker that is slow is not waited for: it is asked
again when its deadline is over. Observing is never the cause of trouble, so every request
is bounded in number, size and time; and what took long is followed by a pause so much
longer that a look takes a quarter of the time at most, however much there is to see.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from actors.errors import ActorError, AskTimeout
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.namespace import Namespace
from irismq_runtime.observer.reports import (
    broker_stats_untrusted,
    node_report_untrusted,
    offers_untrusted,
)
from irismq_runtime.observer.system_state import SystemState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
    from types import TracebackType

    from irismq_runtime.node import Node
    from irismq_runtime.observer.model import Point, Snapshot
    from irismq_runtime.observer.reports import OffersReport

__all__ = ["Gatherer"]

_LOG = logging.getLogger("irismq.observer")

PERIOD: Final = 0.5
#: Nodes that are asked and shown; whatever is announced beyond is not.
MOST_NODES: Final = 1000
#: Nodes that are asked in one turn.
ASKED: Final = 100
#: A pause is at least so many times as long as the work before it.
_REST: Final = 3.0
#: Seconds after which a node that was asked counts as not answering this time.
PATIENCE: Final = 1.0


class Gatherer:
    """Watches the whole system through `node`, which must be open.

        async with Gatherer(node, brokers=["127.0.0.1:4151"], stats=fetch) as gatherer:
            snapshot = await gatherer.changed(0)

    `brokers`: HTTP endpoints; `stats` gets the value of one's /stats, raising what
    it likes when it cannot. `ignore`: names of nodes that are not shown (commands
    are nodes too). `itself`: whether `node` is one of those shown. `namespace`: that of the
    nodes. Loop thread only.
    """

    def __init__(
        self,
        node: Node,
        *,
        brokers: Iterable[str] = (),
        stats: Callable[[str], Awaitable[Any]] | None = None,
        ignore: Collection[str] = (),
        itself: bool = False,
        period: float = PERIOD,
        namespace: Namespace | None = None,
    ) -> None:
        self._node = node
        self._brokers = tuple(brokers) if stats is not None else ()
        self._stats = stats
        self._ignore = frozenset(ignore)
        self._itself = itself
        self._period = period
        self._clock = node.system.clock
        self._names = namespace or Namespace()
        self._state = SystemState(self._names)
        self._asking: dict[str, asyncio.Task[None]] = {}
        #: Turns so far; and when a broker is looked at again, and the next turn is due, at
        #: the earliest.
        self._turn_number = 0
        self._not_before: dict[str, float] = {}
        self._rested = 0.0
        self._turning: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()

    # Reading ------------------------------------------------------------------

    @property
    def latest(self) -> Snapshot:
        """The latest snapshot; its version is 0 before the first."""
        return self._state.latest

    @property
    def history(self) -> tuple[Point, ...]:
        """The points of the last ten minutes, oldest first."""
        return self._state.history

    def holding(self, address: str) -> tuple[bool, ...]:
        """Which of the brokers, in their order, have dead letters of `address`."""
        holders = self._state.holding(address)
        return tuple(endpoint in holders for endpoint in self._brokers)

    async def changed(self, version: int) -> Snapshot:
        """Wait for a snapshot that is newer than `version`."""
        while self._state.latest.version <= version:
            await self._news.wait()
        return self._state.latest

    # Acting -------------------------------------------------------------------

    async def restart(self, node_id: str, supervisor: str, child: str) -> None:
        """Have a node end a child and start it again; returns when that has begun.

        Raises `Refused`, `AskTimeout`, `ActorDeadError` (no such node) and what an
        ask raises.
        """
        await self._node.overview.restart(node_id, supervisor, child)

    async def offers(self, node_id: str) -> OffersReport:
        """What a node is and what its addresses take, asked now.

        Raises `DecodeError`, and what an ask raises.
        """
        return offers_untrusted(await self._node.overview.offers(node_id, timeout=PATIENCE))

    # Life ---------------------------------------------------------------------

    def renewed(self, data: bytes, topic: str, to: str) -> bytes:
        """A message stored in `topic`, signed anew for the topic `to` if the node has keys."""
        return self._node.signed_anew(data, topic, to)

    async def __aenter__(self) -> Self:
        self._turning = asyncio.get_running_loop().create_task(self._turns())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [*self._asking.values()]
        if self._turning is not None:
            tasks.append(self._turning)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turns(self) -> None:
        due = self._clock.monotonic()
        while True:
            try:
                await self._turn()
            except Exception:  # what one turn meets must not end the watch
                _LOG.exception("A look at the system failed")
            due = max(due + self._period, self._clock.monotonic(), self._rested)
            await self._until(due)
            late = self._clock.monotonic() - due
            if late > self._period:
                self._state.overslept(late)

    async def _turn(self) -> None:
        began = self._clock.monotonic()
        shown = self._shown()
        self._hear(shown)
        for node_id in self._whose_turn(shown):
            self._begin(node_id, self._ask(node_id))
        for endpoint in self._brokers:
            if began >= self._not_before.get(endpoint, 0.0):
                self._begin(f"nsqd {endpoint}", self._look_at(endpoint))
        worked = self._clock.monotonic() - began
        await self._answers()
        again = self._clock.monotonic()
        self._state.make_snapshot(again, self._clock.time())
        now = self._clock.monotonic()
        self._rested = now + _REST * (worked + now - again)
        self._news.set()
        self._news = asyncio.Event()

    def _shown(self) -> dict[str, str]:
        own = self._node.id
        wanted = (
            (node_id, name)
            for node_id, name in self._node.nodes().items()
            if (self._itself if node_id == own else name not in self._ignore)
        )
        return dict(islice(wanted, MOST_NODES))

    def _whose_turn(self, shown: Mapping[str, str]) -> Iterable[str]:
        """Those who are asked now: all, or of many the next ones."""
        rounds = max(1, -(-len(shown) // ASKED))
        self._state.asks_each((rounds - 1) * self._period)
        self._turn_number += 1
        return islice(shown, self._turn_number % rounds, None, rounds)

    def _hear(self, shown: Mapping[str, str]) -> None:
        overview = self._node.overview
        relay = overview.relay()
        self._state.cut_off("" if relay.ok else relay.reason or "no reason known")
        now, wall = self._clock.monotonic(), self._clock.time()
        self._state.present(shown, overview.services(), now, wall, overview.goodbyes())

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._asking:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._asking[name] = task
        task.add_done_callback(lambda _: self._answered(name))

    def _answered(self, name: str) -> None:
        del self._asking[name]
        if not self._asking:
            self._idle.set()

    async def _answers(self) -> None:
        """Wait for all who are asked, at most half a turn."""
        if not self._asking:
            return
        idle = self._idle = asyncio.Event()
        timer = self._clock.call_later(self._period / 2, idle.set)
        try:
            await idle.wait()
        finally:
            timer.cancel()

    async def _until(self, due: float) -> None:
        come = asyncio.Event()
        timer = self._clock.call_later(max(0.0, due - self._clock.monotonic()), come.set)
        try:
            await come.wait()
        finally:
            timer.cancel()

    async def _ask(self, node_id: str) -> None:
        since = self._state.since(node_id)
        try:
            value = await self._node.overview.report(node_id, since, timeout=PATIENCE)
            report = node_report_untrusted(value)
        except AskTimeout:
            self._state.unanswered(node_id, f"no answer within {PATIENCE:g} s")
        except (ActorError, RuntimeFault) as error:
            self._state.unanswered(node_id, str(error))
        except Exception as error:  # its own bug must not stop the look at the others
            _LOG.exception("The answer of %s", node_id)
            self._state.unanswered(node_id, f"{type(error).__name__}: {error}")
        else:
            now, wall = self._clock.monotonic(), self._clock.time()
            self._state.reported(node_id, report, now, wall)

    async def _look_at(self, endpoint: str) -> None:
        if self._stats is None:
            return
        try:
            told = await self._stats(endpoint)
            began = self._clock.monotonic()
            stats = broker_stats_untrusted(told, self._names)
        except Exception as error:  # whatever the caller's way to fetch it raises
            self._state.broker_failed(endpoint, str(error) or type(error).__name__)
        else:
            self._state.broker_told(endpoint, stats, self._clock.monotonic())
            now = self._clock.monotonic()
            self._not_before[endpoint] = now + _REST * (now - began)
