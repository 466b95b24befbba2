"""What can go wrong beyond one process, one class for each thing to do about it.

Every error says whose fault it is (`blame`), whether the thing it was raised by
is of no use any more (`fatal`), carries its facts as fields, and builds its
text, remedy included, in the constructor. A foreign exception is mapped to one
of these at the edge where it appears and kept as `__cause__`.

What an actor can do wrong on its own is declared in `actors.errors`, means the
same across the wire, and can be imported from here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from actors.errors import (
    ActorCrashed,
    ActorDeadError,
    AskTimeout,
    MailboxFull,
    Overloaded,
    Refused,
    Restarting,
    Unhandled,
)
from actors.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ActorCrashed",
    "ActorDeadError",
    "AskTimeout",
    "BadSignature",
    "Blame",
    "ConfigError",
    "ConnectionLost",
    "DecodeError",
    "DeliveryError",
    "EncodeError",
    "MailboxFull",
    "MessageTooLarge",
    "NoSuchService",
    "NodeStopped",
    "NotConnected",
    "NotFresh",
    "NotSigned",
    "Overloaded",
    "Refused",
    "RemoteError",
    "RemoteFault",
    "Restarting",
    "ResultExpired",
    "ResultTimeout",
    "RuntimeFault",
    "SendOutcome",
    "SignatureError",
    "StoreFault",
    "StoreUnavailable",
    "TunnelClosed",
    "TunnelTimeout",
    "Unhandled",
    "UnknownFormat",
    "UnknownKey",
    "UnknownType",
    "ValidationError",
]

#: Who has to change something: this program, the program at the other end, the
#: network and servers between them, or the person who configured the node.
Blame = Literal["caller", "peer", "network", "configuration"]

#: "not sent": nothing left this process, so trying again is safe. "unknown": it
#: may have been carried out, so only what is idempotent may be tried again.
SendOutcome = Literal["not sent", "unknown"]

_ADVICE: dict[SendOutcome, str] = {
    "not sent": "nothing left this process: it is safe to try again",
    "unknown": "it may have been carried out: try again only what is idempotent",
}

#: What keeps a store from doing what it was asked. It does not answer; it has no room;
#: it may only be read; others were in the way for too long; it lacks what it once had,
#: or is not the one it was; statements of a handler ended the transaction themselves, or
#: took too long.
StoreFault = Literal["away", "full", "read only", "conflict", "went back", "ended", "late"]

_STORE_OUTCOMES: dict[SendOutcome, str] = {
    "not sent": "nothing was written, and it is safe to try again",
    "unknown": "it may have been carried out",
}

_STORE_ADVICE: dict[StoreFault, str] = {
    "away": "see that its server runs and can be reached; it is tried again",
    "full": "give it room; until then nothing is acknowledged",
    "read only": "make it writable, or name the primary server; until then nothing is acknowledged",
    "conflict": "others were in the way: it is tried again",
    "went back": "find out what was restored or which server took over, and then say "
    "`irismq store accept`; until then nothing is acknowledged",
    "ended": "write no BEGIN, COMMIT or ROLLBACK in sql(): the runtime ends the transaction",
    "late": "do less between entering sql() and the end of the handler",
}

#: The same of a node that has stopped: trying again there is of no use.
_STATES: dict[SendOutcome, str] = {
    "not sent": "nothing was sent",
    "unknown": "what was under way may have been carried out",
}


def _rebuild(cls: type[RuntimeFault], args: tuple[object, ...]) -> RuntimeFault:
    return cls.__new__(cls, *args)


class RuntimeFault(Exception):
    """Base of every error of irismq_runtime.

    Attributes:
        blame: Who has to change something; see `Blame`.
        fatal: Whether the connection, tunnel or node that raised it is finished.

    Copies keep text and fields: `copy`, and a process pool that carries the
    error to its parent, do not call the constructor again.
    """

    blame: ClassVar[Blame] = "network"
    fatal: ClassVar[bool] = False

    def __reduce__(
        self,
    ) -> tuple[Callable[..., RuntimeFault], tuple[object, ...], dict[str, object]]:
        return (_rebuild, (type(self), self.args), self.__dict__)


class NodeStopped(RuntimeFault):
    """The node has stopped: nothing goes out of it any more, and nothing can be started.

    Attributes:
        node: Its name.
        state: What became of what was to be sent, for people.
        outcome: The same as a `SendOutcome`.
    """

    blame = "caller"
    fatal = True

    def __init__(self, node: str, outcome: SendOutcome = "not sent") -> None:
        self.node = node
        self.state = _STATES[outcome]
        super().__init__(
            f"the node {node!r} has stopped, and {self.state}; use what belongs to a node inside "
            "its `async with` block, or enter another node"
        )

    @property
    def outcome(self) -> SendOutcome:
        """Whether this may have been carried out."""
        return "not sent" if self.state == _STATES["not sent"] else "unknown"


# Sending ---------------------------------------------------------------------


class DeliveryError(RuntimeFault):
    """A durable message was not confirmed by the broker in time.

    Attributes:
        topic: Where it was told to.
        outcome: Whether it may have been stored; see `SendOutcome`.
        cause: What the broker or the connection said.
    """

    def __init__(self, topic: str, outcome: SendOutcome, cause: str | BaseException = "") -> None:
        self.topic = topic
        self.outcome: SendOutcome = outcome
        self.cause = cause
        why = f" ({cause})" if str(cause) else ""
        super().__init__(f"tell to {topic!r} was not confirmed{why}; {_ADVICE[outcome]}")


class MessageTooLarge(RuntimeFault):
    """A message exceeds a limit; it was refused before anything was written.

    Attributes:
        size: Its bytes, envelope included.
        limit: The bytes that are taken.
        limit_of: Whose limit it is (a broker's max-msg-size, the wire limits of this node).
        index: Its place among those that were sent by one call, from 0; None: it was alone.
    """

    blame = "caller"
    index: int | None = None

    def __init__(
        self,
        size: int,
        limit: int,
        *,
        limit_of: str = "the wire limits",
        index: int | None = None,
    ) -> None:
        self.size = size
        self.limit = limit
        self.limit_of = limit_of
        where = ""
        if index is not None:
            self.index = index
            where = f" at index {index}"
        super().__init__(
            f"message of {size:,} bytes{where} is over the limit of {limit:,} bytes of {limit_of}; "
            "split it, or store the data elsewhere and send where it is"
        )


class EncodeError(RuntimeFault):
    """A message holds something that cannot go on the wire; nothing was sent.

    Attributes:
        path: Leads to it inside the message (`$.lines[3].price`, `$` is the message itself).
        reason: What stands there.
    """

    blame = "caller"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot encode {path}: {reason}")


# Receiving -------------------------------------------------------------------


class DecodeError(RuntimeFault):
    """Received bytes are not what the protocol says. The message is not handled.

    Attributes:
        reason: What is wrong with them, never the bytes themselves.
        unknown_here: Whether they are in order as far as can be told, but use what this
            process does not know: a member that runs newer code may read them.
    """

    blame = "peer"
    unknown_here: ClassVar[bool] = False

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot decode message: {reason}")


class UnknownType(DecodeError):
    """The message names a type that this process has not registered.

    Attributes:
        type_name: The name in the envelope.
    """

    unknown_here = True

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        super().__init__(
            f"no message type {type_name!r} is registered here; import the module whose class "
            f'carries @message("{type_name}")'
        )


class UnknownFormat(DecodeError):
    """The message is in a form that this node does not know: the sender may be newer.

    A version, a kind of envelope, a codec or an extension type.
    """

    unknown_here = True


class ValidationError(DecodeError):
    """The message is well formed but does not fit its registered type.

    Attributes:
        type_name: The registered name; "" for plain values.
        path: Leads to the wrong part, in the form of `EncodeError.path`.
        problem: What is wrong.
    """

    unknown_here = True

    def __init__(self, path: str, problem: str, *, type_name: str = "") -> None:
        self.path = path
        self.problem = problem
        self.type_name = type_name
        what = f"{type_name!r} " if type_name else ""
        super().__init__(f"{what}does not fit its type at {path}: {problem}")


class SignatureError(DecodeError):
    """An envelope is not authenticated although this node was given keys."""


class NotFresh(SignatureError):
    """The signature is right, and not good for this: it is old, or has been used before."""


class NotSigned(SignatureError):
    """The envelope, or the foreign message, carries no signature."""

    def __init__(self) -> None:
        super().__init__("not signed, and this node has signing keys; give the sender one of them")


class UnknownKey(SignatureError):
    """The envelope is signed with a key that this node does not have.

    Attributes:
        key_id: As the sender named it.
    """

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"signed with the key {key_id!r}, which this node was not given")


class BadSignature(SignatureError):
    """The signature does not fit: another secret, or bytes changed on the way.

    Attributes:
        key_id: The key that the sender named.
    """

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"wrong signature for the key {key_id!r}")


# The other end ---------------------------------------------------------------


class NoSuchService(RuntimeFault):
    """Nobody serves an address now, as far as presence and the broker tell.

    Attributes:
        address: What was asked.
    """

    blame = "configuration"

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"nobody serves {address!r} now; start a node with an actor of this address, "
            "or tell() it: a tell waits in the mailbox"
        )


class RemoteError(RuntimeFault, ActorCrashed):
    """A handler in another process crashed; told in text, nothing is unpickled.

    As an `ActorCrashed` it has `target` (the address) and `exit`, whose error is None.

    Attributes:
        type_name: The qualified name of the exception there.
        text: Its text, shortened.
        traceback_text: The traceback there, shortened; "" when the peer keeps it to itself.
        address: Who was asked; "" when that is not known.
    """

    blame = "peer"

    def __init__(
        self,
        type_name: str,
        text: str,
        traceback_text: str = "",
        *,
        address: str = "",
        message_type: str = "",
        restarts: int = 0,
    ) -> None:
        self.type_name = type_name
        self.text = text
        self.traceback_text = traceback_text
        self.address = self.target = address
        self.exit = Exit("crash", message_type=message_type or None, restarts=restarts)
        where = f" at {address!r}" if address else ""
        remote = f"\n--- traceback there ---\n{traceback_text}" if traceback_text else ""
        Exception.__init__(self, f"{type_name}{where}: {text}{remote}")


class RemoteFault(RuntimeFault):
    """A member that does not speak our envelope answered with a fault text.

    Attributes:
        text: The fault as Iris carried it.
        cluster: Who was asked.
    """

    blame = "peer"

    def __init__(self, text: str, *, cluster: str = "") -> None:
        self.text = text
        self.cluster = cluster
        where = f" of cluster {cluster!r}" if cluster else ""
        super().__init__(f"a member{where} answered with a fault: {text}")


# Connections -----------------------------------------------------------------


class NotConnected(RuntimeFault):
    """Nobody answers at `peer`; nothing was sent.

    Attributes:
        peer: Its role and "host:port".
        reason: What the attempt ended with.
        remedy: What to do, where that is known.
    """

    def __init__(self, peer: str, reason: str = "", *, remedy: str = "") -> None:
        self.peer = peer
        self.reason = reason
        self.remedy = remedy
        why = f" ({reason})" if reason else ""
        super().__init__(f"not connected to {peer}{why}" + (f"; {remedy}" if remedy else ""))


class ConnectionLost(RuntimeFault):
    """The connection to `peer` ended while something was under way.

    Attributes:
        peer: Its role and "host:port".
        outcome: Whether it may have been carried out; see `SendOutcome`.
        reason: Why the connection ended, as far as known.
    """

    fatal = True

    def __init__(self, peer: str, outcome: SendOutcome, reason: str = "") -> None:
        self.peer = peer
        self.outcome: SendOutcome = outcome
        self.reason = reason
        why = f" ({reason})" if reason else ""
        super().__init__(f"connection to {peer} lost{why}; {_ADVICE[outcome]}")


class StoreUnavailable(RuntimeFault):
    """The store of durable state did not do what it was asked.

    Attributes:
        store: Its URL, without any password.
        kind: What kept it; see `StoreFault`.
        reason: What the store or the connection to it said.
        outcome: Whether it may have been done; see `SendOutcome`.
    """

    def __init__(
        self, store: str, kind: StoreFault, reason: str, outcome: SendOutcome = "not sent"
    ) -> None:
        self.store = store
        self.kind: StoreFault = kind
        self.reason = reason
        self.outcome: SendOutcome = outcome
        done = _STORE_OUTCOMES[outcome]
        super().__init__(f"store {store} failed ({kind}: {reason}); {done}; {_STORE_ADVICE[kind]}")


class ResultTimeout(RuntimeFault):
    """Nothing is known yet of what comes of a stored message.

    Attributes:
        id: The id of the message, in hex.
        waited: Seconds.
    """

    blame = "peer"

    def __init__(self, id: str, waited: float) -> None:  # noqa: A002  # the field's name on the wire
        self.id = id
        self.waited = waited
        super().__init__(
            f"no result of the message {id} within {waited:g} s: it waits, it is being "
            "handled, or its class keeps none (keeps_results); ask again with "
            f'node.result(bytes.fromhex("{id}"))'
        )


class ResultExpired(RuntimeFault):
    """A stored message was handled, and its result is not kept any more.

    Attributes:
        id: The id of the message, in hex.
    """

    blame = "caller"

    def __init__(self, id: str) -> None:  # noqa: A002  # as above
        self.id = id
        super().__init__(
            f"the message {id} was handled, and its result is not kept any more; look at it "
            "sooner, or let its class keep it longer (keeps_results)"
        )


class TunnelTimeout(RuntimeFault):
    """No member of a cluster accepted a tunnel in time.

    Attributes:
        cluster: Who was asked.
        waited: Seconds.
    """

    def __init__(self, cluster: str, waited: float) -> None:
        self.cluster = cluster
        self.waited = waited
        super().__init__(
            f"no member of {cluster!r} accepted a tunnel within {waited:g} s; "
            "see that one is alive and takes tunnels (on_tunnel)"
        )


class TunnelClosed(RuntimeFault):
    """The tunnel is closed: by either end, or with its connection.

    Attributes:
        reason: What cut it short; "" when it was closed in order.
    """

    fatal = True

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(f"the tunnel is closed ({reason})" if reason else "the tunnel is closed")


class ConfigError(RuntimeFault):
    """An option of the node has no meaning; found before anything was started.

    Attributes:
        option: Its name.
        problem: What is wrong.
        remedy: What to write instead; may be empty.
    """

    blame = "configuration"
    fatal = True

    def __init__(self, option: str, problem: str, remedy: str = "") -> None:
        self.option = option
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{option}: {problem}" + (f"; {remedy}" if remedy else ""))
