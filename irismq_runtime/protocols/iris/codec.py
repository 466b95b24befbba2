"""The codec of Iris packets: bytes to records, by the functions of decoders.py.

A `PacketDecoder` reads one direction: it takes input cut anywhere, gives the
packets that are whole, and keeps the rest.
Since no outer length exists, a cut packet is read again from its start when
more has come; the decoder notes how long the input must be for the next try to
get further, so that a large body arriving in pieces is joined only once.

A length is held against its limit before anything is kept for it. Which packet
may come when is not known here (states.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.protocols.iris.decoders import DECODERS
from irismq_runtime.protocols.iris.packets import Field, Role
from irismq_runtime.protocols.iris.primitives import (
    DEFAULT_LIMITS,
    IrisProtocolError,
    PacketLimits,
    ShortInput,
)

if TYPE_CHECKING:
    from irismq_runtime.protocols.iris.packets import Packet

__all__ = ["PacketDecoder"]


class PacketDecoder:
    """Reads what `sender` sends.

    Not thread-safe. After an error the decoder is spent: the connection is over.
    """

    __slots__ = ("_caps", "_decoders", "_have", "_need", "_parts")

    def __init__(self, sender: Role, limits: PacketLimits = DEFAULT_LIMITS) -> None:
        self._decoders = DECODERS[sender]
        self._caps = _caps_of(limits)
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1

    @property
    def buffered(self) -> int:
        """Bytes of an incomplete packet held now."""
        return self._have

    def decode_untrusted(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes, in order.

        Raises `IrisProtocolError` alone; its `decoded` holds the packets that
        came whole before the violation.
        """
        if self._have:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        packets: list[Packet] = []
        pos, end = 0, len(data)
        decoders, caps = self._decoders, self._caps
        try:
            while pos < end:
                packet, pos = decoders[data[pos]](data, pos + 1, end, caps)
                packets.append(packet)
        except IndexError:
            self._need = end + 1
        except ShortInput as short:
            self._need = short.need
        except IrisProtocolError as error:
            error.decoded = packets
            raise
        # `pos` is where the packet that is cut begins.
        self._have = rest = end - pos
        if rest:
            self._parts.append(data[pos:] if pos else bytes(data))
            self._need -= pos
        return packets


def _caps_of(limits: PacketLimits) -> tuple[int, ...]:
    """The limit of each field with a length, by its number."""
    caps = {
        Field.BINARY: limits.binary,
        Field.CHUNK: limits.chunk,
        Field.NAME: limits.name,
        Field.TEXT: limits.text,
    }
    return tuple(caps.get(field, 0) for field in Field)
