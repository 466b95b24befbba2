"""Bytes to records, by walking the table of packets.py.

A `PacketDecoder` reads one direction: it takes input cut anywhere, gives the
packets that are whole, and keeps the rest.
Since no outer length exists, a cut packet is read again from its start when
more has come; the decoder notes how long the input must be for the next try to
get further, so that a large body arriving in pieces is joined only once.

A length is held against its limit before anything is kept for it. Which packet
may come when is not known here (states.py).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from irismq_runtime.protocols.iris.packets import PACKETS, Field, Op, Packet, Role
from irismq_runtime.protocols.iris.primitives import (
    DEFAULT_LIMITS,
    IrisProtocolError,
    Limits,
    ShortInput,
    read_varint_untrusted,
)

__all__ = ["PacketDecoder"]

_VARINT, _BINARY, _CHUNK, _NAME, _TEXT, _RESULT, _TIMED_RESULT, _TIMED_VARINT = map(int, Field)


def _split(fields: tuple[Field, ...]) -> tuple[tuple[int, ...], int]:
    """The plain fields of a record, and the flagged one that ends it (0: none)."""
    numbers = tuple(map(int, fields))
    return (numbers[:-1], numbers[-1]) if numbers and numbers[-1] >= _RESULT else (numbers, 0)


_Row: TypeAlias = "tuple[type[Packet], tuple[int, ...], int]"


class PacketDecoder:
    """Reads what `sender` sends.

    Not thread-safe. After an error the decoder is spent: the connection is over.
    """

    __slots__ = ("_caps", "_have", "_need", "_parts", "_rows", "_sender")

    def __init__(self, sender: Role, limits: Limits = DEFAULT_LIMITS) -> None:
        self._sender = sender
        self._rows = _ROWS[sender]
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
        pos = self._read_all(data, packets)
        rest = len(data) - pos
        self._have = rest
        if rest:
            self._parts.append(data[pos:] if pos else bytes(data))
            self._need -= pos
        return packets

    def _read_all(self, data: bytes, packets: list[Packet]) -> int:
        """Read while packets are whole; returns where the cut one begins."""
        pos, end = 0, len(data)
        append, rows, read, make = packets.append, self._rows, self._read_fields, tuple.__new__
        try:
            while pos < end:
                row = rows[data[pos]]
                if row is None:
                    raise self._unknown(data[pos])
                record, fields, flagged = row
                values: list[object] = []
                after = read(data, pos + 1, fields, values)
                if flagged:
                    after = self._read_flagged(data, after, flagged, values)
                append(make(record, values))
                pos = after
        except IndexError:
            self._need = end + 1
        except ShortInput as short:
            self._need = short.need
        except IrisProtocolError as error:
            error.decoded = packets
            raise
        return pos

    def _read_fields(
        self, data: bytes, pos: int, fields: tuple[int, ...], values: list[object]
    ) -> int:
        """Add the values of plain fields; returns the position behind them."""
        append = values.append
        for field in fields:
            number = data[pos]
            if number < 128:
                pos += 1
            else:
                number, pos = read_varint_untrusted(data, pos)
            if field == _VARINT:
                append(number)
                continue
            if number > self._caps[field]:
                raise _too_long(field, number, self._caps[field])
            end = pos + number
            if end > len(data):
                raise ShortInput(end)
            append(data[pos:end] if field <= _CHUNK else _text_of(data[pos:end]))
            pos = end
        return pos

    def _read_flagged(self, data: bytes, pos: int, field: int, values: list[object]) -> int:
        """Add what a bool announces; returns the position behind it."""
        flag = data[pos]
        if flag > 1:
            raise IrisProtocolError(f"a bool is 0 or 1, not {flag}")
        pos += 1
        if field == _RESULT:
            if flag:
                pos = self._read_fields(data, pos, (_BINARY,), values)
                values.append(None)
                return pos
            values.append(None)
            return self._read_fields(data, pos, (_TEXT,), values)
        values.append(flag == 1)
        if flag:
            values.extend((None, None) if field == _TIMED_RESULT else (None,))
            return pos
        if field == _TIMED_VARINT:
            return self._read_fields(data, pos, (_VARINT,), values)
        return self._read_flagged(data, pos, _RESULT, values)

    def _unknown(self, op: int) -> IrisProtocolError:
        if op < len(Op):
            return IrisProtocolError(f"a {self._sender.value} never sends {Op(op).name}")
        return IrisProtocolError(f"unknown opcode 0x{op:02x}")


#: Direction -> opcode byte -> how its record is read; None where none is sent.
_ROWS: Final[dict[Role, tuple[_Row | None, ...]]] = {
    role: tuple(
        (table[Op(byte)][0], *_split(table[Op(byte)][1]))
        if byte < len(Op) and Op(byte) in table
        else None
        for byte in range(256)
    )
    for role, table in PACKETS.items()
}


def _text_of(data: bytes) -> str:
    """A string's bytes as text; what is no UTF-8 becomes surrogate escapes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def _caps_of(limits: Limits) -> tuple[int, ...]:
    """The limit of each field with a length, by its number."""
    caps = {_BINARY: limits.binary, _CHUNK: limits.chunk, _NAME: limits.name, _TEXT: limits.text}
    return tuple(caps.get(int(field), 0) for field in Field)


def _too_long(field: int, size: int, cap: int) -> IrisProtocolError:
    kind = Field(field).name.lower()
    return IrisProtocolError(f"a {kind} of {size} bytes is over the limit of {cap}")
