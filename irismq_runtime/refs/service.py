"""`ServiceRef`: an address. Anyone who serves it, or everyone who does.

Same verbs as `ActorRef`, with the guarantees of the transport under each:

- `tell`      kept by NSQ, at least once; the receipt is done when it is stored
- `ask`       to one live member by Iris, at most once, answered by a deadline
- `tell_all`  to every live member, best effort
- `ask_all`   to every live member; who answered and who did not
- `tunnel`, `stream`  an ordered, flow-controlled conversation with one member

A ref is a value: equal when the address is, cheap to make, safe in every thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

from actors.rules import Rule, check_seconds, need
from actors.type_variables import M_contra
from irismq_runtime.errors import NoSuchService
from irismq_runtime.messaging import MAILBOX_CHANNEL
from irismq_runtime.messaging.foreign import foreign_bytes
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.refs.foreign import ForeignAsk
from irismq_runtime.refs.gather import Gather
from irismq_runtime.refs.proxy import RemoteProxy
from irismq_runtime.refs.spans import spanning
from irismq_runtime.refs.together import tell_many
from irismq_runtime.refs.tunnels import Opening, stream
from irismq_runtime.wire import Kind
from irismq_runtime.wire.headers import ASK_ID, SENDERS_REPEAT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator

    from actors import Future
    from actors.request import Plain, RequestOf
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.refs.outbound import Outbound
    from irismq_runtime.refs.receipt import TellReceipt

__all__ = ["ServiceRef", "ask_id_of"]


_ASK, _TELL = Kind.ASK, Kind.TELL
_ASK_ID: Final = Rule(
    "a text of 1 to 200 characters without NUL",
    lambda value: isinstance(value, str) and 0 < len(value) <= 200 and "\0" not in value,
)
R = TypeVar("R")
T = TypeVar("T")


def ask_id_of(value: str) -> str:
    """Return the id that was given to an ask. Raises `ValueError` for what is none."""
    checked: str = need(_ASK_ID, "id", value)
    return checked


class ServiceRef(Generic[M_contra]):
    """The actors, anywhere, that serve `address`. Made by `Node.ref`.

    Any thread, but for tunnels and streams.

    Attributes:
        address: The name of the service.
        codec: How bodies are written; None is msgpack.
        foreign: Not None for a program that knows nothing of irismq: messages are sent as
            bare JSON ("json"), or as the bytes they are ("raw"), and presence is not asked.

    `M_contra` is for the type checker: the messages that the service takes, as in
    `greeter: ServiceRef[Greet | Count] = node.ref("greeter")`; anything unless said.
    """

    __slots__ = ("_outbound", "_topic", "address", "codec", "foreign")

    def __init__(
        self,
        outbound: Outbound,
        address: str,
        *,
        codec: str | None = None,
        foreign: Form | None = None,
    ) -> None:
        self._outbound = outbound
        self._topic = outbound.topic_of(address)
        self.address = address
        self.codec = codec
        self.foreign = foreign

    def __repr__(self) -> str:
        return f"<ServiceRef {self.address}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServiceRef) and other.address == self.address

    def __hash__(self) -> int:
        return hash((ServiceRef, self.address))

    # A receipt may be left alone: `| Any` keeps mypy's unused-awaitable quiet about it.
    def tell(
        self,
        message: M_contra,
        *,
        delay: float = 0.0,
        expires: float | None = None,
        id: str | None = None,  # noqa: A002  # the word of `ask`
        within: float = SENDERS_REPEAT,
    ) -> TellReceipt | Any:
        """Store `message` in the mailbox of the address and return at once. Any thread.

        It is delivered at least once, in no certain order.

        Args:
            message: Any message; one that the service does not take ends as a dead letter.
            delay: Seconds from now before which it is not handled, any number of them.
            expires: Seconds from now after which it is not handled; None is never.
            id: A text of 1 to 200 characters without NUL that no other message to this service
                has. Told again under it, by whomever, it is the same message: a node handles
                it once among its last `dedupe_window` ones, a durable actor once for `within`.
            within: Seconds for which it may be told again under its id, a week at most.

        Returns:
            A receipt. Await it to know that the broker has stored the message: it raises
            `DeliveryError` when that was not confirmed within the node's `publish_timeout`.

        Raises:
            EncodeError: The message cannot be written; nothing was sent, as below.
            MessageTooLarge: It is larger than what the broker takes.
            Overloaded: The outbox is full (on the loop; from a thread the receipt says so).
            NodeStopped: The node has stopped.
            ValueError: A foreign message that expires, has an id, or a delay beyond the broker's;
                an id or a time without meaning.
        """
        outbound = self._outbound
        if id is not None:
            return self._tell_once(message, id, within, delay, expires)
        if self.foreign is None:
            return outbound.store(
                self.address,
                self._topic,
                _TELL,
                message,
                delay=delay,
                expires=expires,
                codec=self.codec,
                channel=MAILBOX_CHANNEL,
            )
        if expires is not None:
            raise ValueError("a foreign message carries no time of expiry: leave `expires` out")
        return outbound.store_foreign(
            self.address, self._topic, message, self.foreign, delay, MAILBOX_CHANNEL
        )

    def _tell_once(
        self, message: M_contra, name: str, within: float, delay: float, expires: float | None
    ) -> TellReceipt:
        if self.foreign is not None:
            raise ValueError("a foreign message carries no id: leave `id` out")
        return self._outbound.store_once(
            self.address,
            self._topic,
            message,
            ask_id_of(name),
            within,
            delay=delay,
            expires=expires,
            codec=self.codec,
            channel=MAILBOX_CHANNEL,
        )

    def tell_many(self, messages: Iterable[M_contra]) -> list[TellReceipt]:
        """Store each message; they leave together, all of them or none. Any thread.

        Args:
            messages: Any number of them.

        Returns:
            A receipt for each, in their order; see `tell`.

        Raises:
            EncodeError: One cannot be written; the path begins with its index
                (`$[57].name`). Nothing was sent, as below.
            MessageTooLarge: One is larger than what the broker takes; it has the `index`.
            Overloaded: There is no room for all.
            NodeStopped: The node has stopped.
        """
        return tell_many(
            self._outbound,
            self.address,
            self._topic,
            messages,
            codec=self.codec,
            foreign=self.foreign,
        )

    @overload
    def ask(
        self,
        message: RequestOf[M_contra, R],
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
        id: str | None = None,
    ) -> Future[R]: ...

    @overload
    def ask(
        self,
        message: RequestOf[M_contra, R],
        *,
        timeout: float | None = None,
        block: Literal[True],
        id: str | None = None,
    ) -> R: ...

    @overload
    def ask(
        self: ServiceRef[object],
        message: Plain,
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
        id: str | None = None,
    ) -> Future[Any]: ...

    @overload
    def ask(
        self: ServiceRef[object],
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
        """Ask one live member, at most once. Any thread.

        Cancelling what awaits the answer cancels the handler.

        Args:
            message: Any message.
            timeout: Seconds until the answer has to be there; None is the node's
                `ask_timeout`. It is cut to what is left of the deadline of the message in
                hand.
            block: Wait for the answer; from a thread without a loop only.
            id: A text of 1 to 200 characters without NUL that no other question to this service
                has. A durable actor handles it once, and answers who asks it again for an hour
                with the first answer. It means nothing to an ordinary actor.

        Returns:
            A future of the answer, or the answer with `block`. The future raises what the
            member answered (`Refused`, `ActorCrashed`, `RemoteError`, `Restarting`,
            `Overloaded`, ...), `AskTimeout`, `ConnectionLost` (its `outcome` says whether
            the request may have run) or `NoSuchService`.

        Raises:
            AskCycle: The service waits for who asks.
            AskTimeout: The deadline of the message in hand is over.
            EncodeError: The message cannot be written; nothing was sent.
            BlockingCall: `block` on a thread that runs a loop.
            NodeStopped: The node has stopped.
        """
        outbound = self._outbound
        headers, timeout = outbound.asking(self.address, message, timeout)
        if id is not None:
            headers[ASK_ID] = ask_id_of(id)
        address = self.address
        ask: RemoteAsk[Any]
        if self.foreign is not None:
            data = foreign_bytes(message, self.foreign)
            ask = ForeignAsk(outbound, address, message, self.foreign, timeout)
            sent = outbound.call(ask.send, data)
        else:
            if outbound.tracing is None:
                ask_id, data, name = outbound.packer.new(
                    _ASK, message, headers, self.codec, "request", address
                )
                ask = RemoteAsk(outbound, address, address, ask_id, name, timeout)
            else:
                ask_id, data, name, sending = outbound.pack_ask(
                    address, message, headers, codec=self.codec
                )
                ask = RemoteAsk(outbound, address, address, ask_id, name, timeout)
                ask.sending = sending
            confirmed = outbound.directory.is_confirmed(address)
            sent = outbound.call(ask.send if confirmed else ask.send_once_known, data)
        if not sent:
            raise outbound.loop_closed()
        return ask.get() if block else ask

    def tell_all(self, message: M_contra) -> None:
        """Send to every live member, best effort. Any thread.

        Args:
            message: Any message.

        Raises:
            ConnectionLost: The relay is away; nothing was sent, as below.
            MessageTooLarge: It is larger than what the relay carries.
            EncodeError: It cannot be written.
            NodeStopped: The node has stopped.
        """
        outbound = self._outbound
        headers = outbound.headers()
        if outbound.tracing is None:
            self._broadcast(message, headers)
        else:
            with spanning(outbound.tracing.tell(headers, self.address, message, system="iris")):
                self._broadcast(message, headers)

    def _broadcast(self, message: M_contra, headers: dict[str, object]) -> None:
        outbound, address = self._outbound, self.address
        if self.foreign is None:
            _, data, _ = outbound.packer.new(
                _TELL, message, headers, self.codec, "broadcast", address
            )
        else:
            data = foreign_bytes(message, self.foreign)
        outbound.broadcast(address, data)

    @overload
    def ask_all(
        self, message: RequestOf[M_contra, R], *, timeout: float | None = None
    ) -> Gather[R]: ...

    @overload
    def ask_all(
        self: ServiceRef[object], message: Plain, *, timeout: float | None = None
    ) -> Gather[Any]: ...

    def ask_all(self, message: Any, *, timeout: float | None = None) -> Gather[Any]:
        """Ask every live member. Any thread.

        It ends when every member that presence knows of has answered, or by `timeout`.

        Args:
            message: Any message.
            timeout: Seconds, as of `ask`.

        Returns:
            A future of a `Gathered`. It raises `NoSuchService` when there is certainly
            nobody, and `ConnectionLost` when the relay is away.

        Raises:
            TypeError: The service is foreign.
            AskCycle, AskTimeout, EncodeError, NodeStopped: As `ask`.
        """
        if self.foreign is not None:
            raise TypeError(f"{self!r} is foreign: its members cannot answer an ask of everybody")
        outbound = self._outbound
        headers, timeout = outbound.asking(self.address, message, timeout)
        headers["d"] = int(timeout * 1000)  # a broadcast of Iris carries no time
        ask_id, data, _, sending = outbound.pack_ask(
            self.address, message, headers, codec=self.codec, verb="broadcast"
        )
        gather: Gather[Any] = Gather(outbound, self.address, ask_id, sending)

        def start() -> None:
            if outbound.directory.nobody_serves(self.address):
                gather.fail(NoSuchService(self.address))
            else:
                gather.start(data, timeout)

        if not outbound.call(outbound.directory.when_settled, start):
            raise outbound.loop_closed()
        return gather

    def tunnel(self, *, timeout: float = 5.0) -> Opening:
        """Open a tunnel to one live member: `async with ref.tunnel() as tunnel`.

        Loop thread only.

        Args:
            timeout: Seconds in which a member has to accept it.

        Returns:
            What is awaited, or entered, for the `Tunnel`. That raises `TunnelTimeout` when
            nobody accepts in time, `ConnectionLost`, and `Overloaded` when there is no room
            for one more.
        """
        return Opening(self._outbound, self.address, check_seconds("timeout", timeout))

    @overload
    def stream(
        self,
        message: RequestOf[M_contra, AsyncIterator[R] | Iterator[R]],
        *,
        timeout: float = 5.0,
    ) -> AsyncGenerator[R, None]: ...

    @overload
    def stream(
        self: ServiceRef[object], message: Plain, *, timeout: float = 5.0
    ) -> AsyncGenerator[Any, None]: ...

    def stream(self, message: Any, *, timeout: float = 5.0) -> AsyncGenerator[Any, None]:
        """Ask one member whose handler is an async generator: `async for item in ...`.

        The member makes the next item when there is room for it. Loop thread only.

        Args:
            message: Any message.
            timeout: Seconds in which a member has to accept; the stream may take longer.

        Returns:
            What yields what the handler yields, and ends the handler when it is closed.
            Reading it raises what the handler raised, `TunnelTimeout`, and `TunnelClosed`
            when the stream was cut short.
        """
        check_seconds("timeout", timeout)  # here: what `stream` raises comes with the first item
        return stream(self._outbound, self.address, message, timeout, self.codec)

    @overload
    def proxy(self) -> RemoteProxy: ...

    @overload
    def proxy(self, interface: type[T]) -> T: ...

    def proxy(self, interface: type[Any] | None = None) -> Any:
        """Return an object whose methods ask one live member: `await proxy.method(1)`.

        Reaches methods that are marked `@exposed`, and nothing else. `interface` is a
        class with these methods as `async def`, the actor's own for one: a type checker
        takes the proxy for one of it, and other names are an `AttributeError`.
        """
        return RemoteProxy(self.ask, interface)
