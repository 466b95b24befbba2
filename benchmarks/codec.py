"""The codec alone: messages a second into bytes and out of them, in one thread.

    python benchmarks/codec.py [--seconds S]

Ours is all that a tell does: body, checks, envelope with a new id and the
headers of a node, and back to a checked message. Beside it stand encoders that
make the body alone, without envelope, limits, type names or checks: bare
msgpack, the json module, and msgspec, which knows the class beforehand. "-" is
what a peer cannot carry.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgpack
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors import message
from irismq_runtime.wire import (
    Envelope,
    Key,
    KeyRing,
    Kind,
    Serializer,
    decode_envelope_untrusted,
    encode_envelope,
    new_id,
)


@message("bench.sale")
@dataclass
class Sale:
    sku: str
    quantity: int
    price: float
    customer: str
    gift: bool


@message("bench.receipt")
@dataclass
class Receipt:
    id: UUID
    at: datetime
    total: Decimal
    lines: tuple[Sale, ...] = ()


@message("bench.day")
@dataclass
class Day:
    shop: str
    sales: list[dict[str, int | str]] = field(default_factory=list)


SALE = Sale("abc-123", 3, 9.5, "alice", gift=True)
RECEIPT = Receipt(UUID(int=7), datetime(2024, 5, 1, tzinfo=UTC), Decimal("28.50"), (SALE, SALE))
DAY = Day("till 7", [{"sku": f"sku-{n}", "quantity": n} for n in range(400)])
MESSAGES = {
    "dict of 5 fields": asdict(SALE),
    "dataclass of 5 fields": SALE,
    "dates, decimals, objects": RECEIPT,
    "list of 400 dicts": DAY,
    "1 KB of bytes": {"name": "photo", "data": bytes(1024)},
}


def rate(work, argument, seconds):
    """Calls a second, the best of three runs."""
    work(argument)
    best, rounds = 0.0, 1
    for _ in range(3):
        while True:
            begin = time.perf_counter()
            for _ in range(rounds):
                work(argument)
            spent = time.perf_counter() - begin
            if spent >= seconds / 3:
                break
            rounds = max(rounds * 2, int(rounds * seconds / 3 / max(spent, 1e-6)))
        best = max(best, rounds / spent)
    return best


def ours(codec=None, key=None):
    wire = Serializer()
    ring = None if key is None else KeyRing([key])

    def encode(value):
        type_name, body, header = wire.dump(value, codec)
        headers = {"n": "node-1", "q": 77}
        if header is not None:
            headers["c"] = header
        envelope = Envelope(Kind.TELL, new_id(), type_name, body, headers)
        return encode_envelope(envelope, signer=key)

    def decode(data):
        envelope = decode_envelope_untrusted(data, keys=ring)
        return wire.load(envelope.type, envelope.body, envelope.headers.get("c"))

    return encode, decode


def msgspec_pair(value):
    encoder = msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(type(value))
    return encoder.encode, decoder.decode


def bare(value, encode, decode):
    """Peers that know no classes get the fields."""
    plain = value if isinstance(value, dict) else asdict(value)
    return plain, encode, decode


def contenders(value):
    yield "ours", (value, *ours())
    yield "ours, signed", (value, *ours(key=Key("k1", bytes(32))))
    yield "ours, JSON body", (value, *ours("json"))
    yield "bare msgpack", bare(value, msgpack.packb, msgpack.unpackb)
    yield "json module", bare(value, lambda v: json.dumps(v).encode(), json.loads)
    yield "msgspec, typed", (value, *msgspec_pair(value))


def row(name, contender, seconds):
    value, encode, decode = contender
    try:
        data = encode(value)
    except (TypeError, ValueError):
        return f"| {name} | - | - | - |"
    assert name in {"bare msgpack", "json module"} or decode(data) == value
    encoded, decoded = rate(encode, value, seconds), rate(decode, data, seconds)
    return f"| {name} | {encoded:,.0f} | {decoded:,.0f} | {len(data):,} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="for each figure")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, msgpack {msgpack.version}, {platform.machine()}")
    for label, value in MESSAGES.items():
        print(f"\n{label}\n\n| | encode/s | decode/s | bytes |\n| --- | ---: | ---: | ---: |")
        for name, contender in contenders(value):
            print(row(name, contender, options.seconds), flush=True)


if __name__ == "__main__":
    main()
