"""One decoder function a record, written from the table of packets.py at import.

The counterpart of encoders.py, for the same reason: a function that knows its
fields reads a packet without a call, a list and a look into the table for each
of them. `DECODERS[role][opcode](data, pos, end, caps)` reads the fields that
begin at `pos` and returns the record and the position behind it. It raises
`IndexError` or `ShortInput` when the input ends first, and `IrisProtocolError`
for what breaks the protocol. A length is held against its limit (`caps`, by the
number of the field) before anything is taken for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from irismq_runtime.protocols.iris.packets import PACKETS, Field, Op, Packet, Role
from irismq_runtime.protocols.iris.primitives import (
    IrisProtocolError,
    ShortInput,
    read_varint_untrusted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DECODERS", "Decode"]

Decode: TypeAlias = "Callable[[bytes, int, int, tuple[int, ...]], tuple[Packet, int]]"

#: A number into {0}: up to four bytes are read in place, longer ones by a call.
_VARINT: Final = """
{0} = data[pos]
if {0} < 128:
    pos += 1
else:
    second = data[pos + 1]
    {0} += SECOND[second]
    if second < 128:
        pos += 2
    else:
        third = data[pos + 2]
        {0} += THIRD[third]
        if third < 128:
            pos += 3
        elif data[pos + 3] < 128:
            {0} += data[pos + 3] << 21
            pos += 4
        else:
            {0}, pos = varint(data, pos)
"""
#: What the second and third byte of a number add to it, whether more follow or not. The first
#: one has its top bit set then, and was taken as it is: that is taken off here.
_SECOND: Final = tuple(((byte & 127) << 7) - 128 for byte in range(256))
_THIRD: Final = tuple((byte & 127) << 14 for byte in range(256))
#: A length within the limit of field number {1}, and the bytes behind it into {0}.
_BYTES: Final = (
    _VARINT.format("size")
    + """
stop = pos + size
if size > caps[{1}]:
    raise too_long({1}, size, caps[{1}])
if stop > end:
    raise ShortInput(stop)
{0} = {2}
pos = stop
"""
)
#: Bytes into text, in place.
_TEXT: Final = """
try:
    {0} = {0}.decode()
except UnicodeDecodeError:
    {0} = {0}.decode("utf-8", "surrogateescape")
"""
#: A bool: {0} is run when it is set, {1} when it is not.
_FLAG: Final = """
flag = data[pos]
pos += 1
if flag == 1:
{0}
elif flag:
    raise not_a_bool(flag)
else:
{1}
"""


def _lines(field: Field, names: list[str]) -> str:
    """The statements that read `field` into the variables `names`."""
    first = names[0]
    if field is Field.VARINT:
        return _VARINT.format(first)
    if field in {Field.BINARY, Field.CHUNK}:
        return _BYTES.format(first, int(field), "data[pos:stop]")
    if field in {Field.NAME, Field.TEXT}:
        return _BYTES.format(first, int(field), "data[pos:stop]") + _TEXT.format(first)
    if field is Field.RESULT:
        body, fault = names
        given = _lines(Field.BINARY, [body]) + f"\n{fault} = None"
        refused = _lines(Field.TEXT, [fault]) + f"\n{body} = None"
        return _FLAG.format(_indented(given), _indented(refused))
    inner = Field.RESULT if field is Field.TIMED_RESULT else Field.VARINT
    nothing = f"{first} = True\n{' = '.join(names[1:])} = None"
    rest = f"{first} = False\n" + _lines(inner, names[1:])
    return _FLAG.format(_indented(nothing), _indented(rest))


def _indented(lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines.splitlines() if line)


def _source(fields: tuple[Field, ...]) -> str:
    """The function that reads a record with these fields."""
    names: list[str] = []
    body = ""
    for field in fields:
        own = [f"v{len(names) + index}" for index in range(field.width)]
        names += own
        body += _lines(field, own)
    values = "".join(f"{name}, " for name in names)
    body += f"\nreturn RECORD({values}), pos"
    return "def decode(data, pos, end, caps):\n" + _indented(body)


def _compile(record: type[Packet], fields: tuple[Field, ...]) -> Decode:
    """Make the decoder of one record."""
    scope: dict[str, Any] = {
        "RECORD": record,
        "SECOND": _SECOND,
        "ShortInput": ShortInput,
        "THIRD": _THIRD,
        "not_a_bool": _not_a_bool,
        "too_long": _too_long,
        "varint": read_varint_untrusted,
    }
    exec(_source(fields), scope)  # noqa: S102  # source made above from the table alone
    decoder: Decode = scope["decode"]
    return decoder


def _refusing(sender: Role, op: int) -> Decode:
    """What stands for an opcode that `sender` never sends."""
    reason = f"unknown opcode 0x{op:02x}"
    if op < len(Op):
        reason = f"a {sender.value} never sends {Op(op).name}"

    def refuse(_data: bytes, _pos: int, _end: int, _caps: tuple[int, ...]) -> tuple[Packet, int]:
        raise IrisProtocolError(reason)

    return refuse


def _not_a_bool(flag: int) -> IrisProtocolError:
    return IrisProtocolError(f"a bool is 0 or 1, not {flag}")


def _too_long(field: int, size: int, cap: int) -> IrisProtocolError:
    kind = Field(field).name.lower()
    return IrisProtocolError(f"a {kind} of {size} bytes is over the limit of {cap}")


#: Who sends -> opcode byte -> how its fields are read.
DECODERS: Final[dict[Role, tuple[Decode, ...]]] = {
    role: tuple(
        _compile(*table[Op(op)]) if op < len(Op) and Op(op) in table else _refusing(role, op)
        for op in range(256)
    )
    for role, table in PACKETS.items()
}
