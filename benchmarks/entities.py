"""What entities cost: messages over many keys, activations, memory, reminders.

    python benchmarks/entities.py [--quick] [--json FILE]

One node with one class of entities, in a process of its own for each store; broker and relay
(the embedded ones) run in others. Everything that a user has is in the figures: a message is
told, kept by the broker, handled by the entity of its key, and committed with the state.

messages     told to as many active entities as there are keys, some to each, until all are
             committed and finished
activations  the same with entities that rest: each of the first messages makes one, which
             loads its state
reminders    set by each entity for one time, until all have come: three commits for each
idle         bytes of resident memory for an entity that is active and has nothing to do

Rates are of the clock, and of a second of processor time of the node's process, which another
load on the machine changes less.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contestants.remote_servers import free_port, nsqd_command, ours, running  # noqa: E402

from actors import message, receives  # noqa: E402  # the repository's own, by its path
from irismq_runtime import Entity, Node  # noqa: E402  # as above
from tests.support.postgres_server import PostgresServer, programs  # noqa: E402  # as above

KEYS, EACH = 10_000, 5
ADDRESS = "bench.counter"


@message("bench.counted")
@dataclass
class Counted:
    total: int = 0
    rung: int = 0


@message("bench.count")
@dataclass(frozen=True)
class Count:
    number: int


@message("bench.set-reminder")
@dataclass(frozen=True)
class SetReminder:
    after: float


@message("bench.ring")
@dataclass(frozen=True)
class Ring:
    pass


class Counter(Entity):
    address = ADDRESS
    shards = 16
    max_active = 1_000_000
    idle = 3600.0
    state: Counted
    rung = 0

    @receives(Count)
    def count(self, count: Count) -> None:
        self.state.total += count.number

    @receives(SetReminder)
    def set_reminder(self, request: SetReminder) -> None:
        self.remind("ring", Ring(), after=request.after)

    @receives(Ring)
    def ring(self, _: Ring) -> None:
        self.state.rung += 1
        Counter.rung += 1


class Watch:
    """The clock and the processor time of a stretch, as rates."""

    def __init__(self):
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def rates(self, count):
        wall, cpu = time.perf_counter() - self.clock, time.process_time() - self.cpu
        return {"rate": count / wall, "cpu_rate": count / cpu}


async def told(node, refs, make, count):
    """Tell each of them `count` messages, and wait until all are finished."""
    finished = node.parts.dispatch.counters.finished
    watch = Watch()
    for start in range(0, len(refs), 500):
        receipts = [ref.tell(make()) for ref in refs[start : start + 500] for _ in range(count)]
        await asyncio.gather(*receipts)
    counters = node.parts.dispatch.counters
    while counters.finished - finished < len(refs) * count:  # noqa: ASYNC110  # they tell nobody
        await asyncio.sleep(0.005)
    return watch.rates(len(refs) * count)


def resident():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def measured(url, nsqd, iris, keys):
    found = {}
    async with Node(nsqd=nsqd, iris=iris, store=url, name="bench", drain=2.0) as node:
        await node.start(Counter)
        refs = [node.entity(ADDRESS, f"key-{number}") for number in range(keys)]
        warm = [node.entity(ADDRESS, f"warm-{number}") for number in range(500)]
        await told(node, warm, lambda: Count(1), EACH)
        before = resident()
        found["activations"] = await told(node, refs, lambda: Count(1), 1)
        await asyncio.sleep(1.0)
        found["idle"] = (resident() - before) / keys
        found["messages"] = await told(node, refs, lambda: Count(1), EACH)
        after = max(5.0, 2 * keys / found["messages"]["rate"])
        due = time.time() + after
        await told(node, refs, lambda: SetReminder(due - time.time()), 1)
        await asyncio.sleep(max(0.0, due - time.time()))
        watch = Watch()
        while Counter.rung < keys:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.005)
        found["reminders"] = watch.rates(keys)
    return found


STORES = ("memory", "sqlite", "postgres")


def one(store, server, servers, keys):
    """Measure one store in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        url = {"memory": "memory:", "sqlite": f"sqlite:///{folder}/bench.sqlite"}.get(store)
        if url is None:
            url = server.url("bench_entities")
        command = [sys.executable, __file__, "--one", url, *servers, str(keys)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{store} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def line(store, found):
    cells = [
        f"{found[what][of]:,.0f}"
        for what in ("messages", "activations", "reminders")
        for of in ("rate", "cpu_rate")
    ]
    return f"| {store} | {' | '.join(cells)} | {found['idle']:,.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, metavar=("URL", "NSQD", "IRIS", "KEYS"))
    options = parser.parse_args()
    if options.one:
        url, nsqd, iris, keys = options.one
        print(json.dumps(uvloop.run(measured(url, nsqd, iris, int(keys)))))
        return
    keys = KEYS // 10 if options.quick else KEYS
    print(f"{keys:,} keys, {EACH} messages to each; (cpu): a second of processor time.")
    print()
    heads = [
        f"{what}/s{of}"
        for what in ("messages", "activations", "reminders")
        for of in ("", " (cpu)")
    ]
    print(f"| store | {' | '.join(heads)} | idle, bytes |")
    print(f"| --- |{' ---: |' * 7}")
    rows = {}
    with ExitStack() as stack:
        nsqd, iris = free_port(), free_port()
        stack.enter_context(running(nsqd_command(nsqd, embedded=True), nsqd))
        stack.enter_context(running(ours("relay", iris), iris))
        servers = (f"127.0.0.1:{nsqd}", f"127.0.0.1:{iris}")
        server = PostgresServer(on_disk=True) if programs() is not None else None
        if server is not None:
            server.start()
            stack.callback(server.remove)
        for store in STORES:
            if store == "postgres" and server is None:
                continue
            rows[store] = one(store, server, servers, keys)
            print(line(store, rows[store]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
