"""What an asker is told when its request failed: text and numbers, never objects.

Nothing of an exception is pickled or rebuilt. Its type name, its text and its
traceback text are taken with every care that an exception can make necessary
(a text of megabytes, a text that cannot be had, lone surrogates), shortened,
and sent. The asker gets one of our errors, by the kind of the fault; a crash
is a `RemoteError`, whatever the exception was, so that a `TimeoutError` raised
by a handler is never taken for the timeout of the ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from actors.errors import (
    ActorCrashed,
    ActorDeadError,
    AskCancelled,
    AskCycle,
    AskTimeout,
    Overloaded,
    Refused,
    Reject,
    Restarting,
    Unhandled,
)
from actors.exits import Exit, ExitReason
from actors.texts import full_class_name, text_of, trace_of
from irismq_runtime.errors import (
    DecodeError,
    MessageTooLarge,
    NoSuchService,
    RemoteError,
    SignatureError,
    StoreUnavailable,
    TunnelClosed,
    UnknownType,
    ValidationError,
)
from irismq_runtime.safe_text import safe
from irismq_runtime.wire.entries import refuse_twice_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FaultBody", "FaultKind", "decode_fault_untrusted", "encode_fault", "is_unread"]

#: What became of a request, in the words of the protocol document.
FaultKind: TypeAlias = Literal[
    "crashed",
    "refused",
    "expired",
    "cancelled",
    "dead",
    "restarting",
    "overloaded",
    "cycle",
    "unserved",
]

#: Bytes of text, and of traceback, that are sent.
_MAX_TEXT: Final = 4_000
_MAX_TRACEBACK: Final = 16_000
_MAX_NAME: Final = 200
_MAX_CHAIN: Final = 100


class FaultBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an envelope of kind ERROR.

    `kind` decides what the asker gets. `type`: qualified name of the exception.
    `code`: of `Refused`. `retry_after`: seconds, of "restarting". `waited`:
    seconds, of "expired". `chain`: of "cycle". `exit`, `restarts`: how an actor
    ended ("dead", "crashed"). `unread`: this member does not know what the request uses,
    and has run nothing; another may. `cut`: why a tunnel or stream was closed before its
    end ("refused", so that a reader who does not know the field has the text).
    """

    # Made by a factory so that it is always written: readers decide by it alone.
    kind: FaultKind = msgspec.field(default_factory=lambda: "crashed")
    type: str = ""
    text: str = ""
    traceback: str = ""
    message_type: str = ""
    code: str | None = None
    retry_after: float = 0.0
    waited: float = 0.0
    chain: tuple[str, ...] = ()
    exit: ExitReason | None = None
    restarts: int = 0
    unread: bool = False
    cut: str = ""

    @classmethod
    def of(
        cls,
        error: BaseException,
        *,
        crashed: bool = False,
        message_type: str = "",
        traceback: bool = True,
    ) -> FaultBody:
        """Return the fault that tells of an error. Never raises, whatever the error is.

        Args:
            error: what was raised; text and traceback are cut to what is sent.
            crashed: it left a handler, so it is a crash even if it is of a class that
                means something else when the runtime raises it.
            message_type: type name of the message that was handled.
            traceback: False keeps the traceback to this node.
        """
        kind: FaultKind = "crashed" if crashed else _kind_of(error)
        fields: dict[str, Any] = {} if crashed else _fields_of(error)
        if kind == "crashed" and traceback:
            fields["traceback"] = _shorten(safe(trace_of(error), "\n\t"), _MAX_TRACEBACK)
        if message_type:
            fields["message_type"] = _name(message_type)
        if not crashed and is_unread(error):
            fields["unread"] = True
        return cls(kind=kind, type=_type_name(error), text=_text(error), **fields)

    def to_exception(self, address: str) -> Exception:
        """What the asker of `address` gets."""
        return _EXCEPTIONS[self.kind](self, address)


def is_unread(error: BaseException | None) -> bool:
    """Whether `error` says that newer code might take the message that this one does not."""
    kind = type(error)  # as `except` sees it: its `__class__` may be anything
    return issubclass(kind, Unhandled) or (
        issubclass(kind, DecodeError) and bool(getattr(error, "unknown_here", False))
    )


_Fields: TypeAlias = "dict[str, Any]"


def _exit_fields(exit: Exit | None) -> _Fields:  # noqa: A002  # OTP's word
    if exit is None:
        return {}
    name = _name(exit.message_type or "")
    return {"exit": exit.reason, "restarts": exit.restarts, "message_type": name}


def _decode_code(error: DecodeError) -> str:
    for kind, code in (
        (ValidationError, "invalid"),
        (UnknownType, "unknown-type"),
        (SignatureError, "not-authentic"),
    ):
        if isinstance(error, kind):
            return code
    return "undecodable"


def _store_code(error: StoreUnavailable) -> str:
    """Whether it is safe to ask again."""
    return "store" if error.outcome == "not sent" else "store-unknown"


#: Kinds by exception; the first class that fits. What fits none is a crash.
_KINDS: Final[tuple[tuple[type[BaseException], FaultKind, Callable[[Any], _Fields]], ...]] = (
    (Refused, "refused", lambda e: {"code": None if e.code is None else _name(e.code)}),
    (Reject, "refused", lambda _: {"code": "rejected"}),
    (DecodeError, "refused", lambda e: {"code": _decode_code(e)}),
    (Restarting, "restarting", lambda e: {"retry_after": float(e.retry_after)}),
    (Overloaded, "overloaded", lambda _: {}),
    (ActorCrashed, "crashed", lambda e: _exit_fields(e.exit)),
    (ActorDeadError, "dead", lambda e: _exit_fields(e.exit)),
    (
        AskTimeout,
        "expired",
        lambda e: {"waited": float(e.waited), "message_type": _name(e.message_type)},
    ),
    (AskCancelled, "cancelled", lambda e: {"message_type": _name(e.message_type)}),
    (AskCycle, "cycle", lambda e: {"chain": tuple(map(_name, e.chain[:_MAX_CHAIN]))}),
    (NoSuchService, "unserved", lambda _: {}),
    (MessageTooLarge, "refused", lambda _: {"code": "too-large"}),
    (StoreUnavailable, "refused", lambda e: {"code": _store_code(e)}),
    (TunnelClosed, "refused", lambda e: {"cut": _shorten(e.reason or "closed", _MAX_TEXT)}),
)


def _kind_of(error: BaseException) -> FaultKind:
    made = type(error)  # as `except` sees it: its `__class__` may be anything
    return next((kind for known, kind, _ in _KINDS if issubclass(made, known)), "crashed")


def _fields_of(error: BaseException) -> _Fields:
    get = next((get for known, _, get in _KINDS if issubclass(type(error), known)), None)
    try:
        return {} if get is None else get(error)
    except BaseException:  # a subclass of a user that leaves the fields out, or exits in them
        return {}


def _crashed(fault: FaultBody, address: str) -> Exception:
    return RemoteError(
        fault.type,
        fault.text,
        fault.traceback,
        address=address,
        message_type=fault.message_type,
        restarts=fault.restarts,
    )


def _refused(fault: FaultBody, _address: str) -> Exception:
    return TunnelClosed(fault.cut) if fault.cut else Refused(fault.text, code=fault.code)


def _dead(fault: FaultBody, address: str) -> Exception:
    if fault.exit is None:
        return ActorDeadError(address)
    message_type = fault.message_type or None
    return ActorDeadError(
        address, Exit(fault.exit, message_type=message_type, restarts=fault.restarts)
    )


def _expired(fault: FaultBody, address: str) -> Exception:
    return AskTimeout(address, fault.message_type, fault.waited, "expired before its turn came")


_EXCEPTIONS: Final[dict[FaultKind, Callable[[FaultBody, str], Exception]]] = {
    "crashed": _crashed,
    "refused": _refused,
    "expired": _expired,
    "cancelled": lambda fault, address: AskCancelled(address, fault.message_type),
    "dead": _dead,
    "restarting": lambda fault, address: Restarting(address, fault.retry_after),
    "overloaded": lambda fault, _: Overloaded(fault.text),
    "cycle": lambda fault, address: AskCycle(address, fault.chain),
    "unserved": lambda _, address: NoSuchService(address),
}


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FaultBody).decode


def encode_fault(fault: FaultBody) -> bytes:
    """The body for `fault`: less than 64 KiB."""
    return _encode(fault)


def decode_fault_untrusted(body: bytes) -> FaultBody:
    """Return the fault in the body of an ERROR.

    Raises:
        DecodeError: it cannot be read, and nothing else is raised.
    """
    try:
        refuse_twice_untrusted(body)
        return _decode(body)
    except Exception as error:  # msgspec's errors and UnicodeDecodeError
        raise DecodeError(f"malformed fault ({error})"[:300]) from error


# Text of exceptions ----------------------------------------------------------


def _shorten(text: str, limit: int) -> str:
    """About `limit` bytes of `text` in UTF-8, its end included, fit for UTF-8."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    kept = limit // 2
    # A character that stands across a cut is left out with the rest.
    start, end = data[:kept].decode(errors="ignore"), data[-kept:].decode(errors="ignore")
    return f"{start} ... {len(data) - 2 * kept:,} bytes left out ... {end}"


def _name(value: object) -> str:
    return _shorten(text_of(value), _MAX_NAME)


def _type_name(error: BaseException) -> str:
    return _name(full_class_name(error))


def _text(error: BaseException) -> str:
    return _shorten(safe(text_of(error), "\n\t"), _MAX_TEXT)
