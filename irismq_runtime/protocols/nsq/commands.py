"""Commands: what a client sends. The client encodes them with these functions.

A command is a line of words, for some followed by int32 length and body. Every
argument is checked before a byte is made, also under `python -O`: a name that
nsqd would refuse, an empty body (which nsqd refuses, and which pynsq's encoder
would send without its length, so that the stream means something else from
there on), a number out of range. Cold commands come from pynsq's encoders;
those of the hot path, and CLS, are made here. MPUB is linear in its batch.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from nsq import protocol as pynsq

from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.protocols.nsq.names import channel_name, topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "MAGIC",
    "MESSAGE_ID_LENGTH",
    "auth",
    "cls",
    "dpub",
    "fin",
    "identify",
    "mpub",
    "mpub_size",
    "nop",
    "pub",
    "rdy",
    "req",
    "sub",
    "touch",
]

#: The first four bytes of a connection.
MAGIC: Final[bytes] = pynsq.MAGIC_V2
MESSAGE_ID_LENGTH: Final = 16

_LENGTH = struct.Struct(">I")
# pynsq has no types.
_pynsq_nop: Callable[[], bytes] = pynsq.nop
_pynsq_identify: Callable[[dict[str, Any]], bytes] = pynsq.identify
_pynsq_auth: Callable[[bytes], bytes] = pynsq.auth
_pynsq_subscribe: Callable[[str, str], bytes] = pynsq.subscribe

_NOP: Final = _pynsq_nop()
_CLS: Final = b"CLS\n"
_INT32_MAX = 2**31 - 1


def identify(fields: Mapping[str, Any]) -> bytes:
    """IDENTIFY with `fields` as JSON; answered with JSON or OK."""
    return _pynsq_identify(dict(fields))


def auth(secret: str | bytes) -> bytes:
    """AUTH; answered with JSON, or refused with an E_AUTH_* or E_UNAUTHORIZED."""
    raw = secret.encode() if isinstance(secret, str) else _body(secret)
    if not raw:
        raise NsqProtocolError("AUTH secret is empty", code="E_BAD_BODY")
    return _pynsq_auth(raw)


def sub(topic: str | bytes, channel: str | bytes) -> bytes:
    """SUB; answered with OK. Raises `InvalidName`."""
    return _pynsq_subscribe(topic_name(topic).decode(), channel_name(channel).decode())


def rdy(count: int) -> bytes:
    """RDY: at most `count` messages in flight to this connection from now on."""
    if count < 0:
        raise NsqProtocolError(f"RDY count {count} is negative")
    return b"RDY %d\n" % count


def fin(message_id: bytes) -> bytes:
    """FIN: the message is done. Not answered when right."""
    if len(message_id) != MESSAGE_ID_LENGTH:
        raise _bad_id(message_id)
    return b"FIN " + message_id + b"\n"


def req(message_id: bytes, delay_ms: int = 0) -> bytes:
    """REQ: give the message again, not before `delay_ms`. Not answered when right.

    nsqd clamps a delay beyond its max-req-timeout (1 h) without a word.
    """
    if len(message_id) != MESSAGE_ID_LENGTH:
        raise _bad_id(message_id)
    if delay_ms < 0:
        raise NsqProtocolError(f"REQ delay of {delay_ms} ms is negative")
    return b"REQ " + message_id + b" %d\n" % delay_ms


def touch(message_id: bytes) -> bytes:
    """TOUCH: restart the message's timeout. Not answered when right."""
    if len(message_id) != MESSAGE_ID_LENGTH:
        raise _bad_id(message_id)
    return b"TOUCH " + message_id + b"\n"


def pub(topic: str | bytes, body: bytes) -> bytes:
    """PUB; answered with OK. Raises `InvalidName`, `TypeError`."""
    raw = body if type(body) is bytes else _body(body)
    if not raw:
        raise _empty("PUB")
    return b"PUB " + topic_name(topic) + b"\n" + _LENGTH.pack(len(raw)) + raw


def dpub(topic: str | bytes, delay_ms: int, body: bytes) -> bytes:
    """DPUB; answered with OK. The server refuses what exceeds its max-req-timeout."""
    raw = body if type(body) is bytes else _body(body)
    if not raw:
        raise _empty("DPUB")
    if delay_ms < 0:
        raise NsqProtocolError(f"DPUB delay of {delay_ms} ms is negative")
    head = b"DPUB " + topic_name(topic) + b" %d\n" % delay_ms
    return head + _LENGTH.pack(len(raw)) + raw


def mpub(topic: str | bytes, bodies: Sequence[bytes]) -> bytes:
    """MPUB: all of `bodies` or none; one OK answers. Linear in the batch."""
    if not bodies:
        raise NsqProtocolError("MPUB of no messages", code="E_BAD_BODY")
    if set(map(type, bodies)) != {bytes}:
        bodies = [_body(body) for body in bodies]
    lengths = list(map(len, bodies))
    if not all(lengths):
        raise _empty(f"MPUB, message {lengths.index(0)}:")
    count = len(bodies)
    total = sum(lengths) + 4 * count + 4
    if total > _INT32_MAX:
        raise NsqProtocolError(f"MPUB of {total} bytes does not fit its length field")
    parts: list[bytes] = [b""] * (2 * count + 1)
    parts[0] = b"MPUB %b\n%b%b" % (topic_name(topic), _LENGTH.pack(total), _LENGTH.pack(count))
    parts[1::2] = map(_LENGTH.pack, lengths)
    parts[2::2] = bodies
    return b"".join(parts)


def mpub_size(bodies: Sequence[bytes]) -> int:
    """Bytes that count against nsqd's max-body-size for this batch."""
    return sum(map(len, bodies)) + 4 * len(bodies) + 4


def cls() -> bytes:
    """CLS: no more messages, please; answered with CLOSE_WAIT."""
    return _CLS


def nop() -> bytes:
    """NOP: the least answer to a heartbeat."""
    return _NOP


def _body(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a body is bytes, bytearray or memoryview, not {type(value).__name__}")


def _empty(command: str) -> NsqProtocolError:
    return NsqProtocolError(f"{command} body is empty, nsqd refuses that", code="E_BAD_MESSAGE")


def _bad_id(message_id: bytes) -> NsqProtocolError:
    return NsqProtocolError(
        f"message id {message_id!r} has {len(message_id)} bytes, {MESSAGE_ID_LENGTH} are needed"
    )
