"""What the checks on the wire cost: processor time of one step, commit against commit.

    python benchmarks/checks.py [--against TREE] [--rounds N] [--json FILE]

Each row is one step that a node takes with every message: packing, or opening and
reading. Its figure is microseconds of processor time, the least of many short runs, so
that what else the machine does matters little. With --against (or IRISMQ_AGAINST) the
same steps are timed in another checkout too, in turn with this one, and the ratio
stands beside them; TREE has a .venv of its own, or shares this one. What other checkouts
cannot do is left out there.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

TREE = Path(__file__).resolve().parent.parent
#: Calls of one run, and runs.
CALLS, RUNS = 200, 120


@dataclass
class Item:
    sku: str
    quantity: int
    price: float
    gift: bool


@dataclass
class Receipt:
    id: UUID
    at: datetime
    total: Decimal
    items: tuple[Item, ...]


def steps() -> dict[str, Callable[[], object]]:
    """The steps by name, in the checkout that stands first on the path."""
    from actors import message
    from irismq_runtime.messaging.packer import Packer
    from irismq_runtime.wire import KeyRing, Kind, Serializer

    message("bench.checks.item")(Item)
    message("bench.checks.receipt")(Receipt)
    item = Item("abc-123", 3, 9.5, gift=True)
    receipt = Receipt(UUID(int=7), datetime(2024, 5, 1, tzinfo=UTC), Decimal("28.50"), (item, item))
    nested = {"a": [1, 2, {"b": "c"}], "d": {"e": [1.5, None, True]}, "f": "text"}
    plain = Packer("node-0123456789abcdef", Serializer())
    keys = KeyRing.of({"k1": bytes(32)})
    signing = Packer("node-0123456789abcdef", Serializer(), keys=keys)
    wire, kind = Serializer(), Kind.TELL
    # Version 2 of the signature is for a place; before it there was none.
    placed = "verb" in inspect.signature(Packer.open_untrusted).parameters
    out: tuple[Any, ...] = (None, "store", "topic.orders") if placed else ()
    into: tuple[Any, ...] = ("store", "topic.orders", None, time.time()) if placed else ()
    unsigned, signed = plain.new(kind, item, {})[1], signing.new(kind, item, {}, *out)[1]
    head = signed[:-32]
    place: tuple[Any, ...] = (("store", "topic.orders"),) if placed else ()
    hashed = keys.signer.seal if placed else keys.signer.mac
    three = plain.new(kind, item, {"s": "node-0123456789abcdef/1"})[1]
    answer = plain.answer(Kind.REPLY, bytes(16), item)
    large = plain.new(kind, "x" * 10_000, {})[1]
    bodies = {
        "body of a class": (*wire.dump(item)[:2], None),
        "body with objects in it": (*wire.dump(receipt)[:2], None),
        "nested JSON": ("", wire.dump(nested, "json")[1], "json"),
        "JSON of a class": ("bench.checks.item", wire.dump(item, "json")[1], "json"),
    }
    found: dict[str, Callable[[], object]] = {
        "pack": lambda: plain.new(kind, item, {}),
        "pack, signed": lambda: signing.new(kind, item, {}, *out),
        "open": lambda: plain.open_untrusted(unsigned),
        "open, three headers": lambda: plain.open_untrusted(three),
        "open, no headers": lambda: plain.open_untrusted(answer),
        "open, 10 KB": lambda: plain.open_untrusted(large),
        "open, signed": lambda: signing.open_untrusted(signed, *into),
        "the hash of a signature": lambda: hashed(*place, head),
        "write body with objects in it": lambda: wire.dump(receipt),
    }
    for name, body in bodies.items():
        found[f"read {name}"] = lambda body=body: wire.load(*body)
    return found


def timed() -> dict[str, float]:
    """Microseconds of processor time for each step."""
    found = {}
    for name, step in steps().items():
        least = float("inf")
        for _ in range(RUNS):
            began = time.process_time_ns()
            for _ in range(CALLS):
                step()
            least = min(least, time.process_time_ns() - began)
        found[name] = least / CALLS / 1000
    return found


def child(tree: Path) -> dict[str, float]:
    """What `timed` says in a process of the checkout `tree`."""
    own = tree / ".venv/bin/python"
    command = [str(own if own.exists() else sys.executable), __file__, "--child", str(tree)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr[-2000:])
    times: dict[str, float] = json.loads(ended.stdout)
    return times


def commit(tree: Path) -> str:
    """Its commit in short."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def least(found: list[dict[str, float]]) -> dict[str, float]:
    """The best of the rounds, row by row."""
    return {name: min(times[name] for times in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="What the checks on the wire cost.")
    parser.add_argument("--against", type=Path, default=os.environ.get("IRISMQ_AGAINST"))
    parser.add_argument("--rounds", type=int, default=2, help="of each checkout, in turn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.path.insert(0, str(options.child))
        print(json.dumps(timed()))
        return
    trees = [TREE] if options.against is None else [TREE, Path(options.against)]
    rounds = [[child(tree) for tree in trees] for _ in range(options.rounds)]
    columns = [least([each[at] for each in rounds]) for at in range(len(trees))]
    heads = ["us of processor time", *map(commit, trees), *["ratio"][: len(trees) - 1]]
    print(f"| {' | '.join(heads)} |")
    print("| --- |" + " ---: |" * (len(heads) - 1))
    for name, figure in columns[0].items():
        others = [column[name] for column in columns[1:]]
        ratios = [f"{figure / other:.2f}" for other in others]
        cells = [name, f"{figure:.2f}", *(f"{other:.2f}" for other in others), *ratios]
        print(f"| {' | '.join(cells)} |")
    if options.json:
        report = {commit(tree): column for tree, column in zip(trees, columns, strict=True)}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
