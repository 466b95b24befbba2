"""`connect`: a node for programs without a loop. Every verb waits in its thread.

    with connect(nsqd="10.0.0.5:4150", iris="10.0.0.6:55555") as node:
        node.ref("shop.stock").tell(Reserve("tea"))      # back when it is stored
        node.ref("shop.stock").ask(Count("tea"))         # the answer

For scripts, Django, Flask and whatever else has threads: any number of them may use one
connection and its refs at the same time. It runs an ordinary `Node` on a loop of its own
thread, and adds no rule to what that promises. Made by a module it does nothing; `open`
connects, once in each process, so that a server that forks its workers opens it in each.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Self, TypeVar, overload

from actors.background import BackgroundLoop
from actors.type_variables import M_contra
from irismq_runtime.errors import NodeStopped
from irismq_runtime.loop import new_event_loop
from irismq_runtime.node import Node
from irismq_runtime.refs.proxy import RemoteProxy
from irismq_runtime.wire.headers import SENDERS_REPEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from types import TracebackType

    from actors.request import Plain, RequestOf
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.refs import EntityRef, Gathered, MemberInfo, ServiceRef, TellReceipt

__all__ = ["BlockingEntity", "BlockingRef", "Connection", "connect"]

#: What stands for the name of a node that is not there.
_NOT_OPEN: Final = "of a connection that is not open in this process (enter it, or open() it)"
R = TypeVar("R")
T = TypeVar("T")


def connect(**options: Any) -> Connection:
    """Return a connection, not open yet: enter it with `with`, or call its `open`.

    Args:
        **options: As of `Node.from_env`: those of a `Node`, which go before the variables of
            the environment. A process that serves nothing is told by `name` alone.

    Raises:
        ConfigError: An option or a variable has no meaning.
    """
    Node.from_env(**options)  # what has no meaning is said here
    return Connection(lambda: Node.from_env(**options))


class Connection:
    """A node on a thread of its own. Any thread; made by `connect`, or of a function.

    Args:
        make: Makes the node, which nobody has entered: `Node.embedded` for one.
    """

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make
        #: One for each process: that of the parent may be held for ever by a thread that a
        #: fork has left there.
        self._locks: dict[int, threading.Lock] = {}
        self._process = 0
        self._loop: BackgroundLoop | None = None
        self._node: Node | None = None

    def open(self) -> Self:
        """Connect, unless that is done in this process; closed again at the end of it.

        Returns:
            The connection.

        Raises:
            NotConnected: A server did not answer within `connect_timeout`.
        """
        process = os.getpid()
        with self._locks.setdefault(process, threading.Lock()):
            if self._process != process:  # its thread and its sockets stayed in the parent
                self._process, self._loop, self._node = process, None, None
            if self._node is None:
                self._open()
        return self

    def _open(self) -> None:
        loop = BackgroundLoop("irismq", new_event_loop)
        loop.start()
        try:
            self._node = loop.run(self._entered())
        except BaseException:
            loop.stop()
            raise
        self._loop = loop
        atexit.register(self.close)

    async def _entered(self) -> Node:
        return await self._make().__aenter__()

    def close(self) -> None:
        """End in order, what is under way first. Idempotent."""
        process = os.getpid()
        if self._process != process:
            return
        with self._locks[process]:
            node, loop, self._node, self._loop = self._node, self._loop, None, None
        if node is None or loop is None:
            return
        atexit.unregister(self.close)
        try:
            loop.run(node.stop())
        finally:
            loop.stop()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def node(self) -> Node:
        """The node itself. Of it refs alone may be used from other threads.

        Raises:
            NodeStopped: It is not open in this process.
        """
        node = self._node if self._process == os.getpid() else None
        if node is None:
            raise NodeStopped(_NOT_OPEN)
        return node

    def ref(
        self, address: str, *, codec: str | None = None, foreign: Form | None = None
    ) -> BlockingRef[Any]:
        """Return the ref of an address, whose verbs wait.

        Args:
            address: Any text that is not empty, e.g. "shop.inventory".
            codec: The codec of messages that are sent through it; the default one if None.
            foreign: "json" or "raw" for a service that knows nothing of irismq.

        Raises:
            ConfigError: The address is empty.
            NodeStopped: It is not open in this process.
        """
        return BlockingRef(self, self.node.ref(address, codec=codec, foreign=foreign))

    def entity(
        self, address: str, key: str, *, shards: int | None = None, codec: str | None = None
    ) -> BlockingEntity:
        """Return the ref of one entity, whose verbs wait.

        Args:
            address: That of the class of entities.
            key: Which one; see `Node.entity`.
            shards: As of `Node.entity`.
            codec: As of `ref`.

        Raises:
            ConfigError, ValueError: As of `Node.entity`.
            NodeStopped: It is not open in this process.
        """
        return BlockingEntity(self.node.entity(address, key, shards=shards, codec=codec))

    def singleton(self, address: str, *, codec: str | None = None) -> BlockingEntity:
        """Return the ref of the one actor of a class derived from `Singleton`.

        Args:
            address: That of the class.
            codec: As of `ref`.

        Raises:
            ValueError: An address that cannot be one.
            NodeStopped: It is not open in this process.
        """
        return BlockingEntity(self.node.singleton(address, codec=codec))

    def publish(self, topic: str, event: object, *, durable: bool = True, **options: Any) -> None:
        """Publish an event; back when a durable one is stored. See `Node.publish`.

        Args:
            topic: The topic.
            event: Any message.
            durable: Kept for those who subscribe, or for who listens now.
            **options: As of `Node.publish`.

        Raises:
            DeliveryError: No broker confirmed it in time.
            NodeStopped: It is not open in this process.
        """
        receipt = self.call(self.node.publish, topic, event, durable=durable, **options)
        if receipt is not None:
            receipt.wait()

    def result(self, id: bytes, *, timeout: float | None = None) -> Any:  # noqa: A002  # the word of the field
        """Return what came of a stored message, once it is known. See `Node.result`.

        Args:
            id: That of its receipt, in whatever process it was told.
            timeout: Seconds until it has to be there; None is the node's `ask_timeout`.
        """
        return self.node.result(id, timeout=timeout).get()

    def members(self, address: str) -> list[MemberInfo]:
        """Return a `MemberInfo` for each live member of an address, once nodes are known."""
        node = self.node

        async def known() -> list[MemberInfo]:
            await node.settled()
            return list(node.members(address))

        found: list[MemberInfo] = self.run(known())
        return found

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call something of the node on its loop, and wait for what it gives."""

        async def called() -> T:
            return function(*args, **kwargs)

        result: T = self.run(called())
        return result

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the loop of the node, and wait for its result."""
        loop = self._loop if self._process == os.getpid() else None
        if loop is None:
            coroutine.close()
            raise NodeStopped(_NOT_OPEN)
        return loop.run(coroutine)


class _WaitingVerbs(Generic[M_contra]):
    """The verbs of both kinds of refs that are alike. Any thread."""

    __slots__ = ("_ref", "address")

    def __init__(self, ref: ServiceRef[Any] | EntityRef) -> None:
        self._ref: Any = ref
        self.address = ref.address

    def tell_many(self, messages: Iterable[M_contra]) -> list[TellReceipt]:
        """Store each message, all of them or none; back when the broker has them.

        Args:
            messages: Any number of them.
        """
        receipts: list[TellReceipt] = self._ref.tell_many(messages)
        for receipt in receipts:
            receipt.wait()
        return receipts

    @overload
    def ask(
        self,
        message: RequestOf[M_contra, R],
        *,
        timeout: float | None = None,
        id: str | None = None,
    ) -> R: ...

    @overload
    def ask(
        self: _WaitingVerbs[object],
        message: Plain,
        *,
        timeout: float | None = None,
        id: str | None = None,
    ) -> Any: ...

    def ask(
        self,
        message: Any,
        *,
        timeout: float | None = None,
        id: str | None = None,  # noqa: A002  # the word of the field
    ) -> Any:
        """Ask one live member, and return its answer.

        Args:
            message: Any message.
            timeout: Seconds until the answer has to be there; None is the node's `ask_timeout`.
            id: As of the same verb that does not wait.
        """
        block: Literal[True] = True
        return self._ref.ask(message, timeout=timeout, block=block, id=id)

    def proxy(self) -> Any:
        """Return an object whose methods ask one live member: `proxy.method(1)` is the answer."""
        return RemoteProxy(self.ask)


class BlockingRef(_WaitingVerbs[M_contra]):
    """An address, as `ServiceRef`, whose verbs wait in the thread of their caller. Any thread.

    Each raises what the same verb of `ServiceRef` does, or its future or receipt, and
    `BlockingCall` on a thread that runs a loop.

    Attributes:
        address: The name of the service.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, ref: ServiceRef[Any]) -> None:
        super().__init__(ref)
        self._connection = connection

    def __repr__(self) -> str:
        return f"<BlockingRef {self.address}>"

    def tell(
        self,
        message: M_contra,
        *,
        delay: float = 0.0,
        expires: float | None = None,
        id: str | None = None,  # noqa: A002  # the word of `ask`
        within: float = SENDERS_REPEAT,
    ) -> TellReceipt:
        """Store a message in the mailbox of the address; back when the broker has it.

        Args:
            message: Any message.
            delay: Seconds from now before which it is not handled.
            expires: Seconds from now after which it is not handled; None is never.
            id: As of `ServiceRef.tell`, and
            within: likewise.

        Returns:
            Its receipt, which is done.
        """
        receipt: TellReceipt = self._ref.tell(
            message, delay=delay, expires=expires, id=id, within=within
        )
        receipt.wait()
        return receipt

    def tell_all(self, message: M_contra) -> None:
        """Send to every live member, best effort.

        Args:
            message: Any message.
        """
        self._ref.tell_all(message)

    def ask_all(self, message: Any, *, timeout: float | None = None) -> Gathered[Any]:
        """Ask every live member; what they answered, and who did not.

        Args:
            message: Any message.
            timeout: Seconds, as of `ask`.
        """
        gathered: Gathered[Any] = self._ref.ask_all(message, timeout=timeout).get()
        return gathered

    def stream(self, message: Any, *, timeout: float = 5.0) -> Iterator[Any]:
        """Ask one member whose handler is a generator: `for item in ref.stream(...)`.

        Args:
            message: Any message.
            timeout: Seconds in which a member has to accept.

        Returns:
            What yields what the handler yields; closing it ends the handler.
        """
        return self._items(self._connection.call(self._ref.stream, message, timeout=timeout))

    def _items(self, stream: Any) -> Generator[Any, None, None]:
        run = self._connection.run
        try:
            while True:
                try:
                    item = run(_next(stream))
                except _StreamEnded:
                    return
                yield item
        finally:
            run(_closed(stream))


class BlockingEntity(_WaitingVerbs[object]):
    """One entity, as `EntityRef`, whose verbs wait in the thread of their caller. Any thread.

    Each raises what the same verb of `EntityRef` does, or its future or receipt, and
    `BlockingCall` on a thread that runs a loop.

    Attributes:
        address: The address of its class.
        key: Which one it is.
    """

    __slots__ = ("key",)

    def __init__(self, ref: EntityRef) -> None:
        super().__init__(ref)
        self.key = ref.key

    def __repr__(self) -> str:
        return f"<BlockingEntity {self._ref}>"

    def tell(
        self, message: object, *, delay: float = 0.0, expires: float | None = None
    ) -> TellReceipt:
        """Store a message for the entity; back when the broker has it.

        Args:
            message: Any message.
            delay: Seconds from now before which it is not handled.
            expires: Seconds from now after which it is not handled; None is never.

        Returns:
            Its receipt, which is done.
        """
        receipt: TellReceipt = self._ref.tell(message, delay=delay, expires=expires)
        receipt.wait()
        return receipt


class _StreamEnded(Exception):
    """A stream has no next item: what `StopAsyncIteration` says, which no future may raise."""


async def _closed(stream: Any) -> None:
    await stream.aclose()


async def _next(stream: Any) -> Any:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        raise _StreamEnded from None
