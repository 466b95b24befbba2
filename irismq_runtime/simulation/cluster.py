"""`Cluster`: nodes, brokers and a relay on simulated machines, as a test sees them.

    await cluster.start(Bank, on=["a", "b"])
    async with cluster.faults(kill=0.2, partition=0.1):        # in a virtual minute
        await cluster.workload(transfer, rate=50, seconds=600)
    await cluster.heal()

The code of a test runs outside of all machines, with a node of its own, `cluster.node`, to
which nothing is done but on its way to the servers. What it starts on a machine is started
again with each new process there, as `irismq run` under an init system would.

While a run lasts the witness looks at what must always hold (`invariants`); the first thing
that does not ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import string
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from actors import Events
from actors.errors import ActorError
from actors.rules import POSITIVE_SECONDS, count, need, number
from irismq_runtime.config import NodeConfig
from irismq_runtime.errors import RuntimeFault
from irismq_runtime.node import Node
from irismq_runtime.simulation.errors import SimulationStalled
from irismq_runtime.simulation.fault_plan import fault_plan
from irismq_runtime.simulation.faults import Targets, dials_of, fault_now
from irismq_runtime.simulation.injector import Injector
from irismq_runtime.simulation.invariants import Invariant, Life, usual_invariants
from irismq_runtime.simulation.lookup import LOOKUPD_HTTP_PORT
from irismq_runtime.simulation.nats_model import NATS_PORT
from irismq_runtime.simulation.node_machine import NodeMachine
from irismq_runtime.simulation.rest import Bindings, unrest
from irismq_runtime.simulation.servers import (
    IRIS_PORT,
    NSQD_PORT,
    BrokerMachine,
    LookupMachine,
    NatsMachine,
    RelayMachine,
)
from irismq_runtime.simulation.shared_store import DatabaseMachine, SharedStore
from irismq_runtime.simulation.simulation import OUTSIDE
from irismq_runtime.simulation.witness import Witness

if TYPE_CHECKING:
    import random
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Container,
        Coroutine,
        Iterator,
        Mapping,
        Sequence,
    )

    from irismq_runtime.refs import ServiceRef
    from irismq_runtime.simulation.faults import Fault
    from irismq_runtime.simulation.host_keeper import HostKeeper
    from irismq_runtime.simulation.simulation import Simulation

__all__ = ["Cluster", "ClusterOptions", "Load"]

#: How often it is looked whether everything holds, and whether there is rest, in seconds.
_LOOK: Final = 1.0
#: How often it is looked whether the database runs, at the beginning.
_STARTS: Final = 0.01
#: Looks in a row that must find rest.
_CALM: Final = 3
#: Seconds in which machines that nothing is done to are up.
_BOOT: Final = 60.0
RELAY: Final = "relay"
DATABASE: Final = "database"
_RATE: Final = number(0.0, 100_000.0, " of calls in a second", above=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What a cluster is made of.

    Attributes:
        hosts: How many machines run a node, named "a", "b", ...; or their names.
        brokers: How many machines run a broker, named "broker-1", ...; with several, nodes
            publish to the first that answers, and consume from all.
        lookups: How many machines run an nsqlookupd, named "lookup-1", ...; with any, each node
            is given one broker alone, in turns, and consumes from those that they name.
        nats: How many machines run a NATS server, named "nats-1", ...; with any, each node has
            a relay of its own over them, and there is no other.
        database: Whether there is a database, "database", in which all nodes have their store.
        node: Options of `Node`, for all of them.
        rest: Virtual seconds within which a cluster that was healed must be at rest.
        longest: Virtual seconds after which a run that is not over has failed.

    Raises:
        ConfigError: An option of `node` has no meaning.
        ValueError: One of the others has none.
    """

    hosts: int | Collection[str] = 3
    brokers: int = 1
    lookups: int = 0
    nats: int = 0
    database: bool = False
    node: Mapping[str, Any] = field(default_factory=dict)
    rest: float = 600.0
    longest: float = 24 * 3600.0

    def __post_init__(self) -> None:
        if isinstance(self.hosts, int):
            need(count(1, 1000), "hosts", self.hosts)
        need(count(1, 100), "brokers", self.brokers)
        need(count(0, 100), "lookups", self.lookups)
        need(count(0, 100), "nats", self.nats)
        servers = (*self.broker_names, *self.lookup_names, *self.relay_names)
        names = [*self.host_names, *servers, DATABASE, OUTSIDE]
        if len(set(names)) < len(names) or len(self.host_names) < 1:
            raise ValueError(f"hosts={self.hosts!r}: two machines cannot have one name")
        need(POSITIVE_SECONDS, "rest", self.rest)
        need(POSITIVE_SECONDS, "longest", self.longest)
        self.make_node(OUTSIDE, None)  # a wrong option is one here, and not once for each seed

    def make_node(self, name: str, events: Events | None, store: SharedStore | None = None) -> Node:
        """Return the node of a machine of that name, which is not entered yet.

        `store`: what it has of the database.

        Raises:
            ConfigError: An option of `node` has no meaning.
        """
        options = dict(self.node) if store is None else {**self.node, "store": store}
        return Node(
            name=name,
            nsqd=[f"{broker}:{NSQD_PORT}" for broker in self._given(name)],
            lookupd=[f"{lookup}:{LOOKUPD_HTTP_PORT}" for lookup in self.lookup_names],
            iris=",".join(f"nats://{server}:{NATS_PORT}" for server in self.relay_names)
            if self.nats
            else f"{RELAY}:{IRIS_PORT}",
            events=events,
            **options,
        )

    def _given(self, name: str) -> Sequence[str]:
        """The brokers that the node of a machine is told of."""
        if not self.lookups:
            return self.broker_names
        place = (*self.host_names, OUTSIDE).index(name)
        return [self.broker_names[place % self.brokers]]

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names of the machines that run a node."""
        if not isinstance(self.hosts, int):
            return tuple(self.hosts)
        letters = string.ascii_lowercase
        if self.hosts <= len(letters):
            return tuple(letters[: self.hosts])
        return tuple(f"host-{place}" for place in range(1, self.hosts + 1))

    @property
    def broker_names(self) -> tuple[str, ...]:
        """The names of the machines that run a broker."""
        return tuple(f"broker-{place}" for place in range(1, self.brokers + 1))

    @property
    def lookup_names(self) -> tuple[str, ...]:
        """The names of the machines that run a lookup daemon."""
        return tuple(f"lookup-{place}" for place in range(1, self.lookups + 1))

    @property
    def relay_names(self) -> tuple[str, ...]:
        """The names of the machines by which nodes reach each other."""
        return tuple(f"nats-{place}" for place in range(1, self.nats + 1)) or (RELAY,)


@dataclass(slots=True)
class Load:
    """What came of a workload.

    Attributes:
        passed: Calls that returned.
        failed: Calls that failed, by the name of the error's class.
    """

    passed: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        """All of them."""
        return self.passed + self.failed.total()


class Cluster:
    """See the module. Made by `@simulate`; everything here belongs to the loop of the test.

    Attributes:
        node: The node of the test itself.
        random: Chance for the test's own choices, from the seed of the run.
        seed: The seed of the run.
    """

    node: Node

    def __init__(
        self, simulation: Simulation, options: ClusterOptions, kept: Container[int] | None
    ) -> None:
        self.seed = simulation.seed
        self.random: random.Random = simulation.chance("test")
        self._simulation = simulation
        self._options = options
        self.witness = Witness(simulation.time, self._broke)
        self._bindings = Bindings()
        self._brokers = [
            BrokerMachine(simulation.host(name), self.witness, options.lookup_names)
            for name in options.broker_names
        ]
        self._nodes = {
            name: NodeMachine(simulation.host(name), self._make_node, self.witness)
            for name in options.host_names
        }
        self._database: DatabaseMachine | None = None
        if options.database:
            self._database = DatabaseMachine(simulation.host(DATABASE), self.witness)
        keepers = [
            *(room.keeper for room in self._brokers),
            *self._other_servers(),
            *(room.keeper for room in self._nodes.values()),
        ]
        self._keepers = {keeper.name: keeper for keeper in keepers}
        self._targets = Targets(
            self.hosts,
            options.broker_names,
            options.relay_names,
            (OUTSIDE,),
            options.lookup_names,
            (DATABASE,) if options.database else (),
        )
        self._injector = Injector(simulation, self._keepers, self._targets, self.witness, kept)
        self._streams: Counter[str] = Counter()
        self._running: asyncio.Task[None] | None = None
        self._why_ended: BaseException | None = None
        self._beside_it: set[asyncio.Task[None]] = set()

    def _other_servers(self) -> Iterator[HostKeeper]:
        """The keepers of relays or NATS servers, and of lookup daemons."""
        host, options = self._simulation.host, self._options
        for name in options.relay_names:
            if options.nats:
                yield NatsMachine(host(name), self.witness, options.relay_names).keeper
            else:
                yield RelayMachine(host(name), self.witness).keeper
        for name in options.lookup_names:
            yield LookupMachine(host(name), self.witness).keeper
        if self._database is not None:
            yield self._database.keeper

    # -- what there is ---------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._simulation.now

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the machines that run a node."""
        return tuple(self._nodes)

    @property
    def faults_done(self) -> tuple[Fault, ...]:
        """The faults that were carried out so far, in order."""
        return tuple(self._injector.done)

    def ref(self, address: str) -> ServiceRef[Any]:
        """Return the ref of an address, as the test's own node has it; see `Node.ref`."""
        return self.node.ref(address)

    def node_on(self, host: str) -> Node | None:
        """Return the node on a machine, to be looked at; None while none is up with its trees.

        It belongs to another loop: what it says may be read, nothing of it may be awaited.

        Args:
            host: The name of the machine.

        Raises:
            KeyError: There is no such machine, or it runs no node.
        """
        return self._machine(host).node

    def _machine(self, name: str) -> NodeMachine:
        found = self._nodes.get(name)
        if found is None:
            there = ", ".join(self.hosts)
            raise KeyError(f"no machine {name!r} runs a node; those that do: {there}")
        return found

    def _chance(self, name: str) -> random.Random:
        """Return a stream of that name; the second time, and later, another one."""
        self._streams[name] += 1
        again = self._streams[name] - 1
        return self._simulation.chance(f"{name}, again {again}" if again else name)

    # -- what a test does ----------------------------------------------------------------

    async def start(self, tree: Any, *, on: Collection[str] | None = None) -> None:
        """Start a tree on machines, now and with each process there from now on.

        Args:
            tree: As of `Node.start`: a supervisor class, or what `child(...)` made.
            on: The names of the machines; None: all that run a node.

        Raises:
            KeyError: There is no such machine.
            Exception: What the start failed with.
        """
        chosen = [self._machine(name) for name in (self.hosts if on is None else on)]
        await asyncio.gather(*(room.start(tree) for room in chosen))

    async def workload(
        self, call: Callable[[Cluster], Awaitable[object]], *, rate: float, seconds: float
    ) -> Load:
        """Make calls for a time, and wait until all have ended.

        Args:
            call: What is done by one call; given this cluster. What it raises is counted when
                it is an error of the runtime (`ActorError`, `RuntimeFault`), and raised here
                otherwise.
            rate: How many begin in a second, at times that chance gives.
            seconds: For how long they begin.

        Returns:
            How they ended.
        """
        chance, load = self._chance(f"workload at {self.now}"), Load()
        need(_RATE, "rate", rate)
        end = self.now + need(POSITIVE_SECONDS, "seconds", seconds)

        async def one() -> None:
            try:
                await call(self)
            except (ActorError, RuntimeFault) as error:
                load.failed[type(error).__name__] += 1
            else:
                load.passed += 1

        calls: list[asyncio.Task[None]] = []
        try:
            while (pause := chance.expovariate(rate)) < end - self.now:
                await asyncio.sleep(pause)
                calls.append(asyncio.create_task(one()))
            await asyncio.gather(*calls)
        finally:
            for each in calls:
                each.cancel()
        return load

    @contextlib.asynccontextmanager
    async def faults(self, **dials: float) -> AsyncIterator[None]:
        """Let things go wrong while the block lasts: how often, by kind, in a virtual minute.

        Args:
            **dials: `kill`, `stop`, `pause`, `clock` (of machines with a node), `partition`,
                `cut`, `slow` (of a link to a server), `broker`, `power` (of brokers), `relay`,
                `full` (of disks of machines with a node, and of brokers), `lookup`, `database`;
                see `faults.KINDS` for what each does, and how long it lasts.

        Raises:
            TypeError: There is no such kind.
            ValueError: A dial has no meaning.
        """
        plan = fault_plan(
            self._chance(f"faults from {self._injector.next_number}"),
            dials_of(dials),
            self._targets,
            begins=self.now,
        )
        carrying_out = self._beside(self._injector.carry_out(plan))
        try:
            yield
        finally:
            carrying_out.cancel()

    def strike(self, kind: str, *target: str, lasts: float = 0.0, amount: float = 0.0) -> None:
        """Let one thing go wrong now, as a plan would.

        Args:
            kind: A dial of `faults`.
            target: The name of a machine, or of both ends of a link.
            lasts: Seconds until it is undone; 0: until `heal`.
            amount: As much as its kind says.

        Raises:
            TypeError: There is no such kind.
            ValueError: It strikes nothing of that name, or a number has no meaning.
        """
        fault = fault_now(kind, target, self._targets, at=self.now, lasts=lasts, amount=amount)
        self._injector.strike(fault)

    async def heal(self, *, within: float | None = None) -> None:
        """Undo all that went wrong, and wait until the cluster is at rest.

        At rest: every node runs, is ready and knows all others and what they serve, every
        connection has sent what it could not send, and what was confirmed, asked or owed before
        this call has come to its end.

        Args:
            within: Virtual seconds that it may take; None: as the options of the cluster say.

        Raises:
            InvariantBroken: It did not come to rest, or something is lost.
        """
        self._injector.heal()
        began, calm, last = self.now, 0, ""
        within = self._options.rest if within is None else within
        until = began + within
        while calm < _CALM:
            reason = next(self._unrest(began, until), "")
            calm, last = (0, reason) if reason else (calm + 1, last)
            if self.now > until:
                holds = "a cluster comes to rest once everything is healed"
                self.witness.breaks(holds, f"{within:g} s later {last}")
            if self.witness.broken is not None:
                raise self.witness.broken
            await asyncio.sleep(_LOOK)

    def _outboxes(self) -> Iterator[tuple[str, Iterator[tuple[str, float]]]]:
        """What each store has to send, by the name of its machine."""
        hosts = [room.keeper.host for room in self._nodes.values()]
        for host in (*hosts, self._simulation.outside):
            yield host.name, host.outbox()
        if self._database is not None:
            yield DATABASE, self._database.outbox()

    def _unrest(self, since: float, until: float) -> Iterator[str]:
        """What is missing for rest, the most basic first."""
        nodes = {name: room.node for name, room in self._nodes.items()}
        yield from (f"{room.keeper.name} does not run" for room in self._brokers if not room.runs)
        if self._database is not None and not self._database.runs:
            yield "the database does not run"
        yield from unrest({**nodes, OUTSIDE: self.node}, self._bindings.by_machine())
        for source, target in self._simulation.network.overdue():
            yield f"what {source} sent to {target} while nothing came through has not arrived"
        held = dict(each for room in self._brokers for each in room.held())
        held.update(each for _, rows in self._outboxes() for each in rows)
        self.witness.look_for_losses(held)
        for name, rows in self._outboxes():
            late = sum(not due for _, due in rows)
            if late:
                yield f"the store of {name} has {late} messages to send"
        later = {each for each, due in held.items() if due and self.now + due > until}
        yield from self.witness.owed(since, later)

    # -- a run ---------------------------------------------------------------------

    async def run(self, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
        """Start all machines, run a test on them, and see that they come to rest. Once."""
        self.witness.hold([self._bindings, *self._usual()])
        self._running = asyncio.current_task()
        for work in (*(keeper.keep() for keeper in self._keepers.values()), self._look()):
            self._beside(work)
        try:
            # Who opens a store does not wait for it.
            while self._database is not None and not self._database.runs:  # noqa: ASYNC110  # it is on another loop
                await asyncio.sleep(_STARTS)
            async with self._make_node(Life(OUTSIDE, 1)) as self.node:
                try:
                    await self.heal(within=_BOOT)
                    await scenario(self)
                    await self.heal()
                    gc.collect()  # what failed in a task of a cycle is heard when that is gone
                    self._hear_errors()
                finally:
                    self.witness.end()
        except BaseException:
            if self._why_ended is None:
                raise
        if self._why_ended is not None:  # a test may keep its cancellation to itself
            raise self._why_ended from None

    def _usual(self) -> tuple[Invariant, ...]:
        options = self._options.node
        return usual_invariants(
            stood_still=self.witness.stood_still,
            disturbed=self.witness.disturbed,
            publish_timeout=options.get("publish_timeout", NodeConfig().publish_timeout),
            copies=options.get("mailbox_options", {}).get("copies", 1),
        )

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self.witness.look()
            if self.now > self._options.longest:
                raise SimulationStalled(self.now, f"{self._options.longest:g} s are over")
            self._hear_errors()

    def _hear_errors(self) -> None:
        """An error that nobody caught ends the run."""
        if self._simulation.uncaught:
            where, error = self._simulation.uncaught[0]
            self.witness.breaks(
                "no error goes unheard", f"{where}: {error.get('message')}: {error!r}"
            )

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside the test; what fails there ends the run."""
        task = asyncio.create_task(work)
        self._beside_it.add(task)
        task.add_done_callback(self._was_beside)
        return task

    def _was_beside(self, task: asyncio.Task[None]) -> None:
        self._beside_it.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broke(error)

    def _broke(self, why: BaseException) -> None:
        """End the run, from whichever loop this is called on."""
        if self._why_ended is None and self._running is not None:
            self._why_ended = why
            self._running.get_loop().call_soon_threadsafe(self._running.cancel)

    def _make_node(self, life: Life) -> Node:
        loop: Any = asyncio.get_running_loop()
        events = Events(loop.time)
        self.witness.listen(life, events)
        store = None
        if self._database is not None:
            way = self._simulation.network.path(life.host, DATABASE)
            store = SharedStore(self._database, way)
        return self._options.make_node(life.host, events, store)
