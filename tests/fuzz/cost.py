"""What inputs cost: every decoder that meets bytes from outside, and bytes made to be dear.

A decoder may take time in proportion to its input. So the cost of an input is compared
with that of one an eighth as large, of the same making: eight times is linear, sixty-four
times is quadratic. No time is judged by itself; what is too short to be measured counts
as `FLOOR`.
"""

from __future__ import annotations

import gc
import json
import struct
import time
from dataclasses import dataclass
from decimal import Decimal  # noqa: TC003  # msgspec reads the hints
from itertools import islice, product
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from actors import message
from irismq_runtime.embedded.nsqd.negotiation import negotiate_untrusted
from irismq_runtime.embedded.nsqd.options import NsqdOptions
from irismq_runtime.embedded.relay.nats import frames
from irismq_runtime.errors import DecodeError
from irismq_runtime.mailbox.consume.lookup import LookupFault, producers_untrusted
from irismq_runtime.node.membership.announcements import announcement_untrusted
from irismq_runtime.observer.reports import broker_stats_untrusted, node_report_untrusted
from irismq_runtime.protocols.iris import IrisProtocolError, PacketDecoder
from irismq_runtime.protocols.iris.packets import Role
from irismq_runtime.protocols.nsq import CommandDecoder, CommandLimits, FrameDecoder
from irismq_runtime.protocols.nsq.errors import NsqProtocolError
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    KeyRing,
    Kind,
    Serializer,
    decode_dead_untrusted,
    decode_envelope_untrusted,
    decode_fault_untrusted,
    decode_plain_json_untrusted,
    encode_envelope,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[bytes], object]
    Make = Callable[[int], bytes]

#: Bytes of the larger input, and how much smaller the other one is.
FULL = 192 * 1024
PART = 8
#: By how much more than in proportion the cost may grow: room for caches and noise.
ROOM = 4
#: Seconds; what takes less is not told from nothing.
FLOOR = 0.002

ID = bytes(range(16))


@message("cost.seats")
@dataclass
class Seats:
    """Fields in which a receiver makes keys of what a stranger wrote."""

    by_id: dict[UUID, int]
    pairs: set[tuple[int, ...]]
    anything: Any = None
    sets: set[frozenset[tuple[int, ...]]] | None = None
    amounts: frozenset[Decimal] | None = None


def growth(read: Read, small: bytes, large: bytes) -> float:
    """How the cost of `read` grows from the smaller input to the larger one; in proportion is 1.

    What is cheap enough is read once: whatever the smaller one costs, it grows by no more
    than what is returned.
    """
    share = len(large) / len(small)
    most = _cost(read, large, times=1) / FLOOR / share
    if most < ROOM:
        return most
    return _cost(read, large) / max(_cost(read, small), FLOOR) / share


def _cost(read: Read, data: bytes, times: int = 3) -> float:
    least = float("inf")
    gc.disable()  # when it runs depends on what all the tests before have left
    try:
        for _ in range(times):
            begin = time.thread_time()
            read(data)
            least = min(least, time.thread_time() - begin)
            if least > 100 * FLOOR:
                break  # it is not noise
    finally:
        gc.enable()
    return least


# Bytes made to be dear ----------------------------------------------------------


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def map_of(keys: Iterator[bytes], size: int) -> bytes:
    """A msgpack map of about `size` bytes with these keys."""
    body, count = bytearray(), 0
    for key in keys:
        body += key + b"\x00"
        count += 1
        if len(body) >= size:
            break
    return b"\xdf" + struct.pack(">I", count) + bytes(body)


def one_hash() -> Iterator[tuple[int, ...]]:
    """Different tuples of one hash: that of -1 is that of -2."""
    return product((-1, -2), repeat=17)


def list_keys(size: int) -> bytes:
    return map_of((packed(list(key)) for key in one_hash()), size)


def tuple_keys(size: int) -> bytes:
    mark = b"\xdc\x00\x12\xd4\x01t"
    return map_of((mark + packed(list(key))[3:] for key in one_hash()), size)


def few_tuple_keys(size: int) -> bytes:
    """Many maps, each with so many such keys that it might seem harmless."""
    mark = b"\xdc\x00\x12\xd4\x01t"
    keys = [mark + packed(list(key))[3:] for key in islice(one_hash(), 256)]
    one = b"\xde\x01\x00" + b"".join(key + b"\x00" for key in keys)
    count = max(1, size // len(one))
    return b"\xdd" + struct.pack(">I", count) + one * count


def number_keys(size: int) -> bytes:
    """Integers beyond 64 bits that share one hash."""
    texts = (format(n * (2**61 - 1) + 2**70, "x").encode() for n in range(10**9))
    return map_of((b"\xc7" + bytes([len(text), 2]) + text for text in texts), size)


def marked_set(size: int) -> bytes:
    keys = [b"\xdc\x00\x12\xd4\x01t" + packed(list(key))[3:] for key in one_hash()]
    keys = keys[: size // len(keys[0])]
    return b"\xdd" + struct.pack(">I", len(keys) + 1) + b"\xd4\x01s" + b"".join(keys)


def repeated(head: bytes, unit: bytes, tail: bytes = b"") -> Make:
    return lambda size: head + unit * (size // len(unit)) + tail


def listed(keys: Iterator[bytes], size: int) -> bytes:
    """A msgpack list of about `size` bytes of them."""
    body, count = bytearray(), 0
    for key in keys:
        body += key
        count += 1
        if len(body) >= size:
            break
    return b"\xdd" + struct.pack(">I", count) + bytes(body)


def one_uuid() -> Iterator[str]:
    """Texts of different UUIDs of one hash: that of an integer is its rest."""
    return (str(UUID(int=n * (2**61 - 1) + 7)) for n in range(1, 10**9))


VALUES: dict[str, Make] = {
    "lists of which tuples of one hash are made": lambda size: listed(
        (packed(list(key)) for key in one_hash()), size
    ),
    "lists of such lists": lambda size: listed(
        (listed((packed(list(key)) for key in one_hash()), size // 2) for _ in range(2)), size
    ),
    "texts of which UUIDs of one hash are made": lambda size: map_of(map(packed, one_uuid()), size),
    "texts of which numbers of one hash are made": lambda size: listed(
        (packed(f"1e{61 * n}") for n in range(10**9)), size
    ),
    "keys that are lists of one hash": list_keys,
    "keys that are tuples of one hash": tuple_keys,
    "many maps of such keys": few_tuple_keys,
    "keys that are numbers of one hash": number_keys,
    "a set of tuples of one hash": marked_set,
    "lists in lists": repeated(b"", b"\x91", b"\xc0"),
    "maps in maps": repeated(b"", b"\x81\xa1a", b"\xc0"),
    "lists announced": repeated(b"", b"\xdc\xff\xff"),
    "maps announced": repeated(b"", b"\xdf\x00\x0f\xff\xff"),
    "empty maps": lambda size: b"\xdd" + struct.pack(">I", size) + b"\x80" * size,
    "short texts": lambda size: b"\xdd" + struct.pack(">I", size // 2) + b"\xa1x" * (size // 2),
    "one text twice in each map": lambda size: (
        b"\xdd" + struct.pack(">I", size // 7) + b"\x82\xa1a\x01\xa1a\x02" * (size // 7)
    ),
    "marks": lambda size: b"\xdd" + struct.pack(">I", size // 4) + b"\x91\xd4\x01t" * (size // 4),
    "decimals": lambda size: b"\xc9" + struct.pack(">I", size) + b"\x08" + b"9" * size,
    "one long number": lambda size: b"\xc9" + struct.pack(">I", size) + b"\x02" + b"f" * size,
    "dates of others": lambda size: (
        b"\xdd" + struct.pack(">I", size // 6) + b"\xd6\xff\x00\x00\x00\x01" * (size // 6)
    ),
}


def _tagged_keys(size: int) -> bytes:
    pairs = [[{"$": "tuple", "v": list(key)}, 0] for key in islice(one_hash(), size // 90)]
    return json.dumps({"$": "dict", "v": pairs}, separators=(",", ":")).encode()


TEXTS: dict[str, Make] = {
    "brackets": repeated(b"", b"["),
    "braces with names": repeated(b"", b'{"a":'),
    "pairs of brackets": lambda size: b"[" + b"[]," * (size // 3) + b"0]",
    "deep pairs of brackets": lambda size: (
        b"[" + (b"[" * 100 + b"]" * 100 + b",") * (size // 201) + b"0]"
    ),
    "a text without an end": repeated(b"[" * 400 + b'"', b'\\"'),
    "texts without an end": repeated(b"[" * 400, b'"\\'),
    "quotation marks": repeated(b"[" * 400, b'"'),
    "backslashes": repeated(b"[" * 400 + b'"', b"\\"),
    "colons in a text": repeated(b'{"a":"', b":", b'"}'),
    "one name again and again": repeated(b'{"a":1', b',"a":1', b"}"),
    "escaped names": repeated(b'{"a":1', b',"\\u0061":1', b"}"),
    "digits": repeated(b"", b"1"),
    "a long fraction": repeated(b"0.", b"1"),
    "blanks": repeated(b"", b" "),
    "producers": repeated(b'{"producers":[{}', b',{"broadcast_address":"","tcp_port":1}', b"]}"),
    "tags": repeated(b"[0", b',{"$":"tuple","v":[1]}', b"]"),
    "tagged keys of one hash": _tagged_keys,
    "digits in hexadecimal": repeated(b'{"$":"int","v":"', b"f", b'"}'),
}


# Who reads them -----------------------------------------------------------------

_wire = Serializer()
_KEYS = KeyRing.of({"k1": bytes(32)})
#: All that any of the decoders below may raise.
REFUSALS = (DecodeError, LookupFault, NsqProtocolError, IrisProtocolError, frames.FrameError)


def _envelope(body: bytes, headers: bytes = b"\x80") -> bytes:
    size = struct.pack(">I", len(body))
    return b"\xc1\x01\x95\x01\xc4\x10" + ID + b"\xa0\xc6" + size + body + headers


def _as_header(value: bytes) -> bytes:
    return _envelope(b"\xc0", b"\x82\xa2zz" + value + b"\xa1q\x01")


def _loaded(type_name: str, codec: str | None) -> Read:
    return lambda data: _wire.load(type_name, data, codec)


def _announced(data: bytes) -> object:
    return announcement_untrusted(_wire.load("", data))


def _field(name: str, value: bytes) -> bytes:
    given = {"by_id": b"\x80", "pairs": b"\x90", "anything": b"\xc0", name: value}
    return bytes([0x80 + len(given)]) + b"".join(packed(key) + part for key, part in given.items())


def refusing(read: Read) -> Read:
    def tried(data: bytes) -> object:
        try:
            return read(data)
        except REFUSALS as refusal:
            return refusal

    return tried


MSGPACK: dict[str, Read] = {
    "headers": lambda value: decode_envelope_untrusted(_as_header(value)),
    "headers, with keys": lambda value: decode_envelope_untrusted(
        _as_header(value), DEFAULT_LIMITS, _KEYS
    ),
    "all headers": lambda value: decode_envelope_untrusted(_envelope(b"\xc0", value)),
    "a plain body": _loaded("", None),
    "a field of a typed body": lambda value: _wire.load("cost.seats", _field("anything", value)),
    "a set in a typed body": lambda value: _wire.load("cost.seats", _field("pairs", value)),
    "a set of sets in a typed body": lambda value: _wire.load("cost.seats", _field("sets", value)),
    "numbers in a typed body": lambda value: _wire.load("cost.seats", _field("amounts", value)),
    "a map in a typed body": lambda value: _wire.load("cost.seats", _field("by_id", value)),
    "a fault": decode_fault_untrusted,
    "a dead letter": lambda value: decode_dead_untrusted(
        encode_envelope(Envelope(Kind.DEAD, ID, "", value, {})), max_size=2**20
    ),
    "an announcement": _announced,
    "a report of a node": lambda value: node_report_untrusted(_wire.load("", value)),
}

JSON: dict[str, Read] = {
    "a plain body": lambda text: decode_plain_json_untrusted(text, DEFAULT_LIMITS),
    "a body of ours": _loaded("", "json"),
    "a typed body": _loaded("cost.seats", "json"),
    "nsqlookupd": lambda text: producers_untrusted(200, text),
    "IDENTIFY": lambda text: negotiate_untrusted(text, NsqdOptions()),
    "statistics of nsqd": lambda text: broker_stats_untrusted(
        decode_plain_json_untrusted(text, DEFAULT_LIMITS)
    ),
}


def _fed(make: Callable[[], Callable[[bytes], object]], piece: int) -> Read:
    """A decoder of a stream, given its input in pieces."""

    def read(data: bytes) -> object:
        feed = make()
        for at in range(0, len(data), piece):
            feed(data[at : at + piece])
        return None

    return read


STREAMS: dict[str, Callable[[], Callable[[bytes], object]]] = {
    "frames of nsqd": lambda: FrameDecoder().feed,
    "commands to nsqd": lambda: CommandDecoder(CommandLimits()).feed,
    "packets of a client": lambda: PacketDecoder(Role.CLIENT).decode_untrusted,
    "packets of a relay": lambda: PacketDecoder(Role.RELAY).decode_untrusted,
}

BYTES: dict[str, Make] = {
    "nothing but zeros": repeated(b"", b"\x00"),
    "nothing but ones": repeated(b"", b"\xff"),
    "numbers that do not end": repeated(b"", b"\x80"),
    "commands that do nothing": repeated(b"  V2", b"NOP\n"),
    "a line without an end": repeated(b"  V2", b"N"),
    "blanks in a line": repeated(b"  V2PUB ", b" "),
    "empty frames": repeated(b"", b"\x00\x00\x00\x04\x00\x00\x00\x00"),
    "a frame that is promised": repeated(b"\x00\x0f\x00\x00\x00\x00\x00\x00", b"x"),
    "small bodies": repeated(b"  V2", b"PUB t\n\x00\x00\x00\x01x"),
    "many in one": lambda size: (
        b"  V2MPUB t\n"
        + struct.pack(">II", 4 + 5 * (size // 5), size // 5)
        + b"\x00\x00\x00\x01x" * (size // 5)
    ),
}

_RELAY = bytes(range(frames.RELAY_ID_BYTES))
#: What relays say to each other, many small things in one message.
MESSAGES: dict[str, Make] = {
    "requests": lambda size: frames.requests_message(1, [], [(1, b"")] * (size // 12)),
    "answers": lambda size: frames.answers_message(
        _RELAY, [frames.answer_item(1, frames.Status.REPLY, b"")] * (size // 13)
    ),
    "broadcasts": lambda size: frames.broadcasts_message(
        _RELAY, [frames.broadcast_item(b"x")] * (size // 5)
    ),
    "steps": lambda size: frames.tunnel_message(
        1, [frames.tunnel_item(frames.TunnelItemKind.KEEP, 0, b"")] * (size // 13)
    ),
    **BYTES,
}

FRAMES: dict[str, Read] = {
    "requests over NATS": frames.decode_requests_untrusted,
    "a direct request over NATS": frames.decode_direct_untrusted,
    "answers over NATS": frames.decode_answers_untrusted,
    "broadcasts over NATS": frames.decode_broadcasts_untrusted,
    "an opening over NATS": frames.decode_opening_untrusted,
    "a way over NATS": frames.decode_tunnel_untrusted,
}


def cases() -> Iterator[tuple[str, Make, dict[str, Read]]]:
    """Every input with every decoder for whose kind it is made."""
    fed = {
        f"{reader} by {piece}": _fed(made, piece)
        for reader, made in STREAMS.items()
        for piece in (37, 65536)
    }
    for kind, inputs, readers in (
        ("msgpack", VALUES, MSGPACK),
        ("JSON", TEXTS, JSON),
        ("frames", MESSAGES, FRAMES),
        ("bytes", BYTES, fed),
    ):
        for name, make in inputs.items():
            yield f"{kind}: {name}", make, {each: refusing(readers[each]) for each in readers}
