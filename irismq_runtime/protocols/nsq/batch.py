"""The body of an MPUB as the server reads it: all of it, or a refusal."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from irismq_runtime.protocols.nsq.errors import NsqProtocolError

if TYPE_CHECKING:
    from irismq_runtime.protocols.nsq.records import CommandLimits

__all__ = ["check_batch_untrusted", "decode_batch_untrusted"]

_LENGTH = struct.Struct(">i")


def decode_batch_untrusted(data: bytes, limits: CommandLimits) -> list[bytes]:
    """The messages in the body of an MPUB. Raises `NsqProtocolError` (fatal).

    All of `data` must be used up: nsqd reads on by the inner lengths whatever
    the outer one says, after which nobody knows where the next command begins.
    """
    end = len(data)
    count: int = _LENGTH.unpack_from(data)[0] if end >= 4 else 0
    if not 0 < count <= (limits.max_body_size - 4) // 5 or count > (end - 4) // 5:
        if count <= 0 or count > (limits.max_body_size - 4) // 5:
            raise NsqProtocolError(f"MPUB invalid message count {count}", code="E_BAD_BODY")
        _refuse_short_batch(data, limits, count)
    bodies: list[bytes] = []
    append, unpack, largest = bodies.append, _LENGTH.unpack_from, limits.max_msg_size
    position = 4
    for index in range(count):
        if end - position < 4:
            raise NsqProtocolError(
                f"MPUB failed to read message({index}) body size", code="E_BAD_MESSAGE"
            )
        size = unpack(data, position)[0]
        if not 0 < size <= largest:
            raise _bad_size(index, size, largest)
        position += 4
        if end - position < size:
            raise NsqProtocolError("MPUB failed to read message body", code="E_BAD_MESSAGE")
        append(data[position : position + size])
        position += size
    if position != end:
        raise NsqProtocolError(
            f"MPUB body is {end - position} bytes longer than its messages", code="E_BAD_BODY"
        )
    return bodies


def check_batch_untrusted(data: bytes, start: int, limits: CommandLimits) -> int:
    """Look at what has come of the body of an MPUB, which begins at `start`.

    Returns how many bytes of the body there must be for the next look. Raises
    `NsqProtocolError` (fatal) for what nsqd refuses before the rest has come.
    """
    available = len(data) - start
    if available < 4:
        return 4
    count: int = _LENGTH.unpack_from(data, start)[0]
    if not 0 < count <= (limits.max_body_size - 4) // 5:
        raise NsqProtocolError(f"MPUB invalid message count {count}", code="E_BAD_BODY")
    position = 4
    for index in range(count):
        if available - position < 4:
            return position + 4
        size: int = _LENGTH.unpack_from(data, start + position)[0]
        if not 0 < size <= limits.max_msg_size:
            raise _bad_size(index, size, limits.max_msg_size)
        position += 4 + size
    return position


def _refuse_short_batch(data: bytes, limits: CommandLimits, count: int) -> None:
    """Name the first bad message where there is one, as nsqd would."""
    position = 4
    for index in range(count):
        if len(data) - position < 4:
            break
        size = _LENGTH.unpack_from(data, position)[0]
        if not 0 < size <= limits.max_msg_size:
            raise _bad_size(index, size, limits.max_msg_size)
        position += 4 + size
    raise NsqProtocolError("MPUB failed to read message body", code="E_BAD_MESSAGE")


def _bad_size(index: int, size: int, largest: int) -> NsqProtocolError:
    if size <= 0:
        reason = f"MPUB invalid message({index}) body size {size}"
    else:
        reason = f"MPUB message too big {size} > {largest}"
    return NsqProtocolError(reason, code="E_BAD_MESSAGE")
