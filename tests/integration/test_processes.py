"""Nodes as processes: orderly ends, killed ones, exit codes, signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from irismq_runtime.cli import codes
from tests.integration.processes import irismq, running
from tests.integration.service import Crash, Put, Slow, Who
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def shop(servers, journal):
    def start(tree="Shop", *more):
        module = f"tests.integration.service:{tree}"
        return running(
            "run", module, *servers.flags, "--name", "shop", *more, SHOP_JOURNAL=str(journal)
        )

    return start


async def test_sigterm_ends_a_node_with_0_and_loses_nothing(servers, shop, journal):
    async with servers.node("client") as client, shop() as process:
        await process.says("runs")
        inventory = client.ref("shop.inventory")
        for number in range(50):
            inventory.tell(Put(f"{number}"))
        await until(lambda: lines(journal))
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK
        begun = len(lines(journal)) // 2
        async with shop() as other:
            await other.says("runs")
            await until(lambda: len(lines(journal)) == 100)
        assert len({line for line in lines(journal) if line.startswith("done")}) == 50
        assert begun <= 50


async def test_a_process_killed_with_sigkill_gives_its_messages_to_another(servers, shop, journal):
    async with servers.node("client") as client:
        async with shop("Shop", "--lease", "1.0") as process:
            await process.says("runs")
            inventory = client.ref("shop.inventory")
            await inventory.tell(Slow())
            await until(lambda: "slow" in lines(journal))
            await inventory.tell(Put("waiting"))
            process.signal(signal.SIGKILL)
            assert await process.ends() == -signal.SIGKILL
        journal.unlink()
        async with shop("Shop", "--lease", "1.0") as other:
            await other.says("runs")
            await until(lambda: "done waiting" in lines(journal) or "slow" in lines(journal))


async def test_a_message_that_kills_the_process_stops_after_the_last_attempt(
    servers, shop, journal
):
    more = ("--lease", "1.0", "--max-attempts", "2")
    async with servers.node("client") as client:
        inventory = client.ref("shop.inventory")
        await inventory.tell(Put("poison"))
        for start in range(1, 3):
            async with shop("Shop", *more) as process:
                await process.ends()
            assert lines(journal) == [f"begin poison {n}" for n in range(1, start + 1)]
        async with shop("Shop", *more) as process:
            await process.says("went to shop.inventory.dead")
            await inventory.tell(Put("good"))
            await until(lambda: "done good" in lines(journal))
        assert [line for line in lines(journal) if "poison" in line] == [
            "begin poison 1",
            "begin poison 2",
        ]


async def test_a_tree_that_gives_up_ends_the_process_with_its_own_code(servers, shop):
    async with servers.node("client") as client, shop("Fragile") as process:
        await process.says("runs")
        with suppress(Exception):  # a crash for a stored message would not count
            await client.ref("shop.inventory").ask(Crash())
        assert await process.ends() == codes.GAVE_UP
        assert any("the tree gave up" in line for line in process.said)


async def test_a_wrong_tree_is_an_error_of_usage(servers):
    code, _, said = await irismq("run", "tests.integration.service:Nothing", *servers.flags)
    assert code == codes.USAGE
    assert "has no Nothing" in said


async def test_sigterm_during_a_handler_that_never_ends(servers, shop, journal):
    async with servers.node("client") as client, shop("Shop", "--drain", "0.3") as process:
        await process.says("runs")
        await client.ref("shop.inventory").tell(Slow())
        await until(lambda: "slow" in lines(journal))
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_a_second_signal_ends_the_process_at_once(servers, shop, journal):
    async with servers.node("client") as client, shop("Shop", "--drain", "60") as process:
        await process.says("runs")
        await client.ref("shop.inventory").tell(Slow())
        await until(lambda: "slow" in lines(journal))
        process.signal(signal.SIGTERM)
        await process.says("SIGTERM: draining")
        assert await process.ends_by_another(signal.SIGTERM) == codes.FORCED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_the_tree_starts(servers, shop, number):
    async with shop("Stuck", "--drain", "0.3") as process:
        await process.says("connected")
        process.signal(number)
        assert await process.ends() == codes.OK


async def test_a_signal_while_a_server_does_not_answer(servers):
    reached = asyncio.Event()

    async def say_nothing(reader, writer):
        reached.set()
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    try:
        port = silent.sockets[0].getsockname()[1]
        where = ("--nsqd", f"127.0.0.1:{port}", "--iris", servers.iris_at)
        more = ("--connect-timeout", "60")
        async with running("run", "tests.integration.service:Shop", *where, *more) as process:
            await reached.wait()
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK
    finally:
        silent.close()


async def test_the_status_page_follows_the_node(servers, shop):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with shop("Shop", "--status", f"127.0.0.1:{port}") as process:
        await process.says("runs")
        answer = b""
        while not answer.startswith(b"HTTP/1.1 200 "):  # the consumer may still be dialling
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: node\r\n\r\n")
            answer = await reader.read()
            writer.close()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["ready"]


async def ready(port):
    """The code and the reasons that the status page gives now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ready HTTP/1.1\r\nHost: node\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["reasons"]


async def test_the_status_page_turns_bad_with_the_reason_and_good_again(journal):
    """Port, process and heartbeat say nothing of it: the relay goes, then the broker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with nsqd_server("embedded") as nsqd, iris_relay("embedded") as relay:
        where = ("--nsqd", f"127.0.0.1:{nsqd.port}", "--iris", f"127.0.0.1:{relay.port}")
        tree = ("tests.integration.service:Shop", "--status", f"127.0.0.1:{port}")
        async with running("run", *tree, *where, SHOP_JOURNAL=str(journal)) as process:
            await process.says(" runs")
            for server, reason in ((relay, "relay: "), (nsqd, "mailbox: ")):
                while (await ready(port))[0] != 200:
                    continue
                await server.kill()
                while True:
                    code, reasons = await ready(port)
                    if any(line.startswith(reason) for line in reasons):
                        break
                assert code == 503
                await (server.restart() if server is relay else server.start())
            while (await ready(port))[0] != 200:
                continue
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK


async def test_a_node_embeds_its_servers_when_told_to(journal):
    tree = "tests.integration.service:Shop"
    async with running("run", tree, "--embedded", SHOP_JOURNAL=str(journal)) as process:
        await process.says("runs")
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_two_nodes_share_an_address_and_one_leaves(servers, shop, journal):
    async with servers.node("client") as client, shop() as one, shop() as two:
        await one.says("runs")
        await two.says("runs")
        await until(lambda: len(client.members("shop.inventory")) == 2)
        one.signal(signal.SIGTERM)
        assert await one.ends() == codes.OK
        await until(lambda: len(client.members("shop.inventory")) == 1)
        assert await client.ref("shop.inventory").ask(Who()) == "shop"


def workers(parent):
    pid = parent.process.pid
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
async def test_of_two_processes_a_killed_one_costs_its_own_and_none_outlives_its_parent(
    servers, shop
):
    async with (
        servers.node("client") as client,
        shop("Shop", "--processes", "2", "--lease", "1.0") as parent,
    ):
        await parent.says("processes: 2")
        first, second = workers(parent)

        def members():
            return {member.node for member in client.members("shop.inventory")}

        before = await until(lambda: len(members()) == 2 and members())
        os.kill(first, signal.SIGKILL)
        await until(lambda: second in workers(parent) and len(workers(parent)) == 2)
        await until(lambda: len(members()) == 2 and members() != before)
        assert len(members() & before) == 1
        assert await client.ref("shop.inventory").ask(Who()) in {"shop-1", "shop-2"}
        parent.signal(signal.SIGKILL)
        await until(lambda: not members())


async def test_processes_drain_with_their_parent(servers, shop, journal):
    async with servers.node("client") as client, shop("Shop", "--processes", "2") as parent:
        await parent.says("processes: 2")
        for number in range(20):
            client.ref("shop.inventory").tell(Put(f"{number}"))
        await until(lambda: lines(journal))
        parent.signal(signal.SIGTERM)
        assert await parent.ends() == codes.OK
        done = [line for line in lines(journal) if line.startswith("done")]
        assert len(done) == len(lines(journal)) // 2
        assert sum("draining" in line for line in parent.said) == 2
