"""What relays say to each other in NATS messages: bytes in, values out. Pure.

A message is two bytes "I1", a letter, a head, and items without end mark:

    q  requests   first id (8), n (1), n relay ids (12 each) to leave out;
                  items: timeout ms (4), length (4), body
    d  direct     length (2) and name of a cluster; then a whole message of requests
    a  answers    the answering relay's id (12);
                  items: id (8), status (1), length (4), body or text
    b  broadcasts the sending relay's id (12); items: length (4), Iris packet
    o  opening    timeout ms (4), chunk limit (4)
    w  tunnel     number of the message to its end (4);
                  items: kind (1), value (8), length (4), chunk or reason

Numbers are big-endian. The requests of a message have consecutive ids. Whatever
the network brings is distrusted: the decoders raise `FrameError` and nothing else,
and take no memory beyond the message that NATS has already bounded.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from irismq_runtime.embedded.relay.nats.subjects import RELAY_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "ANSWER_OVERHEAD",
    "BROADCAST_OVERHEAD",
    "MAX_AVOID",
    "MAX_NAME",
    "REQUEST_HEAD",
    "REQUEST_OVERHEAD",
    "TUNNEL_OVERHEAD",
    "FrameError",
    "RemoteAnswer",
    "RequestBatch",
    "Status",
    "TunnelItem",
    "TunnelItemKind",
    "answer_item",
    "answers_message",
    "broadcast_item",
    "broadcasts_message",
    "decode_answers_untrusted",
    "decode_broadcasts_untrusted",
    "decode_direct_untrusted",
    "decode_opening_untrusted",
    "decode_requests_untrusted",
    "decode_tunnel_untrusted",
    "direct_message",
    "opening_message",
    "requests_message",
    "tunnel_item",
    "tunnel_message",
]

_MARK: Final = b"I1"
_REQUESTS: Final = _MARK + b"q"
_DIRECT: Final = _MARK + b"d"
_ANSWERS: Final = _MARK + b"a"
_BROADCASTS: Final = _MARK + b"b"
_OPENING: Final = _MARK + b"o"
_TUNNEL: Final = _MARK + b"w"
_BODY_AT: Final = 3

_REQUESTS_HEAD: Final = struct.Struct("!QB")
_REQUEST: Final = struct.Struct("!II")
_ANSWER: Final = struct.Struct("!QBI")
_LENGTH: Final = struct.Struct("!I")
_NAME: Final = struct.Struct("!H")
_OPENING_BODY: Final = struct.Struct("!II")
_TUNNEL_HEAD: Final = struct.Struct("!I")
_TUNNEL_ITEM: Final = struct.Struct("!BQI")

#: Relays that a request can leave out.
MAX_AVOID: Final = 32
#: The longest timeout that travels, in milliseconds.
_LONGEST_MS: Final = (1 << 32) - 1
#: The longest name of a cluster in a direct message, in bytes.
MAX_NAME: Final = 1_024
#: Bytes of a request beside its body, and of a whole message beside one body at most.
REQUEST_HEAD: Final = _REQUEST.size
REQUEST_OVERHEAD: Final = (
    2 * _BODY_AT
    + _NAME.size
    + MAX_NAME
    + _REQUESTS_HEAD.size
    + MAX_AVOID * RELAY_ID_BYTES
    + _REQUEST.size
)
ANSWER_OVERHEAD: Final = _BODY_AT + RELAY_ID_BYTES + _ANSWER.size
BROADCAST_OVERHEAD: Final = _BODY_AT + RELAY_ID_BYTES + _LENGTH.size
TUNNEL_OVERHEAD: Final = _BODY_AT + _TUNNEL_HEAD.size + _TUNNEL_ITEM.size


class FrameError(Exception):
    """A message from the network of relays that no relay of ours writes."""


class Status(IntEnum):
    """What became of a request at another relay."""

    #: The member's reply.
    REPLY = 0
    #: The member's fault.
    FAULT = 1
    #: The member was full, or about to leave, and did nothing.
    REFUSED = 2
    #: The relay has no member any more, or was to be left out; nothing was done.
    NOBODY = 3


class TunnelItemKind(IntEnum):
    """What one end of a tunnel says to the other."""

    #: The tunnel was accepted; the value is the chunk limit.
    CONFIRM = 0
    #: No member here to accept it: try another relay.
    REFUSE = 1
    #: A chunk; the value is the message's size, 0 for a continuation.
    TRANSFER = 2
    #: The value is the number of bytes that may be sent again.
    ALLOW = 3
    #: The end, with the reason.
    CLOSE = 4
    #: Nothing: the end is still there.
    KEEP = 5


class RequestBatch(NamedTuple):
    """A message of requests."""

    first: int
    avoid: Sequence[bytes]
    #: (timeout in ms, body) of each.
    items: list[tuple[int, bytes]]


class RemoteAnswer(NamedTuple):
    """One answer."""

    id: int
    status: Status
    data: bytes


class TunnelItem(NamedTuple):
    """One thing that an end of a tunnel says."""

    kind: TunnelItemKind
    value: int
    data: bytes


def requests_message(
    first: int, avoid: Sequence[bytes], items: Iterable[tuple[int, bytes]]
) -> bytes:
    """Requests with the ids `first` and following; items are (timeout in ms, body)."""
    parts = [_REQUESTS, _REQUESTS_HEAD.pack(first, len(avoid)), *avoid]
    pack = _REQUEST.pack
    for timeout_ms, body in items:
        parts += (pack(min(timeout_ms, _LONGEST_MS), len(body)), body)
    return b"".join(parts)


def decode_requests_untrusted(data: bytes) -> RequestBatch:
    """The inverse of `requests_message`."""
    try:
        _expect(data, _REQUESTS)
        first, count = _REQUESTS_HEAD.unpack_from(data, _BODY_AT)
        at = _BODY_AT + _REQUESTS_HEAD.size
        end = at + count * RELAY_ID_BYTES
        if count > MAX_AVOID or end > len(data):
            raise FrameError(f"{count} relays to leave out, in {len(data)} bytes")
        avoid = [data[pos : pos + RELAY_ID_BYTES] for pos in range(at, end, RELAY_ID_BYTES)]
        items = []
        size = len(data)
        unpack, head = _REQUEST.unpack_from, _REQUEST.size
        at = end
        while at < size:
            timeout_ms, length = unpack(data, at)
            at += head
            items.append((timeout_ms, data[at : at + length]))
            at += length
    except struct.error as error:
        raise FrameError(f"a message of requests ends too early: {error}") from error
    if at != size or first + len(items) > 1 << 64:
        raise FrameError("a message of requests is cut off, or counts too far")
    return RequestBatch(first, avoid, items)


def direct_message(cluster: bytes, requests: bytes) -> bytes:
    """Requests to a member of `cluster` at the one relay that gets this; see `MAX_NAME`."""
    return b"".join((_DIRECT, _NAME.pack(len(cluster)), cluster, requests))


def decode_direct_untrusted(data: bytes) -> tuple[bytes, bytes]:
    """The cluster, and the message of requests that is left to be decoded."""
    _expect(data, _DIRECT)
    try:
        (length,) = _NAME.unpack_from(data, _BODY_AT)
    except struct.error as error:
        raise FrameError(f"a direct message cannot be read: {error}") from error
    at = _BODY_AT + _NAME.size
    end = at + length
    if length > MAX_NAME or end > len(data):
        raise FrameError(f"a direct message has a name of {length} bytes, in {len(data)}")
    return data[at:end], data[end:]


def answer_item(call_id: int, status: Status, data: bytes) -> bytes:
    """One answer, to be put into a message."""
    return _ANSWER.pack(call_id, status, len(data)) + data


def answers_message(relay_id: bytes, items: Iterable[bytes]) -> bytes:
    """Answers of the relay `relay_id`."""
    return b"".join((_ANSWERS, relay_id, *items))


def decode_answers_untrusted(data: bytes) -> tuple[bytes, list[RemoteAnswer]]:
    """The answering relay's id, and its answers."""
    try:
        _expect(data, _ANSWERS)
        at = _BODY_AT + RELAY_ID_BYTES
        items = []
        size = len(data)
        unpack, head = _ANSWER.unpack_from, _ANSWER.size
        while at < size:
            call_id, status, length = unpack(data, at)
            at += head
            items.append(RemoteAnswer(call_id, _STATUSES[status], data[at : at + length]))
            at += length
    except (struct.error, KeyError) as error:
        raise FrameError(f"a message of answers cannot be read: {error}") from error
    if at != size:
        raise FrameError("a message of answers is cut off")
    return data[_BODY_AT : _BODY_AT + RELAY_ID_BYTES], items


def broadcast_item(packet: bytes) -> bytes:
    """One broadcast or event, to be put into a message."""
    return _LENGTH.pack(len(packet)) + packet


def broadcasts_message(relay_id: bytes, items: Iterable[bytes]) -> bytes:
    """Broadcasts or events from the relay `relay_id`."""
    return b"".join((_BROADCASTS, relay_id, *items))


def decode_broadcasts_untrusted(data: bytes) -> tuple[bytes, list[bytes]]:
    """The sending relay's id, and its packets; what those are is not looked at."""
    try:
        _expect(data, _BROADCASTS)
        at = _BODY_AT + RELAY_ID_BYTES
        items = []
        size = len(data)
        unpack, head = _LENGTH.unpack_from, _LENGTH.size
        while at < size:
            (length,) = unpack(data, at)
            at += head
            items.append(data[at : at + length])
            at += length
    except struct.error as error:
        raise FrameError(f"a message of broadcasts cannot be read: {error}") from error
    if at != size:
        raise FrameError("a message of broadcasts is cut off")
    return data[_BODY_AT : _BODY_AT + RELAY_ID_BYTES], items


def opening_message(timeout_ms: int, chunk_limit: int) -> bytes:
    """Asks for a tunnel; the reply subject names the asking end."""
    return _OPENING + _OPENING_BODY.pack(min(timeout_ms, _LONGEST_MS), chunk_limit)


def decode_opening_untrusted(data: bytes) -> tuple[int, int] | None:
    """The (timeout in ms, chunk limit) of an opening; None when it is another message."""
    if data[:_BODY_AT] != _OPENING:
        return None
    try:
        timeout_ms, chunk_limit = _OPENING_BODY.unpack(data[_BODY_AT:])
    except struct.error as error:
        raise FrameError(f"an opening cannot be read: {error}") from error
    if not chunk_limit:
        raise FrameError("an opening allows no chunk at all")
    return timeout_ms, chunk_limit


def tunnel_item(kind: TunnelItemKind, value: int, data: bytes) -> bytes:
    """One thing that an end says, to be put into a message."""
    return _TUNNEL_ITEM.pack(kind, value, len(data)) + data


def tunnel_message(number: int, items: Iterable[bytes]) -> bytes:
    """The message with this number to its end; numbers start at 0 and wrap at 32 bits."""
    return b"".join((_TUNNEL, _TUNNEL_HEAD.pack(number), *items))


def decode_tunnel_untrusted(data: bytes) -> tuple[int, list[TunnelItem]]:
    """The message's number, and what the other end says."""
    try:
        _expect(data, _TUNNEL)
        (number,) = _TUNNEL_HEAD.unpack_from(data, _BODY_AT)
        at = _BODY_AT + _TUNNEL_HEAD.size
        items = []
        size = len(data)
        while at < size:
            kind, value, length = _TUNNEL_ITEM.unpack_from(data, at)
            at += _TUNNEL_ITEM.size
            items.append(TunnelItem(_ITEM_KINDS[kind], value, data[at : at + length]))
            at += length
    except (struct.error, KeyError) as error:
        raise FrameError(f"a message of a tunnel cannot be read: {error}") from error
    if at != size:
        raise FrameError("a message of a tunnel is cut off")
    return number, items


_STATUSES: Final = {int(status): status for status in Status}
_ITEM_KINDS: Final = {int(kind): kind for kind in TunnelItemKind}


def _expect(data: bytes, mark: bytes) -> None:
    if data[:_BODY_AT] != mark:
        raise FrameError(f"a message begins with {data[:_BODY_AT]!r}, not with {mark!r}")
