"""Bytes to records and back, by walking the table of packets.py.

`encode_packet` serves both directions. `PacketDecoder` reads one direction: it
takes input cut anywhere, gives the packets that are whole, and keeps the rest.
Since no outer length exists, a cut packet is read again from its start when
more has come; the decoder notes how long the input must be for the next try to
get further, so that a large body arriving in pieces is joined only once.

A length is held against its limit before anything is kept for it. Which packet
may come when is not known here (states.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.protocols.iris.packets import PACKETS, Field, Op, Packet, Role
from irismq_runtime.protocols.iris.primitives import (
    DEFAULT_LIMITS,
    IrisProtocolError,
    Limits,
    ShortInput,
    encode_string,
    encode_varint,
    read_varint_untrusted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PacketDecoder", "encode_packet"]

_VARINT, _BINARY, _CHUNK, _NAME, _TEXT, _RESULT, _TIMED_RESULT, _TIMED_VARINT = map(int, Field)
_FALSE, _TRUE = b"\x00", b"\x01"

#: Record -> (opcode byte, fields). A record of both directions has one layout.
_LAYOUTS: Final = {
    record: (bytes((op,)), tuple(map(int, fields)))
    for table in PACKETS.values()
    for op, (record, fields) in table.items()
}


def encode_packet(packet: Packet) -> bytes:
    """The bytes of a record.

    Raises `IrisProtocolError` (ours) for a number or a text that cannot be
    written, and nothing else for records whose fields have their types.
    """
    op, fields = _LAYOUTS[type(packet)]
    values: tuple[Any, ...] = packet
    parts = [op]
    append = parts.append
    for index, field in enumerate(fields):
        value = values[index]
        if field == _VARINT:
            append(encode_varint(value))
        elif field <= _CHUNK:
            append(encode_varint(len(value)))
            append(value)
        elif field <= _TEXT:
            append(encode_string(value))
        else:
            _append_flagged(append, field, values[index:])
    return b"".join(parts)


def _append_flagged(append: Callable[[bytes], None], field: int, values: tuple[Any, ...]) -> None:
    """Write a bool and what it announces; such a field is the last of its record."""
    if field == _RESULT:
        _append_result(append, *values)
    elif values[0]:
        append(_TRUE)
    elif field == _TIMED_VARINT:
        append(_FALSE)
        append(encode_varint(values[1]))
    else:
        append(_FALSE)
        _append_result(append, *values[1:])


def _append_result(append: Callable[[bytes], None], body: Any, fault: Any) -> None:
    """Write the pair (body, fault); exactly one of them is not None."""
    if fault is None:
        append(_TRUE)
        append(encode_varint(len(body)))
        append(body)
    else:
        append(_FALSE)
        append(encode_string(fault))


class PacketDecoder:
    """Reads what `sender` sends.

    Not thread-safe. After an error the decoder is spent: the connection is over.
    """

    __slots__ = ("_caps", "_have", "_need", "_parts", "_rows", "_sender")

    def __init__(self, sender: Role, limits: Limits = DEFAULT_LIMITS) -> None:
        self._sender = sender
        table = PACKETS[sender]
        self._rows = tuple(
            (table[op][0], tuple(map(int, table[op][1]))) if op in table else None for op in Op
        )
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
        append, rows = packets.append, self._rows
        try:
            while pos < end:
                op = data[pos]
                row = rows[op] if op < len(rows) else None
                if row is None:
                    raise self._unknown(op)
                record, fields = row
                values, after = self._read_fields(data, pos + 1, fields)
                append(tuple.__new__(record, values))
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
        self, data: bytes, pos: int, fields: tuple[int, ...]
    ) -> tuple[list[object], int]:
        """The values of one record, and the position behind it."""
        values: list[object] = []
        append, caps = values.append, self._caps
        for field in fields:
            if field >= _RESULT:
                pos = self._read_flagged(data, pos, field, values)
                continue
            number = data[pos]
            if number < 128:
                pos += 1
            else:
                number, pos = read_varint_untrusted(data, pos)
            if field == _VARINT:
                append(number)
                continue
            if number > caps[field]:
                raise _too_long(field, number, caps[field])
            end = pos + number
            if end > len(data):
                raise ShortInput(end)
            if field <= _CHUNK:
                append(data[pos:end])
            else:
                append(data[pos:end].decode("utf-8", "surrogateescape"))
            pos = end
        return values, pos

    def _read_flagged(self, data: bytes, pos: int, field: int, values: list[object]) -> int:
        """Read a bool and what it announces; returns the position behind."""
        flag = data[pos]
        if flag > 1:
            raise IrisProtocolError(f"a bool is 0 or 1, not {flag}")
        pos += 1
        if field == _RESULT:
            more, pos = self._read_fields(data, pos, (_BINARY,) if flag else (_TEXT,))
            values.extend((more[0], None) if flag else (None, more[0]))
        elif field == _TIMED_VARINT:
            values.append(flag == 1)
            more, pos = self._read_fields(data, pos, () if flag else (_VARINT,))
            values.extend(more or (None,))
        elif flag:
            values.extend((True, None, None))
        else:
            values.append(False)
            pos = self._read_flagged(data, pos, _RESULT, values)
        return pos

    def _unknown(self, op: int) -> IrisProtocolError:
        if op < len(self._rows):
            return IrisProtocolError(f"a {self._sender.value} never sends {Op(op).name}")
        return IrisProtocolError(f"unknown opcode 0x{op:02x}")


def _caps_of(limits: Limits) -> tuple[int, ...]:
    """The limit of each field with a length, by its number."""
    caps = {_BINARY: limits.binary, _CHUNK: limits.chunk, _NAME: limits.name, _TEXT: limits.text}
    return tuple(caps.get(int(field), 0) for field in Field)


def _too_long(field: int, size: int, cap: int) -> IrisProtocolError:
    kind = Field(field).name.lower()
    return IrisProtocolError(f"a {kind} of {size} bytes is over the limit of {cap}")
