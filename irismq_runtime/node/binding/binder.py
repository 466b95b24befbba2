"""Binds actors to their addresses at the turns of their lives.

An actor whose class (or instance) has an `address` becomes, before its start is
reported, a member of the Iris cluster and a consumer of the mailbox channel; the
topics it `subscribes` to are consumed likewise. While it restarts it stays a
member, so that asks wait for it, and its consumers are paused, so that tells go
to others. When its slot ends it is unbound, and relay and broker turn to others.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors.rules import POSITIVE_SECONDS, count, optional, seconds, text, value_of
from irismq_runtime.dispatch import (
    AttemptLimits,
    LiveDispatch,
    MemberDispatch,
    RetryPolicy,
    StoredDispatch,
    foreign_rule,
)
from irismq_runtime.errors import ConfigError, RuntimeFault
from irismq_runtime.messaging import MAILBOX_CHANNEL, dead_topic, mailbox_topic
from irismq_runtime.namespace import ADDRESS
from irismq_runtime.node.binding.subscriptions import subscriptions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from actors import ActorRef, Exit
    from actors.rules import Rule
    from irismq_runtime.config import NodeConfig
    from irismq_runtime.dispatch import DispatchContext, ForeignRule
    from irismq_runtime.durability import DurableEngine
    from irismq_runtime.node.binding.subscriptions import Subscription
    from irismq_runtime.node.membership.death_watch import DeathWatch
    from irismq_runtime.node.membership.presence import Presence
    from irismq_runtime.ports import (
        AddressTransport,
        Consumption,
        Handle,
        MailboxTransport,
        Member,
    )

__all__ = ["Binder", "Binding"]

_LOG = logging.getLogger("irismq.node")

#: Why the consumers of a binding are paused while its actor is down,
DOWN = "restarting"
#: and while it is no member yet: what comes to an actor that cannot start costs an attempt.
JOINING = "joining"
#: Why they are paused for good.
DRAINING = "draining"


#: Stored messages that an actor may hold: nsqd's most (max-rdy-count).
MOST_HELD: Final = 2500

#: What the attributes of an actor may be that is reached from outside.
_RULES: Final[Mapping[str, Rule]] = {
    "address": optional(ADDRESS),
    "mailbox_window": optional(count(1, MOST_HELD)),
    "codec": optional(text(1)),
    "retry_policy": optional(value_of(RetryPolicy, "a RetryPolicy")),
    "mailbox_expires": optional(POSITIVE_SECONDS),
    "keeps_results": optional(seconds(0.0, 30 * 86_400.0, above=True)),
}


@dataclass(frozen=True, slots=True)
class BindingContext:
    """What all bindings of a node share."""

    mailbox: MailboxTransport
    addresses: AddressTransport
    presence: Presence
    dispatch: DispatchContext
    config: NodeConfig
    #: None: the node has no store, and runs no durable actors.
    durable: DurableEngine | None = None


class Binding:
    """Everything through which one actor is reached from outside its node."""

    def __init__(
        self,
        context: BindingContext,
        ref: ActorRef[Any],
        actor: Any,
        late: Subscription | None = None,
    ) -> None:
        #: Whether it is for what an actor subscribes to later, and no more of it.
        self._late = late is not None
        self._context = context
        self.ref = ref
        cls = type(actor)
        for name, rule in _RULES.items():
            if complaint := rule.complaint(getattr(actor, name, None)):
                raise ConfigError(f"{cls.__name__}.{name}", complaint)
        self.address: str = getattr(actor, "address", None) or ""
        self._named = self.address or cls.__name__
        self._foreign: ForeignRule = foreign_rule(getattr(actor, "foreign", "json"), cls.__name__)
        self._codec: str | None = getattr(actor, "codec", None)
        self._retry: RetryPolicy | None = getattr(actor, "retry_policy", None)
        self._expires: float | None = getattr(actor, "mailbox_expires", None)
        window = getattr(actor, "mailbox_window", None) or max(
            context.config.mailbox_window, min(actor.__largest_batch__, MOST_HELD)
        )
        self._window: int = max(1, min(window, ref.room or 1))
        self._keep: float | None = None if self._late else getattr(actor, "keeps_results", None)
        if self._keep is not None and context.durable is None:
            raise ConfigError(
                f"{cls.__name__}.keeps_results",
                "its node has no store, and results are kept in one",
                'give the node one: Node(store="sqlite:///shop.db")',
            )
        self._subscriptions = subscriptions_of(actor) if late is None else (late,)
        #: What takes what comes to its address, where that is not for itself.
        self._inlet = getattr(actor, "__inlet__", None)
        #: Seconds that what is in hand has when its actor ends by itself.
        self.drain: float = 0.0 if self._inlet is None else self._inlet.drain
        durable, keyed = context.durable, self._inlet is not None
        self._durable = (
            durable if durable is not None and (keyed or durable.is_durable(actor)) else None
        )
        self._own_channel = mailbox_topic(self._named)
        self.member: Member | None = None
        self.handler: MemberDispatch | None = None
        self.stored: list[tuple[StoredDispatch, Consumption]] = []
        self._listening: list[Handle] = []
        self._closed = False

    @property
    def is_durable(self) -> bool:
        """Whether what is stored goes to a durable actor."""
        return self._durable is not None

    @staticmethod
    def wanted(actor: Any) -> bool:
        """Whether the actor is to be reached from outside at all."""
        if getattr(type(actor), "__host__", None) is not None:
            return False  # its host is
        return getattr(actor, "address", None) is not None or getattr(actor, "subscribes", ()) != ()

    async def open(self) -> None:
        """Join and consume; returns when every broker that is reached has the channels.

        Raises what the transports raise, with nothing left open.
        """
        try:
            if self.address and not self._late:
                await self._open_address()
            for subscription in self._subscriptions:
                await self._subscribe(subscription)
            await asyncio.gather(*(consumption.established() for _, consumption in self.stored))
            self._announce()
        except BaseException:
            await self.close(0.0)
            raise

    async def _open_address(self) -> None:
        context = self._context
        inlet = self._inlet
        make = MemberDispatch if inlet is None else inlet.member_dispatch
        self.handler = make(
            context.dispatch, self.ref, self.address, foreign=self._foreign, codec=self._codec
        )
        self.handler.stands = context.presence.standing(self.address, self.ref.actor_urn)
        # Broker and relay answer at the same time; neither waits for the other.
        mailbox = await self._consume(
            mailbox_topic(self.address), MAILBOX_CHANNEL, self.address, "tell"
        )
        mailbox.pause.add(JOINING)
        self.member = await context.addresses.join(self.address, self.handler)
        mailbox.pause.remove(JOINING)

    def _announce(self) -> None:
        """Tell the other nodes; what is sent to the actor from now on reaches it."""
        context = self._context
        if not self.address or self._closed or self._late:
            return
        context.presence.bind(self.address, self.ref.actor_urn)
        if context.dispatch.events.active:
            context.dispatch.events.emit("node.bound", address=self.address, urn=self.ref.actor_urn)

    async def _subscribe(self, subscription: Subscription) -> None:
        topic = subscription.topic
        if subscription.is_durable:
            channel = subscription.channel or self._own_channel
            await self._consume(mailbox_topic(topic), channel, topic, "event")
            return
        live = LiveDispatch(self._context.dispatch, self.ref, topic, foreign=self._foreign)
        self._listening.append(await self._context.addresses.subscribe(topic, live.on_event))

    async def _consume(self, topic: str, channel: str, name: str, kind: str) -> StoredDispatch:
        context = self._context
        mailbox = context.mailbox
        make: Callable[..., StoredDispatch] = StoredDispatch
        if self._inlet is not None:
            make = self._inlet.stored_dispatch
        elif self._durable is not None:
            make = partial(self._durable.dispatch, self.address, keep=self._keep)
        elif self._keep is not None and kind == "tell" and context.durable is not None:
            make = partial(context.durable.keeping, self._keep)
        dispatch = make(
            context.dispatch,
            self.ref,
            address=name,
            dead_topic=dead_topic(name),
            limits=AttemptLimits(mailbox.max_attempts, mailbox.max_delay, self._expires),
            retry=self._retry,
            foreign=self._foreign,
            dedupe=context.config.dedupe_window,
            kind=kind,
            channel=channel if kind == "event" else "",
        )
        consumption = await mailbox.consume(
            topic, channel, dispatch.on_message, window=self._window
        )
        dispatch.attach(consumption)
        self.stored.append((dispatch, consumption))
        return dispatch

    def pause(self, exit: Exit) -> None:  # noqa: A002  # OTP's word
        """The actor is down for a while."""
        for dispatch, _ in self.stored:
            dispatch.pause.add(DOWN)
        if self.handler is not None:
            self.handler.cut(f"its actor ended: {exit}")

    def resume(self) -> None:
        """The actor is up again."""
        for dispatch, _ in self.stored:
            dispatch.pause.remove(DOWN)

    async def close(self, drain: float, why: str = "its node is leaving") -> None:
        """Leave and stop consuming, within `drain` seconds. Idempotent.

        `why`: what the other ends of open tunnels are told.
        """
        if self._closed:
            return
        self._closed = True
        context = self._context
        if self.handler is not None:
            self.handler.stands = None
            context.presence.unbind(self.address, self.ref.actor_urn)
        for dispatch, _ in self.stored:
            dispatch.pause.add(DRAINING)
        durable = None if self._late else self._durable
        if durable is not None:
            await durable.flush(self.address)
        ending = [handle.close() for handle in self._listening]
        ending += [consumption.stop(drain) for _, consumption in self.stored]
        ending.append(self._leave(drain, why))
        for problem in await asyncio.gather(*ending, return_exceptions=True):
            if isinstance(problem, RuntimeFault):
                _LOG.info("Closing %s: %s", self.address, problem)
            elif isinstance(problem, BaseException):
                _LOG.error("Closing %s failed", self.address, exc_info=problem)
        if context.durable is not None and (durable is not None or self._keep is not None):
            context.durable.unbound(self.ref, self.address)
        if self.address and not self._late and context.dispatch.events.active:
            context.dispatch.events.emit(
                "node.unbound", address=self.address, urn=self.ref.actor_urn
            )

    async def _leave(self, drain: float, why: str) -> None:
        """Leave the cluster, once its tunnels have been told why they are cut."""
        if self.handler is not None:
            await self.handler.leave(why)
        if self.member is not None:
            await self.member.leave(drain)


class Binder:
    """The node's `actors.Lifecycle`: binds, pauses, resumes and unbinds."""

    def __init__(
        self, context: BindingContext, death_watch: DeathWatch, late: Iterable[Binding] = ()
    ) -> None:
        self._context = context
        self._death_watch = death_watch
        #: What actors have subscribed to while they ran.
        self._late = late
        self._bindings: dict[ActorRef[Any], Binding] = {}

    def __iter__(self) -> Iterator[Binding]:
        return iter((*self._bindings.values(), *self._late))

    def __len__(self) -> int:
        return len(self._bindings)

    async def started(self, ref: ActorRef[Any], actor: Any) -> None:
        """Bind the actor if it is to be reached from outside."""
        if not Binding.wanted(actor):
            return
        binding = Binding(self._context, ref, actor)
        await binding.open()
        self._bindings[ref] = binding

    async def restarting(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # Lifecycle's name
        """Pause its consumers."""
        binding = self._bindings.get(ref)
        if binding is not None:
            binding.pause(exit)

    async def restarted(self, ref: ActorRef[Any], actor: Any) -> None:
        """Resume them; an actor that could not be bound before is bound now."""
        binding = self._bindings.get(ref)
        if binding is not None:
            binding.resume()
        else:
            await self.started(ref, actor)

    async def ended(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # Lifecycle's name
        """Unbind it, and tell the nodes that watch it."""
        self._death_watch.local_end(ref, exit)
        binding = self._bindings.pop(ref, None)
        if binding is not None:
            await binding.close(binding.drain, f"its actor ended: {exit}")

    async def close(self, drain: float) -> None:
        """Unbind all actors at the same time; what runs gets `drain` seconds."""
        await asyncio.gather(*(binding.close(drain) for binding in self))
