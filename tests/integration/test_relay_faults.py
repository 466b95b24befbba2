"""Reports of users of Iris and of remote calls, on whole nodes: what a relay's end does."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from actors import Actor, receives
from actors.errors import AskTimeout
from irismq_runtime import ConnectionLost, Node, TunnelClosed, TunnelTimeout, live
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.protocols.iris.packets import ClientRequest, ClientTunnelInit, RelayReply
from irismq_runtime.pyiris import IrisAddresses, Options
from irismq_runtime.pyiris.connector import tcp_dialler
from supervisors import Supervisor, child
from tests.integration.asking import ON_RELAYS, Do, Holder, outcome, seen
from tests.integration.processes import running
from tests.integration.service import Put
from tests.integration.test_service import needs_interface
from tests.pyiris.scripted import ScriptedRelay
from tests.support.iris_relay import unique
from tests.support.nsqd_server import nsqd_server
from tests.support.promptly import promptly
from tests.support.until import until

#: Longer than a real relay takes to boot, twice.
BOOTS = pytest.mark.timeout(90)

TOPICS = [unique(f"b.topic{number}") for number in range(3)]


class Listener(Actor):
    """Hears three live topics."""

    subscribes = tuple(live(topic) for topic in TOPICS)

    def __init__(self, heard):
        super().__init__()
        self.heard = heard

    @receives(Do)
    def event(self, event):
        self.heard.add(event.what)


async def both_ready(*nodes):
    await until(lambda: all(node.health().ready for node in nodes))


@BOOTS
@ON_RELAYS
async def test_before_sending_it_is_safe_after_sending_the_outcome_is_unknown(servers, kills_relay):
    address = unique("b.once")
    log, held = [], []
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, log, held=held)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        sent = ref.ask(Do("hold"), timeout=60.0)
        await until(lambda: held)
        await servers.relay.kill()
        held[0]("it did run")  # (c) the reply is on its way when the relay is gone
        error = await outcome(sent)
        assert isinstance(error, ConnectionLost)  # (b) and (c)
        assert error.outcome == "unknown"
        await until(lambda: not client.health().ready)
        async with promptly("an ask that found no relay"):
            error = await outcome(ref.ask(Do("unsent"), timeout=60.0))
        assert isinstance(error, ConnectionLost)  # (a) not in time for the next relay
        assert error.outcome == "not sent"
        await servers.relay.restart()
        await both_ready(client, shop)
        assert await ref.ask(Do("again"), timeout=20.0) == "again"
        assert log == ["hold", "again"]  # nothing ran twice


@BOOTS
@ON_RELAYS
async def test_an_ask_that_finds_the_relay_away_is_sent_when_it_is_back(servers, kills_relay):
    address = unique("b.patient")
    log = []
    may_dial = asyncio.Event()
    may_dial.set()
    tcp = tcp_dialler(servers.relay.host, servers.relay.port)

    async def dial(factory):
        await may_dial.wait()
        return await tcp(factory)

    def transports(config, system, node_id):
        options = Options(hold=40.0)
        addresses = IrisAddresses(options=options, clock=system.clock, dial=dial)
        return NsqMailbox([servers.nsqd_at], clock=system.clock), addresses

    async with (
        servers.node("client", transports=transports) as client,
        servers.node("shop") as shop,
    ):
        await shop.start(Supervisor.of(child(Holder, address, log)))
        await until(lambda: client.members(address))
        may_dial.clear()
        await servers.relay.kill()
        await until(lambda: not client.parts.addresses.health().ok)
        await until(lambda: not client.parts.presence.trusted)
        ask = client.ref(address).ask(Do("patient"), timeout=60.0)
        await servers.relay.restart()
        await both_ready(shop)
        assert not log
        may_dial.set()
        assert await ask == "patient"
        assert log == ["patient"]


@BOOTS
@ON_RELAYS
async def test_all_that_is_open_fails_within_a_second_and_works_again(servers, kills_relay):
    address = unique("b.open")
    held, heard = [], set()
    async with servers.node("client") as client, servers.node("shop") as shop:
        lost = seen(client, "iris.lost")
        await shop.start(
            Supervisor.of(child(Holder, address, held=held, instances=8), child(Listener, heard))
        )
        await until(lambda: len(client.members(address)) == 8)
        ref = client.ref(address)
        tunnels = [] if alone(servers) else [await ref.tunnel() for _ in range(5)]
        for tunnel in tunnels:
            await tunnel.send("hello")
            assert await tunnel.receive() == "hello"
        asks = [ref.ask(Do("hold"), timeout=60.0) for _ in range(100)]
        await until(lambda: len(held) > 16)
        waiting = [asyncio.ensure_future(outcome(each)) for each in asks]
        waiting += [asyncio.ensure_future(outcome(tunnel.receive())) for tunnel in tunnels]
        async with promptly("all that was open has failed"):
            await servers.relay.kill()
            errors = await asyncio.gather(*waiting)
        assert {type(error) for error in errors[:100]} == {ConnectionLost}
        assert {error.outcome for error in errors[:100]} == {"unknown"}
        assert all(isinstance(error, (TunnelClosed, ConnectionLost)) for error in errors[100:])
        reported = [entry.get("cluster") for entry in lost]
        assert len(reported) == len(set(reported)) + max(0, reported.count("") - 1)
        await until(lambda: not client.health().ready)

        await servers.relay.restart()
        await both_ready(client, shop)
        await until(lambda: len(client.members(address)) == 8)
        assert await ref.ask(Do("again"), timeout=20.0) == "again"
        if tunnels:
            async with ref.tunnel() as tunnel:
                await tunnel.send("again")
                assert await tunnel.receive() == "again"

        def all_heard():
            for topic in TOPICS:
                client.publish(topic, Do(topic), durable=False)
            return heard == set(TOPICS)

        await until(all_heard)
        for reply in held:
            reply("nobody waits")
        members = [each.handler for each in shop.parts.binder if each.handler]
        assert len(members) == 8
        await until(lambda: not any(m.requests.deliveries or m.tunnels for m in members))


def alone(servers):
    """Whether tunnels cannot be had here: a real node needs an interface for them."""
    return servers.relay.kind == "real" and len(socket.if_nameindex()) < 2


@ON_RELAYS
async def test_what_was_sent_before_the_close_arrives(servers):
    address = unique("b.close")
    log = []
    async with servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address, log)))
        async with servers.node("client") as client:
            await until(lambda: client.members(address))
            receipts = client.ref(address).tell_many([Do(f"stored {n}") for n in range(1000)])
            for number in range(1000):
                client.ref(address).tell_all(Do(f"all {number}"))
        assert {await outcome(receipt) for receipt in receipts} == {None}
        await until(lambda: len(log) == 2000)
        assert len(set(log)) == 2000


@ON_RELAYS
async def test_a_member_that_leaves_answers_what_it_was_given(servers):
    address = unique("b.leaver")
    async with servers.node("client") as client, servers.node("stays") as stays:
        ref = client.ref(address)
        await stays.start(Supervisor.of(child(Holder, address)))
        async with servers.node("leaves") as leaves:
            await leaves.start(Supervisor.of(child(Holder, address)))
            await until(lambda: len(client.members(address)) == 2)
            asks = [asyncio.ensure_future(outcome(ref.ask(Do(f"{n}")))) for n in range(400)]
            await asks[0]
        more = [asyncio.ensure_future(outcome(ref.ask(Do(f"{n}")))) for n in range(100)]
        found = await asyncio.gather(*asks, *more)
        errors = [error for error in found if not isinstance(error, str)]
        assert found[400:] == [f"{n}" for n in range(100)]
        if servers.relay.kind == "embedded":
            assert not errors
        # A real relay loses what it has handed over when the leaver's close reaches it: how
        # much that is, is a matter of how busy it is.
        assert {type(error) for error in errors} <= {AskTimeout}


@ON_RELAYS
async def test_tunnels_torn_down_at_once_leave_nothing(servers):
    needs_interface(servers)
    address = unique("b.tunnels")
    jitter = random.Random(55)
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address)))
        await until(lambda: client.members(address))
        ref = client.ref(address)

        async def open_and_close(rounds):
            for _ in range(rounds):
                async with ref.tunnel(timeout=20.0) as tunnel:
                    for _ in range(jitter.randrange(4)):
                        await asyncio.sleep(0)
                    if jitter.random() < 0.5:
                        await tunnel.send("close")  # both sides close together

        await asyncio.gather(*(open_and_close(25) for _ in range(8)))
        (binding,) = shop.parts.binder
        await until(lambda: not binding.handler.tunnels)
        assert client.parts.addresses._out.statistics().tunnels == 0
        assert shop.parts.dispatch.counters.tunnels == 200


@BOOTS
@ON_RELAYS
async def test_a_relay_killed_while_tunnels_open_leaves_nothing(servers, kills_relay):
    needs_interface(servers)
    address = unique("b.tunnels")
    async with servers.node("client") as client, servers.node("shop") as shop:
        await shop.start(Supervisor.of(child(Holder, address)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        (binding,) = shop.parts.binder
        openings = [asyncio.ensure_future(outcome(_open(ref))) for _ in range(30)]
        await until(lambda: shop.parts.dispatch.counters.tunnels > 3)
        async with promptly("all tunnels that were being opened have failed"):
            await servers.relay.kill()
            found = await asyncio.gather(*openings)
        kinds = (TunnelClosed, TunnelTimeout, ConnectionLost)
        assert all(isinstance(error, kinds) for error in found)
        await until(lambda: not binding.handler.tunnels)
        assert client.parts.addresses._out.statistics().tunnels == 0


async def _open(ref):
    async with ref.tunnel(timeout=60.0) as tunnel:
        await tunnel.receive()


async def test_the_timeout_flag_wins_and_nothing_half_built_is_left():
    relay = ScriptedRelay()
    made = []

    def transports(config, system, node_id):
        made.append(IrisAddresses(clock=system.clock, events=system.events, dial=relay.dial))
        nsqds = [str(endpoint) for endpoint in config.nsqd]
        return NsqMailbox(nsqds, clock=system.clock, events=system.events), made[0]

    async with nsqd_server("embedded") as nsqd:
        at = f"{nsqd.host}:{nsqd.port}"
        async with Node(name="deaf", nsqd=at, transports=transports, drain=0.5) as node:
            out = relay.wires[0]
            await node.settled()
            for answer in (
                lambda request: out.send(RelayReply(request.id, True, None, None)),
                lambda request: out.send_bytes(bytes([5, request.id, 0, 1, 0])),
                lambda request: out.send_bytes(bytes([5, request.id, 1])),
            ):
                ask = node.ref("b.stub").ask(Do(), timeout=60.0)
                while (request := await out.next(ClientRequest)).cluster != "b.stub":
                    continue
                answer(request)
                async with promptly("an ask that the relay says has timed out"):
                    error = await outcome(ask)
                assert isinstance(error, AskTimeout)
            for confirm in (b"\x01", b"\x00\x00"):
                opening = asyncio.ensure_future(outcome(node.ref("b.stub").tunnel(timeout=20.0)))
                init = await out.next(ClientTunnelInit)
                out.send_bytes(bytes([10, init.id]) + confirm)
                assert isinstance(await opening, TunnelTimeout)
                assert made[0]._out.statistics().tunnels == 0


@pytest.mark.timeout(60)
async def test_what_is_stored_survives_the_death_of_every_member(servers, tmp_path):
    journal = tmp_path / "journal"

    def done():
        lines = journal.read_text().splitlines() if journal.exists() else []
        return {line.removeprefix("done ") for line in lines if line.startswith("done")}

    def shop():
        tree = "tests.integration.service:Shop"
        more = ("--name", "shop", "--lease", "3.0")
        return running("run", tree, *servers.flags, *more, SHOP_JOURNAL=str(journal))

    async with servers.node("client") as client:
        inventory = client.ref("shop.inventory")
        async with shop() as one, shop() as two:
            await one.says("runs")
            await two.says("runs")
            receipts = inventory.tell_many([Put(f"{number}") for number in range(10_000)])
            assert inventory.tell_all(Put("plain")) is None  # sent at most: there is no receipt
            await until(done)
            for process in (one, two):
                process.signal(signal.SIGKILL)
                await process.ends()
            for receipt in receipts:
                await receipt
        assert len(done()) < 10_000
        async with shop():
            await until(lambda: len(done() - {"plain"}) == 10_000)


def _sockets():
    """Local addresses of this process's sockets: (protocol, address in hexadecimal)."""
    own = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            own.add(target[8:-1])
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink"):
        path = Path("/proc/self/net") / protocol
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if own.intersection(fields):
                found.add((protocol, fields[1].partition(":")[0]))
    return found


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")
async def test_the_servers_of_a_node_are_ready_at_once_on_loopback_and_probe_nothing():
    before = _sockets()
    async with AsyncExitStack() as stack:
        async with promptly("a node with its servers is ready"):
            node = await stack.enter_async_context(Node.embedded(name="quick"))
        assert {end.rpartition(":")[0] for end in node.endpoints.values()} == {"127.0.0.1"}
        await node.settled()
        assert _sockets() - before == {("tcp", "0100007F")}
