"""`PeerRef`: the ref of one actor on another node, reached through that node alone.

Made when an `ActorRef` crosses the wire. Iris cannot address a single member, so
each node is the only member of a private cluster, and what goes there names its
target in the header "to". Nothing is stored: a tell is accepted or refused by
the living actor, at most once. When presence knows that the node is gone the
answer is `ActorDeadError` at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from actors import Exit, Receipt
from actors.errors import ActorDeadError
from actors.rules import check_seconds
from irismq_runtime.messaging import NODE_TARGET, peer_name, private_cluster
from irismq_runtime.refs.asking import RemoteAsk
from irismq_runtime.refs.proxy import RemoteProxy
from irismq_runtime.refs.receipt import PeerReceipt
from irismq_runtime.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef, Future
    from actors.request import Plain, RequestOf
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["PeerRef"]

R = TypeVar("R")
T = TypeVar("T")


class PeerRef:
    """The actor `actor_urn` on the node `node_id`. A value: equal by both. Any thread.

    Attributes:
        node_id: The id of the node, which is of one run of its process.
        actor_urn: The urn of the actor there.
    """

    __slots__ = ("_outbound", "actor_urn", "node_id")

    def __init__(self, outbound: Outbound, node_id: str, actor_urn: str) -> None:
        self._outbound = outbound
        self.node_id = node_id
        self.actor_urn = actor_urn

    def __repr__(self) -> str:
        return f"<PeerRef {self}>"

    def __str__(self) -> str:
        return peer_name(self.node_id, self.actor_urn)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PeerRef)
            and other.actor_urn == self.actor_urn
            and other.node_id == self.node_id
        )

    def __hash__(self) -> int:
        return hash((PeerRef, self.node_id, self.actor_urn))

    # A receipt may be left alone: `| Any` keeps mypy's unused-awaitable quiet about it.
    def tell(self, message: object, *, timeout: float | None = None) -> Receipt | Any:
        """Send `message` to this actor, at most once; nothing is stored. Any thread.

        Args:
            message: Any message.
            timeout: Seconds in which its node has to say that the inbox has taken it; None
                is the node's `ask_timeout`.

        Returns:
            A receipt, done when the actor's inbox has taken the message. It raises
            `ActorDeadError`, `Overloaded`, `AskTimeout` (whether it was taken is not known)
            or `ConnectionLost`.

        Raises:
            EncodeError: The message cannot be written.
            NodeStopped: The node has stopped.
        """
        outbound = self._outbound
        if timeout is None:
            timeout = outbound.ask_timeout
        else:
            check_seconds("timeout", timeout)
        return PeerReceipt(self._send(Kind.TELL, message, outbound.headers(), timeout))

    @overload
    def ask(
        self,
        message: RequestOf[Any, R],
        *,
        timeout: float | None = None,
        block: Literal[False] = False,
    ) -> Future[R]: ...

    @overload
    def ask(
        self, message: RequestOf[Any, R], *, timeout: float | None = None, block: Literal[True]
    ) -> R: ...

    @overload
    def ask(
        self, message: Plain, *, timeout: float | None = None, block: Literal[False] = False
    ) -> Future[Any]: ...

    @overload
    def ask(self, message: Any, *, timeout: float | None = None, block: bool) -> Any: ...

    def ask(self, message: Any, *, timeout: float | None = None, block: bool = False) -> Any:
        """Ask this actor, as `ServiceRef.ask` does one of a service. Any thread.

        Args:
            message: Any message.
            timeout: Seconds, as of `ServiceRef.ask`.
            block: Wait for the answer; from a thread without a loop only.

        Returns:
            A future, as of `ServiceRef.ask`; it raises `ActorDeadError` when the actor, or
            its node, is gone.

        Raises:
            AskCycle, AskTimeout, EncodeError, BlockingCall, NodeStopped: As `ServiceRef.ask`.
        """
        headers, timeout = self._outbound.asking(self.actor_urn, message, timeout)
        ask = self._send(Kind.ASK, message, headers, timeout)
        return ask.get() if block else ask

    def _send(
        self, kind: Kind, message: object, headers: dict[str, object], timeout: float
    ) -> RemoteAsk[Any]:
        outbound = self._outbound
        headers["to"] = self.actor_urn
        target = str(self)
        cluster = private_cluster(self.node_id)
        sending = None
        if self.actor_urn == NODE_TARGET:  # the nodes' own talk is nobody's trace
            ask_id, data, name = outbound.packer.new(
                kind, message, headers, None, "request", cluster
            )
        else:
            ask_id, data, name, sending = outbound.pack_ask(
                target, message, headers, kind=kind, cluster=cluster
            )
        ask = _PeerAsk(outbound, target, cluster, ask_id, name, timeout)
        ask.sending = sending
        ask.node_id = self.node_id
        if not outbound.call(ask.send_once_known, data):
            raise outbound.loop_closed()
        return ask

    @overload
    def proxy(self) -> RemoteProxy: ...

    @overload
    def proxy(self, interface: type[T]) -> T: ...

    def proxy(self, interface: type[Any] | None = None) -> Any:
        """Return an object whose methods ask this actor; see `ServiceRef.proxy`."""
        return RemoteProxy(self.ask, interface)

    def add_watcher(self, watcher: ActorRef[Any]) -> None:
        """Send `Terminated` to `watcher` when the actor, or its node, is gone."""
        outbound = self._outbound
        outbound.call(outbound.watching.add, self, watcher)

    def remove_watcher(self, watcher: ActorRef[Any]) -> None:
        """Take `add_watcher` back."""
        outbound = self._outbound
        outbound.call(outbound.watching.remove, self, watcher)

    def __copy__(self) -> PeerRef:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PeerRef:
        return self


class _PeerAsk(RemoteAsk[Any]):
    __slots__ = ("node_id",)

    node_id: str
    #: Peers are not told apart in numbers: there is no end to their names.
    metered = "peer"

    def _once_known(self, callback: Callable[[], None]) -> None:
        # A node is known by its id, or not at all: nobody is looked for.
        self._outbound.directory.when_settled(callback)

    def _absent(self) -> BaseException | None:
        directory = self._outbound.directory
        if directory.trusted and not directory.knows_node(self.node_id):
            return ActorDeadError(self.target, Exit("noproc"))
        return None
