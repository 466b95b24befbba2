"""`Node`: one process of the runtime, from connecting to its orderly end.

    async with Node(nsqd="10.0.0.5:4150", iris="127.0.0.1:55555", name="shop") as node:
        await node.start(ShopTree)
        await node.run_until_signal()

This file is the surface; the parts are put together in assembly, ended in
shutdown, and each keeps its rules in its own file. Everything here belongs to
the loop that entered the node, except refs, which may be used from any thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import supervisors
from actors import System
from actors.rules import shown
from irismq_runtime.config import DEFAULT_IRIS_PORT, DEFAULT_NSQD_PORT, need_address
from irismq_runtime.environment import node_options
from irismq_runtime.errors import ConfigError, NodeStopped
from irismq_runtime.messaging import SINGLETON_KEY
from irismq_runtime.node.arguments import (
    check_parts,
    config_of,
    folder,
    middleware_of,
    refuse_servers,
    send_middleware_of,
    store_of,
)
from irismq_runtime.node.assembly import (
    Parts,
    assemble,
    check_mailbox_options,
    make_transports,
    new_node_id,
    schedules_of,
)
from irismq_runtime.node.binding.subscriptions import check_published
from irismq_runtime.node.current import RUNNING, forget_closed
from irismq_runtime.node.dependencies import Dependencies
from irismq_runtime.node.inspection.health import health_of
from irismq_runtime.node.inspection.health_monitor import HealthMonitor
from irismq_runtime.node.inspection.metrics import samples_of
from irismq_runtime.node.inspection.overview import Overview
from irismq_runtime.node.inspection.report import Reports
from irismq_runtime.node.own_servers.servers import servers_of
from irismq_runtime.node.process.run import EXIT_FORCED, EXIT_GAVE_UP, run, run_until_signal
from irismq_runtime.node.process.stop_reason import StopReason
from irismq_runtime.node.shutdown import shut_down
from irismq_runtime.observe.events import on_event
from irismq_runtime.observe.metrics import prometheus_text
from irismq_runtime.refs import entity_ref, publish_through, service_ref
from irismq_runtime.wire import ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from actors import ActorRef, Clock, Events, Future, Middleware
    from irismq_runtime.config import Endpoint, NatsOverlay, NodeConfig
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.node.binding.subscriptions import Subscription
    from irismq_runtime.node.own_servers.servers import Servers
    from irismq_runtime.observe.health import Health
    from irismq_runtime.observe.meter import Meter
    from irismq_runtime.refs import (
        EntityRef,
        MemberInfo,
        SendMiddleware,
        ServiceRef,
        TellReceipt,
    )
    from irismq_runtime.schedules import Schedules
    from irismq_runtime.wire import Codec
    from supervisors import ChildSpec

__all__ = ["EXIT_FORCED", "EXIT_GAVE_UP", "Node"]

A = TypeVar("A")


def _unsaid(node: Node, phase: str) -> None:
    """Nobody asked to be told."""


class Node:
    """One process of the runtime, entered with `async with` on one loop.

    Entering it connects; leaving it ends it in order, as `stop` does. Everything but
    refs belongs to the loop that entered it.

    Args:
        nsqd: "host:port" of the brokers, or several; the first that answers is
            published to, all are consumed from.
        lookupd: "host:port" of nsqlookupds (HTTP), or several.
        iris: "host:port" of the relay, or "nats://host:port,..." (or a `NatsOverlay`):
            then the node runs a relay of its own.
        name: A name for people, 1 to 32 of letters, digits, `_` and `-`.
        clock: The time; that of the machine by default.
        events: Where events go; to those who listen by default.
        codecs: Further codecs of message bodies.
        middleware: What stands around the handlers of its actors, the first outermost.
        send_middleware: What stands around all that is sent to addresses through it.
        dependencies: By type, what makes what its actors need; see `dependency`.
        transports: Makes other transports than NSQ and Iris, for tests.
        **options: The other options of `NodeConfig`, by name.

    Raises:
        ConfigError: An option has no meaning.
        NotConnected: At entering: a server did not answer within `connect_timeout`.
    """

    def __init__(
        self,
        *,
        nsqd: str | Iterable[str] = f"127.0.0.1:{DEFAULT_NSQD_PORT}",
        lookupd: str | Iterable[str] = (),
        iris: str | NatsOverlay = f"127.0.0.1:{DEFAULT_IRIS_PORT}",
        name: str = "node",
        clock: Clock | None = None,
        events: Events | None = None,
        codecs: Iterable[Codec] = (),
        middleware: Iterable[Middleware] = (),
        send_middleware: Iterable[SendMiddleware] = (),
        dependencies: Mapping[type[Any], Any] = MappingProxyType({}),
        transports: Callable[[NodeConfig, System, str], Any] = make_transports,
        **options: Any,
    ) -> None:
        check_parts(clock=clock, events=events, codecs=codecs, transports=transports)
        self._config = config_of(nsqd, lookupd, iris, name=name, **options)
        self._clock = clock
        self._events = events
        self._codecs = tuple(codecs)
        self._middleware = middleware_of(middleware)
        self._send_middleware = send_middleware_of(send_middleware)
        self._dependencies = Dependencies(dependencies)
        self._transports = transports
        if transports is make_transports:
            check_mailbox_options(self._config)
        self._servers = servers_of(self._config)
        self._store = store_of(self._config.store)
        self._parts: Parts | None = None
        self._refs: dict[tuple[str, str | None, str | None], ServiceRef[Any]] = {}
        self._stop_reason = StopReason()
        self._reports = Reports(self, self._stop_reason.roots)
        self._overview = Overview(self._running_parts, self._reports)
        self._health_monitor: HealthMonitor | None = None
        self._stopped: asyncio.Task[None] | None = None
        self._schedules: Schedules | None = None

    @classmethod
    def embedded(
        cls, *, data: str | os.PathLike[str] | None = None, name: str = "node", **options: Any
    ) -> Node:
        """Return a node that runs a broker and a relay of its own on loopback.

        Other processes reach the servers at `node.endpoints`.

        Args:
            data: A folder in which the broker keeps messages; in memory by default. The state
                of durable actors is in `state.db` there, unless `store` says otherwise.
            name: As of `Node`.
            **options: As of `Node`, but for `nsqd`, `lookupd`, and an `iris` that is not
                over NATS: it would not use them.

        Raises:
            ConfigError: An option has no meaning, or would not be used.
        """
        refuse_servers(options)
        place = folder(data)
        if place is not None and options.get("store") is None:
            options["store"] = f"sqlite:///{place / 'state.db'}"
        node = cls(name=name, **options)
        node._servers = servers_of(node._config, embedded=True, data=place)
        return node

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Node:
        """Return a node as the environment says, by the variables of `irismq run`.

        Args:
            environ: The variables; see docs/operations.md for all of them.
            **options: As of `Node`; they go before the variables.

        Raises:
            ConfigError: A variable or an option has no meaning.
        """
        return cls(**{**node_options(environ), **options})

    # Life ---------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._parts is not None:
            raise RuntimeError("a node is entered once; make another one")
        await self._dependencies.open()
        try:
            await self._servers.start()
            self._config = self._servers.placed(self._config)
            try:
                self._parts = await self._open()
            except BaseException:
                await self._servers.stop()
                raise
        except BaseException:
            await self._dependencies.close(self._config.drain)
            raise
        return self

    def _new_system(self) -> System:
        system = System(
            self._config.name,
            clock=self._clock,
            events=self._events,
            slow_after=self._config.slow_after,
            middleware=self._middleware,
        )
        system.attach()
        return system

    async def _open(self) -> Parts:
        system = self._new_system()
        node_id = new_node_id(self._config.name)
        mailbox, addresses = self._transports(self._config, system, node_id)
        store = self._store
        try:
            if store is not None:
                await store.open(self._config.namespace)
            parts = assemble(
                self._config,
                system,
                node_id=node_id,
                mailbox=mailbox,
                addresses=addresses,
                codecs=self._codecs,
                control=self._reports.control(),
                store=store,
                send_middleware=self._send_middleware,
                own_relay="iris" in self._servers.names,
            )
            await parts.open()
        except BaseException:
            if store is not None:
                await store.close()
            await system.shutdown(0.0)
            raise
        system.lifecycle.append(self._stop_reason)
        self._health_monitor = HealthMonitor(
            lambda: self._health(failures_only=True),
            system.clock,
            system.events,
            lambda: len(parts.binder),
        )
        self._health_monitor.start()
        forget_closed()
        RUNNING[system] = self
        if parts.durable is not None:
            self._schedules = schedules_of(parts.durable, self.start)
        if system.events.active:
            system.events.emit("node.started", node=node_id, name=self._config.name)
        return parts

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self, *, reason: str = "stopped") -> None:
        """End in order (see node.shutdown). Idempotent: all callers wait for the one end.

        Args:
            reason: Why, for the log, for events and for health.
        """
        parts = self._parts
        if parts is None:
            return
        if self._stopped is None:
            self._stop_reason.decide(reason)
            if self._health_monitor is not None:
                self._health_monitor.stop()
            if parts.dispatch.events.active:
                parts.dispatch.events.emit("node.draining", node=parts.node_id, reason=reason)
            self._stopped = asyncio.ensure_future(self._stop(parts))
        await asyncio.shield(self._stopped)

    async def _stop(self, parts: Parts) -> None:
        try:
            await shut_down(
                parts, self._servers, drain=self._config.drain, why=self._stop_reason.why
            )
        finally:
            RUNNING.pop(parts.system, None)
            await self._dependencies.close(self._config.drain)

    async def run_until_signal(self) -> int:
        """Run until SIGTERM or SIGINT, or until a root supervisor gives up.

        Ends the node in order. A second signal ends the process at once with
        `EXIT_FORCED`. systemd is told where it asks for that. Main thread only.

        Returns:
            The exit code for the process: 0 after a signal, `EXIT_GAVE_UP` when the tree
            gave up.
        """
        return await run_until_signal(self, self._stop_reason)

    async def run(
        self,
        tree: ChildSpec | Callable[[], object],
        *,
        on_phase: Callable[[Node, str], None] = _unsaid,
    ) -> int:
        """Enter the node, start `tree`, and go on as `run_until_signal`.

        A signal counts from the first moment on: one that comes while the servers are
        being connected, or the tree starts, ends that in order with code 0. Main thread
        only.

        Args:
            tree: As of `start`.
            on_phase: Called with the node and "connected", "runs", or why it is ending.

        Returns:
            The exit code for the process, as `run_until_signal`.

        Raises:
            NotConnected: A server did not answer within `connect_timeout`.
            Exception: What the start of the tree failed with.
        """
        return await run(self, self._stop_reason, tree, on_phase)

    async def stopping(self) -> str:
        """Wait until the node is to stop: `stop` was called, or a root of the tree gave up.

        For programs that have no signals to wait for (see `run_until_signal`); leaving the
        node's block ends it.

        Returns:
            Why it is to stop, for people.
        """
        await self._stop_reason.decided()
        return self._stop_reason.reason

    def forked(self, gone: Any) -> None:
        """This is a forked child: `gone`, which raises, stands for the parts of the parent."""
        self._parts = gone

    # The tree -----------------------------------------------------------------

    @overload
    async def start(self, tree: ChildSpec, *, name: str | None = None) -> ActorRef[Any]: ...

    @overload
    async def start(self, tree: Callable[[], A], *, name: str | None = None) -> ActorRef[A]: ...

    async def start(self, tree: Any, *, name: str | None = None) -> ActorRef[Any]:
        """Start a supervisor class or value (or an actor class) as a root.

        A root that ends by itself later ends `run_until_signal`.

        Args:
            tree: A `Supervisor` class, what `Supervisor.of(...)` or `child(...)` made, or
                an actor class.
            name: A name for the root, for texts and the tree.

        Returns:
            The ref of the root, when all of it has started.

        Raises:
            NodeStopped: The node has stopped.
            Exception: What the start failed with.
        """
        parts = self._running_parts()
        # As a root, whoever calls: what an actor starts by itself belongs to it.
        ref = contextvars.Context().run(supervisors.start, tree, parts.system, name=name)
        await ref.started()
        self._stop_reason.roots[ref] = None
        return ref

    def tree(self) -> dict[str, Any]:
        """Return this node's trees as a plain value: for JSON and the command line."""
        return self._reports.tree()

    async def trees(
        self, *, timeout: float = 3.0, only: Iterable[str] = ()
    ) -> dict[str, dict[str, Any]]:
        """Return the reports of all nodes by id, as `tree` makes them.

        Args:
            timeout: Seconds to wait for the others, of whom 50 are asked at a time.
            only: Ids or names of nodes: no others are asked.

        Returns:
            One for each node that presence hears; one that did not answer in time has
            "error" and no trees.

        Raises:
            NodeStopped: The node has stopped.
        """
        await self.settled()
        return await self._overview.trees(timeout=timeout, wanted=frozenset(only))

    def dependency(self, kind: type[A]) -> A:
        """Return what this node was given of a type: `current_node().dependency(Pool)`.

        It is made once, before the node connects, and closed after its trees have ended.

        Args:
            kind: The type under which it stands in `dependencies`.

        Raises:
            ConfigError: There is none, or the node has stopped.
        """
        return self._dependencies.of(kind)

    # Messages -----------------------------------------------------------------

    def ref(
        self, address: str, *, codec: str | None = None, foreign: Form | None = None
    ) -> ServiceRef[Any]:
        """Return the ref of an address; see `ServiceRef`. Any thread.

        A type checker holds messages against what the variable says:
        `greeter: ServiceRef[Greet | Count] = node.ref("greeter")`.

        Args:
            address: Any text that is not empty, e.g. "shop.inventory".
            codec: The codec of messages that are sent through it; the default one if None.
            foreign: "json" or "raw" for a service that knows nothing of irismq.

        Raises:
            ConfigError: The address is empty.
            NodeStopped: The node has stopped.
        """
        need_address(address)
        key = (address, codec, foreign)
        ref = self._refs.get(key)
        if ref is None:
            outbound = self._running_parts().outbound
            ref = self._refs[key] = service_ref(outbound, address, codec=codec, foreign=foreign)
        return ref

    def entity(
        self, address: str, key: str, *, shards: int | None = None, codec: str | None = None
    ) -> EntityRef:
        """Return the ref of one entity; see `EntityRef`. Any thread.

        Args:
            address: That of the class of entities.
            key: Which one: a text of 1 to 256 characters without NUL.
            shards: Into how many shards its keys are divided, where no node of this process
                runs them; 64 if None.
            codec: The codec of messages that are sent through it; the default one if None.

        Raises:
            ConfigError: Another number of shards than the entities have, which run here.
            ValueError: An address or a key that cannot be one.
            NodeStopped: The node has stopped.
        """
        outbound = self._running_parts().outbound
        return entity_ref(outbound, address, key, shards=shards, codec=codec)

    def singleton(self, address: str, *, codec: str | None = None) -> EntityRef:
        """Return the ref of the one actor of a class derived from `Singleton`. Any thread.

        Args:
            address: That of the class.
            codec: As of `entity`.

        Raises:
            ValueError: An address that cannot be one.
            NodeStopped: The node has stopped.
        """
        outbound = self._running_parts().outbound
        return entity_ref(outbound, address, SINGLETON_KEY, shards=1, codec=codec)

    @property
    def schedules(self) -> Schedules:
        """Messages at the times of a calendar, kept in the store; see `Schedules`.

        Raises:
            ConfigError: The node was given no store.
            NodeStopped: The node has stopped.
        """
        self._running_parts()
        if self._schedules is None:
            problem = "schedules are kept in a store, and the node has none"
            raise ConfigError("store", problem, 'give it one: Node(store="sqlite:///shop.db")')
        return self._schedules

    @overload
    def publish(
        self, topic: str, event: object, *, durable: Literal[True] = True, **options: Any
    ) -> TellReceipt | Any: ...

    @overload
    def publish(
        self, topic: str, event: object, *, durable: bool, **options: Any
    ) -> TellReceipt | Any | None: ...

    def publish(  # type: ignore[misc]  # the overloads spare the options that both have
        self,
        topic: str,
        event: object,
        *,
        durable: bool = True,
        delay: float = 0.0,
        codec: str | None = None,
        foreign: Form | None = None,
    ) -> TellReceipt | None:
        """Publish an event: durable to every channel of `topic`, or live. Any thread.

        Args:
            topic: The name of the topic.
            event: Any message.
            durable: Whether the broker keeps it for every channel; otherwise it reaches
                whoever listens now.
            delay: Seconds by which a durable event is deferred.
            codec: The codec of the event; the default one if None.
            foreign: "json" or "raw" for listeners that know nothing of irismq.

        Returns:
            A receipt as of `ServiceRef.tell` when it is durable, otherwise None.

        Raises:
            EncodeError: The event cannot be written.
            MessageTooLarge: It is larger than what the broker, or the relay, takes.
            Overloaded: The outbox is full.
            ConnectionLost: Live: the relay is away, and nothing was sent.
            NodeStopped: The node has stopped.
            ValueError: A live event with a delay, or a foreign one with a long one; a topic
                that nobody can subscribe to: without a name, a pattern, or in a namespace.
        """
        outbound = self._running_parts().outbound
        check_published(topic)
        if not durable and delay:
            raise ValueError("a live event cannot be delayed: it reaches who listens now")
        if outbound.send_middleware:
            return publish_through(
                outbound, topic, event, durable=durable, delay=delay, codec=codec, foreign=foreign
            )
        if durable:
            return outbound.store_event(topic, event, delay=delay, codec=codec, foreign=foreign)
        outbound.publish_live(topic, event, codec, foreign)
        return None

    def result(
        self,
        id: bytes,  # noqa: A002  # the field's name on the wire
        *,
        timeout: float | None = None,
    ) -> Future[Any]:
        """Wait for what comes of a stored message; see `TellReceipt.result`. Any thread.

        Args:
            id: That of its receipt (`receipt.id`), in whatever process it was told.
            timeout: Seconds, as of `TellReceipt.result`.

        Returns:
            A future, as of `TellReceipt.result`.

        Raises:
            ValueError: The id is none.
            ConfigError, NodeStopped: As `TellReceipt.result`.
        """
        given: object = id
        if not isinstance(given, bytes) or len(given) != ID_SIZE:
            raise ValueError(f"id={shown(id)} is not the id of a message: {ID_SIZE} bytes")
        return self._running_parts().outbound.result(id, timeout)

    async def subscribe(self, ref: ActorRef[Any], subscription: Subscription) -> None:
        """Have the events of one more topic sent to an actor of this node, while it runs.

        As one that its class lists in `subscribes`, but for the present incarnation alone:
        ask again in `on_start`. What it has subscribed to already changes nothing.

        Args:
            ref: The actor: `self.actor_ref`, of its own.
            subscription: What `live(...)` or `durable(...)` gives.

        Returns:
            When events are sure to arrive.

        Raises:
            ActorDeadError: The actor is not running, or ended meanwhile.
            ConfigError: A durable topic for a `Durable` actor, whose class has to name it.
            ConnectionLost: The relay is away, or
            NotConnected: it stays away for 5 seconds.
            NodeStopped: The node has stopped.
        """
        await self._running_parts().late.add(ref, subscription)

    async def unsubscribe(self, ref: ActorRef[Any], subscription: Subscription) -> bool:
        """Take `subscribe` back. What is in the inbox already stays.

        The channel of a durable topic stays at the broker, and keeps what comes for it.

        Args:
            ref: As it was given to `subscribe`.
            subscription: As above.

        Returns:
            Whether the actor had subscribed so.

        Raises:
            NodeStopped: The node has stopped.
        """
        return await self._running_parts().late.remove(ref, subscription)

    def members(self, address: str) -> tuple[MemberInfo, ...]:
        """Return who serves `address`, as far as presence tells. Raises `NodeStopped`."""
        return self._running_parts().presence.members(address)

    def nodes(self) -> Mapping[str, str]:
        """Return id and name of each node that presence hears, itself too. Raises `NodeStopped`."""
        return self._running_parts().presence.nodes()

    async def settled(self) -> None:
        """Wait until other nodes have introduced themselves: a second at most after entering.

        Raises `NodeStopped`.
        """
        done = asyncio.Event()
        self._running_parts().presence.when_settled(done.set)
        await done.wait()

    def signed_anew(self, data: bytes, topic: str, to: str) -> bytes:
        """Return a message that was stored in `topic`, as it may be stored in the topic `to`.

        A node with keys signs it again, as a signature is good for one topic and a while;
        without keys, and for what cannot be read, these are the same bytes.

        Raises:
            SignatureError: It is not authentic in `topic`, or it is signed and there are no keys
                here.
        """
        return self._open_parts().outbound.packer.renewed(data, topic, to)

    # About this node ----------------------------------------------------------

    def health(self) -> Health:
        """Return liveness and readiness with the reasons, as they are now."""
        return self._health()

    def _health(self, *, failures_only: bool = False) -> Health:
        stop_reason = self._stop_reason
        return health_of(
            self._open_parts(),
            self._servers,
            gave_up=stop_reason.gave_up,
            draining=stop_reason.reason,
            failures_only=failures_only,
        )

    def on_event(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call `callback` with the record of every event (`observe.events`) from now on.

        Args:
            callback: Called in the thread of whoever emits, so it must be quick. One that
                raises is logged and called no more.

        Returns:
            What ends it when it is called; later calls do nothing.
        """
        return on_event(self._open_parts().system.events, callback)

    def watch(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Do as `on_event`, whose old name this is, until 1.0: `Actor.watch` is the death watch."""
        text = "Node.watch is called Node.on_event; the old name goes with version 1.0"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.on_event(callback)

    def metrics(self) -> str:
        """Return the node's numbers in the text format of Prometheus."""
        return prometheus_text(samples_of(self._open_parts(), self.health()))

    @property
    def id(self) -> str:
        """The id of this run: its name and a random part."""
        return self._open_parts().node_id

    @property
    def is_open(self) -> bool:
        """Whether it has been entered: connected, and perhaps stopping or stopped."""
        return self._parts is not None

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._config.name

    @property
    def config(self) -> NodeConfig:
        """The options it runs with."""
        return self._config

    @property
    def system(self) -> System:
        """The actors of this node."""
        return self._open_parts().system

    @property
    def meter(self) -> Meter:
        """What it did in the last minutes, second by second."""
        return self._open_parts().meter

    @property
    def overview(self) -> Overview:
        """The whole system as this node sees it: for tools that show it."""
        return self._overview

    @property
    def parts(self) -> Parts:
        """The parts of the running node, for its own package and tests; tools use the verbs."""
        return self._open_parts()

    @property
    def own_servers(self) -> Servers:
        """The servers that the node runs itself: of `Node.embedded()` a broker and a relay."""
        return self._servers

    @property
    def endpoints(self) -> dict[str, str]:
        """Where the servers are: {"nsqd": "host:port", "iris": ...}, "nsqd_http" if ours."""
        config = self._config
        found = {"nsqd": str(config.nsqd[0]), "iris": str(config.iris)}
        return found | self._servers.endpoints()

    @property
    def dialled(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """The servers that it needs and others run: "nsqd", "iris", "nats"."""
        return self._servers.dialled(self._config)

    def _running_parts(self) -> Parts:
        """Return the parts while they do anything. Raises `NodeStopped` once they do not."""
        parts = self._open_parts()
        if parts.outbound.stopped is not None:
            raise NodeStopped(parts.outbound.stopped)
        return parts

    def _open_parts(self) -> Parts:
        if self._parts is None:
            raise RuntimeError("the node is not running: use it inside `async with Node(...)`")
        return self._parts
