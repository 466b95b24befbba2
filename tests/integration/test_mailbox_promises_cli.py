"""`irismq dead` and `irismq mailbox`: what they do to messages, and when they are cut off.

A replay is interrupted at named places: the proxy of tests/faults swallows what
the command sends from there on, and then the command is killed. Wherever that
is, each letter is in the mailbox or still a letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes
from irismq_runtime.messaging import DEAD_CHANNEL, MAILBOX_CHANNEL, dead_topic, mailbox_topic
from irismq_runtime.wire import (
    DeadRecord,
    Envelope,
    Kind,
    decode_dead_untrusted,
    encode_dead,
    encode_envelope,
    new_id,
)
from supervisors import Supervisor, child
from tests.faults.proxy import Fault, NsqdProxy
from tests.integration.processes import irismq, running
from tests.integration.service import Inventory, Put, Slow
from tests.mailbox.on_nsqd import Collector, mailbox
from tests.support.nsqd_http import channel_stats
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESS = "shop.dead-end"
LETTERS = 20


def letter(number: int, *, reason: str = "", kind: str = "test.even") -> tuple[bytes, bytes]:
    """A message and the dead-letter record of it."""
    body = encode_envelope(Envelope(Kind.TELL, new_id(), kind, b"%c" % number, {}))
    record = DeadRecord(
        body=body,
        address=ADDRESS,
        id=_read(body).id,
        attempts=5,
        reason=reason or f"crashed: ValueError: number {number}",
        time=1_700_000_000.0 + number,
    )
    return body, encode_dead(record, max_size=2**20)


def _read(body: bytes) -> Any:
    return DeadRecord(body=body).message()


async def write_letters(servers: Any, letters: Sequence[tuple[bytes, bytes]]) -> None:
    async with mailbox(servers.nsqd.port) as made:
        await made.publish_many(dead_topic(ADDRESS), [record for _, record in letters])


async def replayed_bodies(servers: Any, expected: int) -> list[bytes]:
    """What is in the mailbox, once so many different messages have come."""
    async with mailbox(servers.nsqd.port) as made:
        sink = Collector()
        await sink.on(made, mailbox_topic(ADDRESS), MAILBOX_CHANNEL)
        await sink.until(lambda: len(sink.bodies) >= expected)
        return [message.body for message in sink.messages]


async def waiting_letters(servers: Any) -> int:
    """How many letters wait at the broker, once nobody holds any."""
    while True:  # every question is a round trip
        channel = await channel_stats(servers.nsqd, dead_topic(ADDRESS), DEAD_CHANNEL)
        if not channel["in_flight_count"]:
            return int(channel["depth"])


async def listed(servers: Any, *more: str) -> list[dict[str, Any]]:
    code, out, _ = await irismq("dead", "list", ADDRESS, "--nsqd", servers.nsqd_at, *more)
    assert code == codes.OK
    found: list[dict[str, Any]] = json.loads(out)
    return found


#: Where the command is cut off: what it sent from there on does not arrive.
PLACES = [
    pytest.param("PUB", 5, id="before-a-letter-is-stored", marks=pytest.mark.slow),
    pytest.param("RESPONSE", 12, id="before-a-confirmation", marks=pytest.mark.slow),
    pytest.param("FIN", 5, id="before-a-letter-is-finished"),
]


@pytest.mark.parametrize(("name", "nth"), PLACES)
async def test_a_replay_killed_in_the_middle_loses_no_letter(servers, name, nth):
    letters = [letter(number) for number in range(LETTERS)]
    await write_letters(servers, letters)
    async with NsqdProxy(servers.nsqd.port) as proxy:
        proxy.plan(Fault(name, nth=nth, action="black hole"))
        to = ("--nsqd", f"127.0.0.1:{proxy.port}")
        async with running("dead", "replay", ADDRESS, "--all", *to) as process:
            await proxy.fired.wait()
            process.signal(signal.SIGKILL)
            assert await process.ends() == -signal.SIGKILL
    # The letters of the killed command come back after its lease.
    left = await waiting_letters(servers)
    assert 0 < left < LETTERS
    code, _, said = await irismq("dead", "replay", ADDRESS, "--all", "--nsqd", servers.nsqd_at)
    assert (code, said) == (codes.OK, f"{left} letters replayed\n")
    assert await waiting_letters(servers) == 0
    bodies = await replayed_bodies(servers, LETTERS)
    assert set(bodies) == {body for body, _ in letters}
    assert len(bodies) <= LETTERS + 2  # replayed and not finished: the one in hand


async def test_an_interrupted_replay_gives_its_letters_back_at_once(servers):
    letters = [letter(number) for number in range(LETTERS)]
    await write_letters(servers, letters)
    async with NsqdProxy(servers.nsqd.port) as proxy:
        proxy.plan(Fault("RESPONSE", nth=12, action="delay", seconds=60.0))
        to = ("--nsqd", f"127.0.0.1:{proxy.port}")
        async with running("dead", "replay", ADDRESS, "--all", *to) as process:
            await proxy.fired.wait()
            process.signal(signal.SIGINT)
            assert await process.ends() == codes.FORCED
            assert not [line for line in process.said if "Traceback" in line]
        channel = await channel_stats(servers.nsqd, dead_topic(ADDRESS), DEAD_CHANNEL)
        assert (channel["in_flight_count"], channel["timeout_count"]) == (0, 0)
    async with mailbox(servers.nsqd.port) as made:
        again, still = Collector(), Collector()
        await again.on(made, mailbox_topic(ADDRESS), MAILBOX_CHANNEL)
        await still.on(made, dead_topic(ADDRESS), DEAD_CHANNEL)
        await until(
            lambda: (
                again.bodies | {dead_body(record) for record in still.bodies}
                == {body for body, _ in letters}
            )
        )


def dead_body(record: bytes) -> bytes:
    return decode_dead_untrusted(record, max_size=2**20).body


@pytest.mark.slow
async def test_filters_choose_and_a_dry_run_changes_nothing(servers):
    letters = [
        letter(number, reason="" if number % 3 else "decode: not msgpack",
               kind="test.odd" if number % 2 else "test.even")
        for number in range(12)
    ]  # fmt: skip
    await write_letters(servers, letters)
    at = ("--nsqd", servers.nsqd_at)
    everything = await listed(servers)
    assert [row["id"] for row in everything] == [_read(body).id.hex() for body, _ in letters]
    odd = await listed(servers, "--type", "test.odd", "--reason", "VALUEERROR")
    assert [row["id"] for row in odd] == [
        _read(body).id.hex() for number, (body, _) in enumerate(letters) if number % 6 in {1, 5}
    ]
    chosen = ("--type", "test.odd", "--reason", "decode")
    _, _, said = await irismq("dead", "replay", ADDRESS, *chosen, "--dry-run", *at)
    assert said == "2 letters would be replayed\n"
    assert await waiting_letters(servers) == 12
    _, _, said = await irismq("dead", "replay", ADDRESS, *chosen, *at)
    assert said == "2 letters replayed\n"
    _, _, said = await irismq("dead", "drop", ADDRESS, "--id", everything[0]["id"], *at)
    assert said == "1 letter dropped\n"
    assert await waiting_letters(servers) == 9
    bodies = await replayed_bodies(servers, 2)
    assert sorted(bodies) == sorted([letters[3][0], letters[9][0]])  # byte for byte as told


async def test_the_mailbox_shows_depth_in_flight_deferred_and_consumers(servers):
    http = f"{servers.nsqd.host}:{servers.nsqd.http_port}"
    gate = asyncio.Event()
    async with servers.node("shop", mailbox_window=1) as shop:
        log: list[Any] = []
        await shop.start(Supervisor.of(child(Inventory, log, gate)))
        inventory = shop.ref("shop.inventory")
        await inventory.tell(Slow())
        await until(lambda: "slow began" in log)
        for number in range(3):
            await inventory.tell(Put(str(number)))
        for number in range(2):
            await inventory.tell(Put(str(number)), delay=600.0)
        row: dict[str, Any] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while (row.get("depth"), row.get("deferred")) != (3, 2):
                    code, out, _ = await irismq("mailbox", "shop.inventory", "--nsqd-http", http)
                    assert code == codes.OK
                    row = json.loads(out)[0]
        assert (row["depth"], row["in_flight"], row["deferred"]) == (3, 1, 2)
        assert row["consumers"] == [shop.id]
        gate.set()
        await until(lambda: log.count(Put("2")) == 1)
