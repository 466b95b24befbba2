"""Middleware around sends: what a node puts around all that its program sends to addresses.

    def stamped(context: SendContext, message: Any, call_next: SendNext) -> Any:
        with carrying(sent_by="billing"):
            return call_next(message)

    Node(send_middleware=[stamped])

The first one given is the outermost. Each gets what is sent how and where to, the message,
and what calls the next one or at last the verb itself. It is a plain function, as a tell
does not wait: it runs where the verb is called, in that thread, and what it raises is raised
there; so nothing is sent. The message that it hands on is the one that is sent, and what it
returns is what the caller gets: the receipt or the future that the next one gave, or another
one. One that hands on twice sends twice. A `tell_many` goes through them message by message
before any of them leaves: there is no receipt then, and each is handed on once.

They stand around the verbs of the refs of addresses, entities and actors on other nodes, and
around `Node.publish`; not around local refs, tunnels and streams, and not around what was
sent already and leaves later (the outbox, reminders, retries). The refs of a node without
any are the plain ones: these here are classes of their own, chosen where a ref is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CoroutineType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from actors import Future
from actors.rules import shown
from actors.type_variables import M_contra
from irismq_runtime.refs.entity import EntityRef
from irismq_runtime.refs.peer import PeerRef
from irismq_runtime.refs.service import ServiceRef
from irismq_runtime.refs.together import tell_many

if TYPE_CHECKING:
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.refs.outbound import Outbound
    from irismq_runtime.refs.receipt import TellReceipt

__all__ = [
    "SendContext",
    "SendMiddleware",
    "SendNext",
    "checked_send_middleware",
    "entity_ref",
    "peer_ref",
    "send_through",
    "service_ref",
]

Verb: TypeAlias = Literal["tell", "tell_many", "ask", "tell_all", "ask_all", "publish"]
T = TypeVar("T")

_ASKS: Final = ("ask", "ask_all")
#: Verbs that give no receipt, or not yet.
_WITHOUT: Final = ("tell_all", "tell_many")


@dataclass(frozen=True, slots=True)
class SendContext:
    """How a message is sent, and where to.

    Attributes:
        verb: The verb of the ref, or "publish".
        target: An address, "address/key" of an entity, "node/urn" of an actor on another
            node, or a topic.
        options: The options that the caller gave, by name: `delay`, `expires`, `timeout`, ...
    """

    verb: Verb
    target: str
    options: Mapping[str, Any]


SendNext: TypeAlias = Callable[[Any], Any]
"""Calls what is further in with a message, and gives what that returns."""

SendMiddleware: TypeAlias = Callable[[SendContext, Any, SendNext], Any]
"""What stands around sends: it gets context, message, and what is further in."""


def checked_send_middleware(given: Any) -> tuple[SendMiddleware, ...]:
    """Return what is given, in order. Raises `ValueError` for what is no plain function."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise ValueError(f"{shown(given)} is not a list of middleware")  # noqa: TRY004  # as each option
    middleware = tuple(given)
    for each in middleware:
        if not callable(each):
            raise ValueError(f"{shown(each)} cannot be called")  # noqa: TRY004  # as each option
        if inspect.iscoroutinefunction(each) or inspect.iscoroutinefunction(
            getattr(each, "__call__", None)  # noqa: B004  # which of its functions is async
        ):
            raise ValueError(f"{shown(each)} is async, and a send does not wait")
    return middleware


def send_through(
    middleware: tuple[SendMiddleware, ...],
    context: SendContext,
    send: SendNext,
    message: Any,
) -> Any:
    """Call `send` with what the middleware make of `message`, within all of them."""
    call = send
    for each in reversed(middleware):
        call = partial(_next, each, context, call)
    return call(message)


def _next(middleware: SendMiddleware, context: SendContext, call: SendNext, message: Any) -> Any:
    result = middleware(context, message, call)
    kind = type(result)
    if context.verb in _ASKS:
        good, wanted = issubclass(kind, Future), "a future"
    elif context.verb in _WITHOUT or not context.options.get("durable", True):
        good, wanted = result is None, "None"
    else:
        good, wanted = hasattr(kind, "__await__") and kind is not CoroutineType, "a receipt"
    if good:
        return result
    if isinstance(result, CoroutineType):
        result.close()
    name = getattr(middleware, "__qualname__", type(middleware).__qualname__)
    raise TypeError(
        f"the send middleware {name} returned {shown(result)} from a {context.verb} to "
        f"{context.target!r} and not {wanted}: return what call_next gives, or raise"
    )


class _Around:
    """The verbs of a ref, within the middleware of its node. Any thread."""

    __slots__ = ()

    _outbound: Outbound

    def _through(
        self, verb: Verb, target: str, send: SendNext, message: Any, options: dict[str, Any]
    ) -> Any:
        context = SendContext(verb, target, MappingProxyType(options))
        send = partial(send, **options)
        return send_through(self._outbound.send_middleware, context, send, message)

    def _ask(self, target: str, ask: SendNext, message: Any, options: dict[str, Any]) -> Any:
        block = options.pop("block", False)
        answer = self._through("ask", target, ask, message, options)
        return answer.get() if block else answer

    def _within(self, target: str, act: Callable[[Any], T], message: Any) -> T:
        """What `act` makes of one message of a `tell_many`, which has to be handed on once."""
        made: list[T] = []
        context = SendContext("tell_many", target, MappingProxyType({}))

        def hand_on(message: Any) -> None:
            made.append(act(message))

        send_through(self._outbound.send_middleware, context, hand_on, message)
        if len(made) != 1:
            raise TypeError(
                f"a send middleware handed a message of a tell_many to {target!r} on "
                f"{len(made)} times: call call_next once, or raise"
            )
        return made[0]


class _ServiceWithin(_Around, ServiceRef[M_contra]):
    __slots__ = ()

    def tell(self, message: Any, **options: Any) -> Any:
        return self._through("tell", self.address, super().tell, message, options)

    def tell_many(self, messages: Iterable[Any]) -> list[TellReceipt]:
        return tell_many(
            self._outbound,
            self.address,
            self._topic,
            messages,
            codec=self.codec,
            foreign=self.foreign,
            within=partial(self._within, self.address),
        )

    def ask(self, message: Any, **options: Any) -> Any:
        return self._ask(self.address, super().ask, message, options)

    def tell_all(self, message: Any) -> None:
        self._through("tell_all", self.address, super().tell_all, message, {})

    def ask_all(self, message: Any, **options: Any) -> Any:
        return self._through("ask_all", self.address, super().ask_all, message, options)


class _EntityWithin(_Around, EntityRef):
    __slots__ = ()

    def tell(self, message: Any, **options: Any) -> Any:
        return self._through("tell", str(self), super().tell, message, options)

    def tell_many(self, messages: Iterable[Any]) -> list[TellReceipt]:
        return tell_many(
            self._outbound,
            self._shard,
            self._topic,
            messages,
            codec=self.codec,
            key=self.key,
            within=partial(self._within, str(self)),
        )

    def ask(self, message: Any, **options: Any) -> Any:
        return self._ask(str(self), super().ask, message, options)


class _PeerWithin(_Around, PeerRef):
    __slots__ = ()

    def tell(self, message: Any, **options: Any) -> Any:
        return self._through("tell", str(self), super().tell, message, options)

    def ask(self, message: Any, **options: Any) -> Any:
        return self._ask(str(self), super().ask, message, options)


def publish_through(
    outbound: Outbound,
    topic: str,
    event: object,
    *,
    durable: bool,
    delay: float,
    codec: str | None,
    foreign: Form | None,
) -> TellReceipt | None:
    """Publish within the middleware; see `Node.publish`."""

    def publish(event: Any) -> TellReceipt | None:
        if durable:
            return outbound.store_event(topic, event, delay=delay, codec=codec, foreign=foreign)
        outbound.publish_live(topic, event, codec, foreign)
        return None

    options = MappingProxyType({"durable": durable, "delay": delay})
    context = SendContext("publish", topic, options)
    published: TellReceipt | None = send_through(outbound.send_middleware, context, publish, event)
    return published


# The refs that a program gets -------------------------------------------------


def service_ref(
    outbound: Outbound, address: str, *, codec: str | None = None, foreign: Form | None = None
) -> ServiceRef[Any]:
    """Return the ref of an address, within the middleware that there are."""
    kind = _ServiceWithin if outbound.send_middleware else ServiceRef
    return kind(outbound, address, codec=codec, foreign=foreign)


def entity_ref(
    outbound: Outbound,
    address: str,
    key: str,
    *,
    shards: int | None = None,
    codec: str | None = None,
) -> EntityRef:
    """Return the ref of an entity, within the middleware that there are."""
    kind = _EntityWithin if outbound.send_middleware else EntityRef
    return kind(outbound, address, key, shards=shards, codec=codec)


def peer_ref(outbound: Outbound, node_id: str, actor_urn: str) -> PeerRef:
    """Return the ref of an actor on another node, within the middleware that there are."""
    kind = _PeerWithin if outbound.send_middleware else PeerRef
    return kind(outbound, node_id, actor_urn)
