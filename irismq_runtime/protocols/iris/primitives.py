"""The five value types of the Iris relay protocol, and its one error.

Everything on the wire is a byte, a bool, a varint, a binary or a string. This
file knows how each is written, and which limits hold before memory is taken
for one. It knows nothing of packets (packets.py) or of their order (states.py).

Strings travel as UTF-8. The real relay takes names as opaque bytes, so bytes
that are no UTF-8 are kept by surrogate escapes and go out as they came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irismq_runtime.protocols.iris.packets import Packet

__all__ = [
    "DEFAULT_LIMITS",
    "GROUP",
    "MAX_VARINT",
    "ONE_BYTE",
    "SHORT",
    "IrisProtocolError",
    "PacketLimits",
    "ShortInput",
    "encode_binary",
    "encode_string",
    "encode_varint",
    "read_varint_untrusted",
]

MAX_VARINT: Final = (1 << 64) - 1
_MAX_VARINT_BYTES: Final = 10
#: The varints of one byte.
ONE_BYTE: Final = tuple(bytes((value,)) for value in range(128))
#: The varints of one and two bytes: nearly every length and timeout there is.
SHORT: Final = ONE_BYTE + tuple(
    bytes((value & 127 | 128, value >> 7)) for value in range(128, 1 << 14)
)
#: A group of seven bits that others follow.
GROUP: Final = tuple(bytes((value | 128,)) for value in range(128))


class IrisProtocolError(Exception):
    """The bytes, or the order of packets, break the protocol: the connection is over.

    Attributes:
        reason: what was wrong.
        hint: the likely mistake and what to do about it; empty when unknown.
        ours: True when this side asked for something that must not be sent;
            the connection is then still whole, and nothing was written.
        decoded: packets that came whole before the violation, in order.
    """

    def __init__(
        self, reason: str, *, hint: str = "", ours: bool = False, decoded: Sequence[Packet] = ()
    ) -> None:
        self.reason = reason
        self.hint = hint
        self.ours = ours
        self.decoded = decoded
        super().__init__(f"{reason} ({hint})" if hint else reason)


class ShortInput(Exception):
    """Not an error: the packet at hand needs the input to be `need` bytes long.

    Raised and caught inside this package; never seen by its users.
    """

    def __init__(self, need: int) -> None:
        self.need = need
        super().__init__(need)


@dataclass(frozen=True, slots=True)
class PacketLimits:
    """The longest that a peer may send, in bytes; checked before allocation.

    The real relay has no limits of its own, so these guard our memory alone.
    The same value guards both directions: what a side may send, a peer with
    equal limits can read.
    """

    #: A message, request, reply or event.
    binary: int = 64 * 1024 * 1024
    #: One piece of a tunnel message; the relay's chunk limit is 65,536.
    chunk: int = 1024 * 1024
    #: The name of a cluster or topic, a magic, a version.
    name: int = 64 * 1024
    #: A fault or a reason.
    text: int = 1024 * 1024


DEFAULT_LIMITS: Final = PacketLimits()


def encode_varint(value: int) -> bytes:
    """Base 128, least significant group first; raises `IrisProtocolError` (ours)."""
    if 0 <= value < 16384:
        return SHORT[value]
    if 0 <= value < 2097152:
        return GROUP[value & 127] + SHORT[value >> 7]
    if not 0 <= value <= MAX_VARINT:
        raise IrisProtocolError(f"varint {value} is outside 0..2**64-1", ours=True)
    return GROUP[value & 127] + encode_varint(value >> 7)


def encode_binary(value: bytes) -> bytes:
    """The length, then the bytes."""
    return encode_varint(len(value)) + value


def encode_string(value: str) -> bytes:
    """A binary holding UTF-8; raises `IrisProtocolError` (ours) on lone surrogates."""
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = _escaped(value)
    size = len(data)
    return (SHORT[size] if size < 16384 else encode_varint(size)) + data


def _escaped(value: str) -> bytes:
    """Text that came from bytes which were no UTF-8, as those bytes."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise IrisProtocolError(f"text is not encodable as UTF-8: {error}", ours=True) from error


def read_varint_untrusted(data: bytes, pos: int) -> tuple[int, int]:
    """The varint at `pos` and the position after it.

    Raises `IndexError` when the input ends first, `IrisProtocolError` when the
    number takes more than 10 bytes or 64 bits. Leading zero groups are taken.
    """
    value = shift = 0
    for _ in range(_MAX_VARINT_BYTES):
        byte = data[pos]
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value > MAX_VARINT:
                raise IrisProtocolError("varint does not fit in 64 bits")
            return value, pos
        shift += 7
    raise IrisProtocolError("varint is longer than 10 bytes")
