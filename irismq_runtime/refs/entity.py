"""`EntityRef`: one entity of an address, by its key, wherever it lives.

    cart = node.entity("shop.cart", "ada")
    await cart.ask(Add("tea"))

The verbs and the guarantees are those of a `ServiceRef`. What is different on the wire: a
message goes to the address of the shard that the key belongs to, and names the key. It knows
how many shards there are by the entities of its own node, else by what it was told, else
it takes the usual number; a shard that is asked for a key of another one says so.
A ref is a value: equal by address and key, cheap to make, safe in every thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from actors.rules import need
from irismq_runtime.errors import ConfigError, NoSuchService
from irismq_runtime.messaging import (
    DEFAULT_SHARDS,
    ENTITY_ADDRESS,
    ENTITY_KEY,
    MAILBOX_CHANNEL,
    SHARDS,
    entity_name,
    shard_address,
    shard_of,
)
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.refs.proxy import RemoteProxy
from irismq_runtime.refs.service import ask_id_of
from irismq_runtime.refs.together import tell_many
from irismq_runtime.wire import Kind
from irismq_runtime.wire.headers import ASK_ID, ENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors import Future
    from actors.request import Plain, RequestOf
    from irismq_runtime.refs.outbound import Outbound
    from irismq_runtime.refs.receipt import TellReceipt

__all__ = ["EntityRef"]

#: Seconds after which it is looked again who has a shard that nobody had.
_LOOK_AGAIN: Final = 0.1
R = TypeVar("R")
T = TypeVar("T")


class EntityRef:
    """The entity `key` of `address`. Made by `Node.entity`. Any thread.

    Attributes:
        address: The address of its class.
        key: Which one it is.
        codec: How bodies are written; None is msgpack.
        shards: Into how many shards the keys of its address are divided.
    """

    __slots__ = ("_outbound", "_shard", "_topic", "address", "codec", "key", "shards")

    def __init__(
        self,
        outbound: Outbound,
        address: str,
        key: str,
        *,
        shards: int | None = None,
        codec: str | None = None,
    ) -> None:
        need(ENTITY_ADDRESS, "address", address)
        need(ENTITY_KEY, "key", key)
        self.shards = _number_of_shards(outbound, address, shards)
        number = shard_of(key, self.shards)
        self._outbound = outbound
        self._shard = shard_address(address, number)
        self._topic = outbound.topic_of(self._shard)
        self.address = address
        self.key = key
        self.codec = codec

    def __repr__(self) -> str:
        return f"<EntityRef {self}>"

    def __str__(self) -> str:
        return entity_name(self.address, self.key)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, EntityRef) and other.key == self.key and other.address == self.address
        )

    def __hash__(self) -> int:
        return hash((EntityRef, self.address, self.key))

    # A receipt may be left alone: `| Any` keeps mypy's unused-awaitable quiet about it.
    def tell(
        self, message: object, *, delay: float = 0.0, expires: float | None = None
    ) -> TellReceipt | Any:
        """Store `message` for the entity and return at once, as `ServiceRef.tell`. Any thread.

        It changes the entity's state once, however often it is delivered.

        Args:
            message: Any message.
            delay: Seconds from now before which it is not handled.
            expires: Seconds from now after which it is not handled; None is never.

        Returns:
            A receipt, as of `ServiceRef.tell`.

        Raises:
            EncodeError, MessageTooLarge, Overloaded, NodeStopped: As `ServiceRef.tell`.
        """
        return self._outbound.store(
            self._shard,
            self._topic,
            Kind.TELL,
            message,
            delay=delay,
            expires=expires,
            codec=self.codec,
            channel=MAILBOX_CHANNEL,
            key=self.key,
        )

    def tell_many(self, messages: Iterable[object]) -> list[TellReceipt]:
        """Store each message; they leave together, all or none. Any thread.

        Args:
            messages: Any number of them.

        Returns:
            A receipt for each, in their order.

        Raises:
            EncodeError, MessageTooLarge, Overloaded, NodeStopped: As `ServiceRef.tell_many`.
        """
        return tell_many(
            self._outbound, self._shard, self._topic, messages, codec=self.codec, key=self.key
        )

    @overload
    def ask(
        self,
        message: RequestOf[Any, R],
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
        id: str | None = None,
    ) -> Future[R]: ...

    @overload
    def ask(
        self,
        message: RequestOf[Any, R],
        *,
        timeout: float | None = None,
        block: Literal[True],
        id: str | None = None,
    ) -> R: ...

    @overload
    def ask(
        self,
        message: Plain,
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
        id: str | None = None,
    ) -> Future[Any]: ...

    @overload
    def ask(
        self,
        message: Any,
        *,
        timeout: float | None = None,
        block: bool,
        id: str | None = None,
    ) -> Any: ...

    def ask(
        self,
        message: Any,
        *,
        timeout: float | None = None,
        block: bool = False,
        id: str | None = None,  # noqa: A002  # the word of the field
    ) -> Any:
        """Ask the entity, at most once; while its shard moves the ask waits. Any thread.

        Args:
            message: Any message.
            timeout: Seconds, as of `ServiceRef.ask`.
            block: Wait for the answer; from a thread without a loop only.
            id: As of `ServiceRef.ask`: asked again under it, the first answer comes.

        Returns:
            A future of the answer, or the answer with `block`. It raises as that of
            `ServiceRef.ask`; `NoSuchService` where no node has entities of this address.

        Raises:
            AskCycle, AskTimeout, EncodeError, BlockingCall, NodeStopped: As `ServiceRef.ask`.
        """
        outbound, shard, name = self._outbound, self._shard, str(self)
        headers, timeout = outbound.asking(name, message, timeout)
        headers[ENTITY] = self.key
        if id is not None:
            headers[ASK_ID] = ask_id_of(id)
        ask_id, data, kind, sending = outbound.pack_ask(
            name, message, headers, codec=self.codec, cluster=shard
        )
        ask: _EntityAsk[Any] = _EntityAsk(outbound, name, shard, ask_id, kind, timeout)
        ask.metered, ask.sending = self.address, sending
        confirmed = outbound.directory.is_confirmed(shard)
        if not outbound.call(ask.send if confirmed else ask.send_once_known, data):
            raise outbound.loop_closed()
        return ask.get() if block else ask

    @overload
    def proxy(self) -> RemoteProxy: ...

    @overload
    def proxy(self, interface: type[T]) -> T: ...

    def proxy(self, interface: type[Any] | None = None) -> Any:
        """Return an object whose methods ask the entity; see `ServiceRef.proxy`."""
        return RemoteProxy(self.ask, interface)

    def __copy__(self) -> EntityRef:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> EntityRef:
        return self


class _EntityAsk(RemoteAsk[T]):
    """An ask of a shard, which may have nobody for a moment although its entities are served."""

    __slots__ = ("metered",)

    #: The address of the entities: keys are not told apart in numbers.
    metered: str

    @property
    def served(self) -> str:
        """See `RemoteAsk.served`."""
        return self._cluster

    def _absent(self) -> BaseException | None:
        directory = self._outbound.directory
        if directory.nobody_serves(self._cluster) and directory.nobody_serves(self.metered):
            return NoSuchService(self.target)
        return None

    def _ask_another(self) -> None:
        outbound = self._outbound
        left = self._deadline - outbound.clock.monotonic()
        moves = outbound.directory.nobody_serves(self._cluster) and self._absent() is None
        if moves and not self._done and left > _LOOK_AGAIN:
            outbound.clock.call_later(_LOOK_AGAIN, self._send_once_heard)
        else:
            super()._ask_another()

    def _ask_untried(self, unread: Any) -> None:
        """There is no other member of a shard."""
        self._fail(unread.error)


def _number_of_shards(outbound: Outbound, address: str, given: int | None) -> int:
    known = outbound.shards.get(address)
    if given is None:
        return DEFAULT_SHARDS if known is None else known
    need(SHARDS, "shards", given)
    if known is not None and known != given:
        problem = f"{given} were given, and the entities of {address!r} have {known}"
        raise ConfigError("shards", problem, "leave it out where they run")
    return given
