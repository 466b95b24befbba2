"""Puts the parts of a node together, in the order in which they need each other.

    transports -> packer -> directory -> outbound -> dispatch -> bindings

Nothing is decided here and nothing is sent: `open` connects, `close` undoes what
`open` did, in reverse, and each part stays what it is. Transports may be given
(tests use in-memory ones); otherwise NSQ and Iris are used.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from irismq_runtime.dispatch import DispatchContext, DispatchCounters
from irismq_runtime.errors import ConfigError
from irismq_runtime.messaging import NODE_TARGET, Packer, ServedRequest, Unwatch, Watch
from irismq_runtime.messaging.control import Ended
from irismq_runtime.namespace import Namespace
from irismq_runtime.node.binding.binder import Binder, BindingContext
from irismq_runtime.node.binding.late_subscriptions import LateSubscriptions
from irismq_runtime.node.membership.death_watch import DeathWatch
from irismq_runtime.node.membership.peers import PeerDispatch
from irismq_runtime.node.membership.presence import Presence
from irismq_runtime.observe.logs import RateLimitedLog
from irismq_runtime.observe.meter import Meter
from irismq_runtime.observe.tracing import tracing_of
from irismq_runtime.refs import Outbound, RefPacking
from irismq_runtime.wire import DEFAULT_LIMITS, KeyRing, Serializer
from irismq_runtime.wire.headers import REPEATS_LONG, SENDERS_REPEAT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from actors import ActorRef, Clock, System
    from irismq_runtime.config import NodeConfig
    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.entities import Ownership
    from irismq_runtime.mailbox import MailboxConfig
    from irismq_runtime.node.membership.member_table import Change
    from irismq_runtime.ports import AddressTransport, MailboxTransport, Member
    from irismq_runtime.ports.state_store import StateStore
    from irismq_runtime.refs import SendMiddleware
    from irismq_runtime.schedules import Schedules
    from irismq_runtime.wire import Codec

__all__ = ["Parts", "assemble", "make_transports", "new_node_id", "ownership_in", "schedules_of"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Parts:
    """The parts of a running node."""

    node_id: str
    config: NodeConfig
    system: System
    mailbox: MailboxTransport
    addresses: AddressTransport
    presence: Presence
    outbound: Outbound
    dispatch: DispatchContext
    death_watch: DeathWatch
    binder: Binder
    late: LateSubscriptions
    peers: PeerDispatch
    meter: Meter
    #: What the durable actors have; None: the node was given no store.
    durable: DurableEngine | None = None
    #: The membership of the private cluster.
    membership: Member | None = None

    async def open(self) -> None:
        """Connect, join the private cluster, announce. Raises `NotConnected`."""
        await self.mailbox.start()
        self.outbound.packer.dead_size = self.mailbox.max_body
        try:
            await self.addresses.start()
            self.peers.stands = self.presence.standing(self.peers.address, NODE_TARGET)
            self.membership = await self.addresses.join(self.peers.address, self.peers)
            await self.presence.start()
        except BaseException:
            await self.addresses.close(0.0)
            await self.mailbox.close(0.0)
            raise
        self.system.lifecycle.append(self.binder)
        self.meter.start()


def new_node_id(name: str) -> str:
    """Return an id that no other start of a process has: the name and 8 random bytes."""
    return f"{name}-{secrets.token_hex(8)}"


def make_transports(
    config: NodeConfig, system: System, node_id: str
) -> tuple[MailboxTransport, AddressTransport]:
    """Return NSQ and Iris as `config` says."""
    from irismq_runtime.mailbox import NsqMailbox
    from irismq_runtime.pyiris import IrisAddresses, Limits, Options

    namespace = Namespace(config.namespace)
    limits = Limits(
        tunnel=DEFAULT_LIMITS.size,
        tunnel_message=DEFAULT_LIMITS.size,
        tunnel_bytes=config.tunnel_bytes,
        unverified_bytes=config.unverified_bytes,
    )
    mailbox = NsqMailbox(
        [str(endpoint) for endpoint in config.nsqd],
        [str(endpoint) for endpoint in config.lookupd],
        clock=system.clock,
        events=system.events,
        config=_mailbox_config(config, node_id),
        namespace=namespace,
    )
    addresses = IrisAddresses(
        config.iris.host,
        config.iris.port,
        options=Options(connect_timeout=config.connect_timeout, limits=limits),
        clock=system.clock,
        events=system.events,
        asks_limit=True,
        namespace=namespace,
    )
    return mailbox, addresses


def check_mailbox_options(config: NodeConfig) -> None:
    """Raise `ConfigError` for an option of the mailbox that has no meaning."""
    options = _mailbox_config(config, "")
    if options.copies > len(config.nsqd):
        given = len(config.nsqd)
        problem = f"{options.copies} copies need as many brokers to publish to, {given} given"
        raise ConfigError("copies", problem, "name more with nsqd")


def _mailbox_config(config: NodeConfig, node_id: str) -> MailboxConfig:
    from irismq_runtime.mailbox import MailboxConfig

    for name in config.mailbox_options:
        if name not in MailboxConfig.__dataclass_fields__:
            raise ConfigError(
                "mailbox_options", f"there is no option {name!r}", "see mailbox.MailboxConfig"
            )
    options: dict[str, Any] = {
        "client_id": node_id,
        "max_attempts": config.max_attempts,
        "publish_timeout": config.publish_timeout,
        "start_timeout": config.connect_timeout,
        "msg_timeout": config.lease,
        **config.mailbox_options,
    }
    return MailboxConfig(**options)


def assemble(
    config: NodeConfig,
    system: System,
    *,
    node_id: str,
    mailbox: MailboxTransport,
    addresses: AddressTransport,
    codecs: Iterable[Codec] = (),
    control: Mapping[type, Callable[[Any], object]],
    store: StateStore | None = None,
    send_middleware: tuple[SendMiddleware, ...] = (),
    own_relay: bool = False,
) -> Parts:
    """Return the parts, not connected yet. `control`: see `PeerDispatch`. `store`: open.

    `own_relay`: the relay is one of this process.
    """
    packer = _packer(config, node_id, Serializer(codecs=codecs), system.clock)
    presence = _presence(config, packer, addresses, system, own_relay=own_relay)
    death_watch = DeathWatch(system.find)
    counters = DispatchCounters()
    outbound = Outbound(
        packer=packer,
        mailbox=mailbox,
        addresses=addresses,
        directory=presence,
        watching=death_watch,
        system=system,
        meter=Meter(system, counters.to_dict),
        tracing=tracing_of(system.clock, config.traces_per_second),
        ask_timeout=config.ask_timeout,
        publish_timeout=config.publish_timeout,
        send_middleware=send_middleware,
    )
    if outbound.tracing is not None:
        system.propagate_context(outbound.tracing.here, outbound.tracing.in_force)
    dispatch = _dispatch(node_id, system, outbound, counters)
    _connect(presence, death_watch, outbound)
    durable = None if store is None else _durable(store, outbound, dispatch, config)
    context = BindingContext(mailbox, addresses, presence, dispatch, config, durable)
    late = LateSubscriptions(context)
    return Parts(
        node_id=node_id,
        config=config,
        system=system,
        mailbox=mailbox,
        addresses=addresses,
        presence=presence,
        outbound=outbound,
        dispatch=dispatch,
        death_watch=death_watch,
        binder=Binder(context, death_watch, late),
        late=late,
        peers=_peers(dispatch, outbound, death_watch, presence, control),
        meter=outbound.meter,
        durable=durable,
    )


def _durable(
    store: StateStore, outbound: Outbound, dispatch: DispatchContext, config: NodeConfig
) -> DurableEngine:
    from irismq_runtime.durability import ENGINES, DurableEngine

    system = outbound.system
    engine = DurableEngine(
        store,
        outbound,
        system,
        dispatch.log,
        republish_after=config.republish_after,
        outbox_rows=config.outbox_rows,
    )
    ENGINES[system] = engine
    return engine


def ownership_in(durable: DurableEngine | None) -> Ownership | None:
    """Return which shards a node has; None: no class of entities has started there."""
    if durable is None or not durable.above:  # so that no node imports it for nothing
        return None
    from irismq_runtime.entities import Ownership

    found: Ownership | None = durable.above.get(Ownership)
    return found


def schedules_of(
    durable: DurableEngine, start: Callable[[Any], Awaitable[ActorRef[Any]]]
) -> Schedules:
    """Return the schedules of the store of a node. `start`: see `Node.start`."""
    from irismq_runtime.schedules import Schedules

    return Schedules(durable, start)


def _presence(
    config: NodeConfig,
    packer: Packer,
    addresses: AddressTransport,
    system: System,
    *,
    own_relay: bool,
) -> Presence:
    return Presence(
        packer,
        addresses,
        name=config.name,
        clock=system.clock,
        events=system.events,
        period=config.presence_period,
        misses=config.presence_misses,
        own_relay=own_relay,
    )


def _connect(presence: Presence, death_watch: DeathWatch, outbound: Outbound) -> None:
    death_watch.attach(outbound)
    presence.on_change(death_watch.changed)
    presence.on_change(lambda change: _tell_gathers(outbound, change))


def _dispatch(
    node_id: str, system: System, outbound: Outbound, counters: DispatchCounters
) -> DispatchContext:
    packing = RefPacking(outbound, system.find)
    members = outbound.directory.members
    outbound.packer.serializer.registry.register_ref(packing.pack, packing.unpack)
    return DispatchContext(
        packer=outbound.packer,
        clock=system.clock,
        events=system.events,
        log=RateLimitedLog("irismq", system.clock),
        unpack=packing.unpack,
        lost=system.dead_letters.record,
        addresses=outbound.addresses,
        meter=outbound.meter,
        tracing=outbound.tracing,
        counters=counters,
        others_serve=lambda address: any(each.node != node_id for each in members(address)),
    )


def _peers(
    dispatch: DispatchContext,
    outbound: Outbound,
    death_watch: DeathWatch,
    presence: Presence,
    control: Mapping[type, Callable[[Any], object]],
) -> PeerDispatch:
    answers: dict[type, Callable[[Any], object]] = {
        Watch: death_watch.watch_from,
        Unwatch: death_watch.unwatch_from,
        Ended: death_watch.heard_end,
        ServedRequest: presence.changes_since,
        **control,
    }
    find = outbound.system.find
    return PeerDispatch(dispatch, outbound, find, answers, presence.take_answer_untrusted)


def _packer(config: NodeConfig, node_id: str, serializer: Serializer, clock: Clock) -> Packer:
    keys = None
    if config.keys:
        until = config.old_signatures_until
        old_until = 0.0 if until is None else until.timestamp()
        namespace = Namespace(config.namespace)
        keys = KeyRing.of(_ordered_keys(config), old_until=old_until, namespace=namespace)
        if until is not None and clock.time() < old_until:
            logger.warning(
                "signatures of version 1, which say neither place nor time, are taken until %s "
                "(old_signatures_until); take the option away when every node is upgraded",
                until.isoformat(),
            )
    return Packer(
        node_id,
        serializer,
        keys=keys,
        window=config.signature_window,
        unknown_as_plain=config.unknown_as_plain,
        now=clock.time,
        repeats=REPEATS_LONG if _may_repeat_long(config) else 0,
    )


def _may_repeat_long(config: NodeConfig) -> bool:
    """Whether what this node stores may come again over an hour after it was handled."""
    copies: Any = config.mailbox_options.get("copies", 1)
    return copies != 1 or config.publish_timeout > SENDERS_REPEAT


def _ordered_keys(config: NodeConfig) -> dict[str, bytes]:
    """Return the keys with the one that signs first."""
    keys: dict[str, Any] = dict(config.keys)
    if config.sign_with is not None:
        keys = {config.sign_with: keys.pop(config.sign_with), **keys}
    return keys


def _tell_gathers(outbound: Outbound, change: Change) -> None:
    """A member went: whoever waits for it alone need not wait any longer."""
    if change.kind == "left" and change.member is not None:
        member = f"{change.member.node}/{change.member.urn}"
        for gather in tuple(outbound.gathers.values()):
            gather.left(member)
