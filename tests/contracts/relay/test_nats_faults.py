"""What goes wrong with NATS under relays: said clearly, nothing hangs, all of it comes back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nats
import nkeys
import pytest

from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from irismq_runtime.embedded.relay.nats.client import Client as NatsClient
from irismq_runtime.errors import ConfigError, NotConnected
from irismq_runtime.ports import OVERLOADED
from irismq_runtime.protocols.iris.packets import (
    ClientBroadcast,
    ClientReply,
    ClientRequest,
    Publish,
    RelayBroadcast,
    RelayReply,
    RelayRequest,
    RelayTunnelClose,
    Subscribe,
    TunnelAllow,
    TunnelTransfer,
)
from tests.contracts.relay.client import (
    Client,
    Over,
    open_tunnel,
    settle_event,
    settle_member,
)
from tests.support.certificates import make_certificate
from tests.support.iris_relay import EmbeddedServer
from tests.support.nats_cluster import HOST, nats_cluster
from tests.support.nats_stub import nats_stub
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOON = 20.0
QUICK = NatsOptions(reconnect_pause=0.02, keep_interval=0.1, linger=0.01)
MIB = 1024 * 1024


@asynccontextmanager
async def relay(*urls: str, options: NatsOptions = QUICK, **more: Any) -> AsyncIterator[Any]:
    back_end = NatsBackEnd(list(urls), net="faults", options=options, **more)
    server = EmbeddedServer("nats", back_end=back_end)
    await server.relay.start()
    try:
        yield server
    finally:
        await server.relay.stop()


async def serve(member: Client) -> None:
    """Echo requests until the connection ends; pass everything else over."""
    while True:
        try:
            packet = await member.receive(60.0)
        except Over:
            return
        if isinstance(packet, RelayRequest):
            member.send(ClientReply(packet.id, packet.body, None))


class Operators:
    """An operator, its account and a user, as NATS's decentralized logins have them."""

    def __init__(self) -> None:
        kinds = (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
        seeds = [nkeys.encode_seed(os.urandom(32), kind) for kind in kinds]
        self.operator, self.account, self.user = (nkeys.from_seed(bytearray(s)) for s in seeds)
        self.seed = seeds[2].decode()

    def configuration(self) -> str:
        limits = dict.fromkeys(
            ("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1
        )
        account = self.token(self.operator, self.account, "account", limits=limits)
        key = self.account.public_key.decode()
        return (
            f"operator: {self.token(self.operator, self.operator, 'operator')}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {key}: {account} }}"
        )

    def credentials(self) -> str:
        token = self.token(self.account, self.user, "user", subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n"
        )

    def token(self, issuer: Any, subject: Any, kind: str, **claims: Any) -> str:
        names = {"iss": issuer.public_key.decode(), "sub": subject.public_key.decode()}
        body = {"iat": 1, **names, "nats": {**claims, "type": kind, "version": 2}}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, body]
        head = ".".join(plain(json.dumps(part).encode()) for part in parts)
        return f"{head}.{plain(issuer.sign(head.encode()))}"


def plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


# Servers that die


async def test_one_of_three_servers_dies_in_the_middle_and_everything_goes_on(connect):
    """Every request has an answer or a timeout by its deadline; soon all have answers again."""
    async with (
        nats_cluster() as cluster,
        relay(cluster.urls[0]) as near,
        relay(cluster.urls[1]) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        serving = asyncio.create_task(serve(member))
        await caller_keeps_asking(caller, cluster, near)
        caller.send(ClientBroadcast("c", b"x"))
        member.cut()
        await serving
        assert near.relay.back_end.stats().reconnects >= 1
        assert far.relay.back_end.stats().reconnects == 0


async def caller_keeps_asking(caller: Client, cluster: Any, near: Any) -> None:
    number = 0
    async with asyncio.timeout(SOON):
        for _ in range(20):
            number += 1
            assert (await caller.ask(number, "c", b"before", 10_000)).body == b"before"
        caller.send(*(ClientRequest(n, "c", b"during", 500) for n in range(1000, 1100)))
        await cluster.kill(0)
        during = [await caller.expect(RelayReply) for _ in range(100)]
        assert {reply.id for reply in during} == set(range(1000, 1100))
        assert all(reply.timeout or reply.body == b"during" for reply in during)
        await until(lambda: near.relay.health().ok)
        answered = 0
        while answered < 20:
            number += 1
            reply = await caller.ask(number, "c", b"after", 500)
            answered = answered + 1 if reply.body == b"after" else 0


async def test_what_is_joined_and_asked_while_nats_is_away_counts_when_it_is_back(connect):
    async with nats_cluster(1) as cluster, relay(*cluster.urls) as one, relay(*cluster.urls) as two:
        caller = await connect(one)
        await cluster.kill(0)
        await until(lambda: not one.relay.health().ok and not two.relay.health().ok)
        assert cluster.urls[0] in one.relay.health().reason
        member, listener = await connect(two, "late"), await connect(two)
        listener.send(Subscribe("t"))
        # It waits, with what is left of its time, until NATS is back.
        caller.send(ClientRequest(1, "late", b"patient", 60_000))
        caller.send(ClientRequest(2, "late", b"hasty", 20))
        reply = await caller.expect(RelayReply)
        assert (reply.id, reply.timeout) == (2, True)
        await cluster.restart(0)
        serving = asyncio.create_task(serve(member))
        reply = await caller.expect(RelayReply)
        # The other relay may have been the later one to come back: then nobody was there.
        assert reply == RelayReply(1, False, b"patient", None) or reply.timeout
        await settle_event(caller, listener, "t")
        assert (await caller.ask(3, "late", b"x", 60_000)).body == b"x"
        member.cut()
        await serving


async def test_members_of_one_relay_serve_each_other_while_nats_is_away(connect):
    async with nats_cluster(1) as cluster, relay(*cluster.urls) as one:
        member, caller = await connect(one, "c"), await connect(one)
        await settle_member(caller, member, "c")
        await cluster.kill(0)
        await until(lambda: not one.relay.health().ok)
        caller.send(ClientRequest(1, "c", b"x", 60_000))
        await member.answer_one(b"y")
        assert (await caller.expect(RelayReply)).body == b"y"
        await open_tunnel(caller, member, "c")
        caller.send(ClientBroadcast("c", b"hello"))
        assert (await member.expect(RelayBroadcast)).body == b"hello"
        await cluster.restart(0)
        await until(lambda: one.relay.health().ok)
        member.send(TunnelAllow(7, 100))
        caller.send(TunnelTransfer(5, 5, b"still"))
        assert (await member.expect(TunnelTransfer)).chunk == b"still"


async def test_a_partition_between_two_relays_closes_tunnels_and_heals(connect):
    async with (
        nats_cluster(2, hidden=True) as cluster,
        relay(cluster.urls[0]) as near,
        relay(cluster.urls[1]) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        await open_tunnel(caller, member, "c")
        await cluster.kill(0)
        # The far relay is told by NATS that the near one is gone.
        assert (await member.expect(RelayTunnelClose)).tunnel_id == 7
        await until(lambda: not near.relay.health().ok)
        assert far.relay.health().ok
        assert (await caller.ask(1, "c", b"x", 50)).timeout
        await cluster.restart(0)
        # The near relay, back again, learns from the far one that the tunnel is no more.
        assert (await caller.expect(RelayTunnelClose)).tunnel_id == 5
        await settle_member(caller, member, "c")
        caller.send(ClientRequest(2, "c", b"x", 30_000))
        await member.answer_one(b"y")
        assert (await caller.expect(RelayReply)).body == b"y"


async def test_a_tunnel_survives_a_reconnect_in_which_nothing_was_lost(connect):
    """The far relay has nothing to say while the near one is away."""
    calm = NatsOptions(reconnect_pause=0.02, keep_interval=3600.0)
    async with (
        nats_cluster() as cluster,
        relay(cluster.urls[0], options=calm) as near,
        relay(cluster.urls[1], options=calm) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        await open_tunnel(caller, member, "c")
        await cluster.kill(0)
        await until(lambda: near.relay.back_end.stats().reconnects >= 1)
        await until(lambda: near.relay.health().ok)
        await settle_member(caller, member, "c")
        member.send(TunnelAllow(7, 100))
        caller.send(TunnelTransfer(5, 5, b"still"))
        assert (await member.expect(TunnelTransfer)).chunk == b"still"
        assert (await caller.expect(TunnelAllow)) == TunnelAllow(5, 5)


async def test_a_server_that_is_silent_is_noticed_and_left(connect):
    alert = replace(QUICK, ping_interval=0.1)
    async with (
        nats_cluster() as cluster,
        relay(cluster.urls[0], options=alert) as near,
        relay(cluster.urls[1]) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        cluster.pause(0)
        try:
            assert (await caller.ask(1, "c", b"x", 20)).timeout
            # More than the server's socket takes: nothing of it must be waited for.
            caller.send(*(Publish("t", b"x" * 65_536) for _ in range(300)))
            await until(lambda: near.relay.back_end.stats().reconnects >= 1)
            serving = asyncio.create_task(serve(member))
            number = 1
            while True:
                number += 1
                reply = await caller.ask(number, "c", b"x", 200)
                if reply.body == b"x":
                    break
            member.cut()
            await serving
        finally:
            cluster.resume(0)


async def test_a_relay_stops_and_drops_its_clients_while_its_server_is_silent(connect):
    async with nats_cluster(1) as cluster:
        async with relay(*cluster.urls, options=NatsOptions(stop_seconds=0.2)) as one:
            member = await connect(one, "c")
            await settle_member(member, member, "c")
            cluster.pause(0)
            member.send(*(ClientBroadcast("c", b"x" * 65_536) for _ in range(100)))
            for _ in range(100):
                await member.expect(RelayBroadcast)
        await member.closed.wait()
        cluster.resume(0)


async def test_a_relay_that_crashed_serves_again_over_the_same_nats(connect):
    async with (
        nats_cluster() as cluster,
        relay(cluster.urls[0]) as one,
        relay(cluster.urls[1]) as two,
    ):
        member = await connect(one, "c")
        caller = await connect(two)
        await settle_member(caller, member, "c")
        await one.restart()
        await member.closed.wait()
        assert (await caller.ask(1, "c", b"x", 500)).timeout
        member = await connect(one, "c")
        await settle_member(caller, member, "c")
        caller.send(ClientRequest(2, "c", b"x", 30_000))
        await member.answer_one(b"y")
        assert (await caller.expect(RelayReply)).body == b"y"


# Too much


async def test_a_slow_consumer_that_nats_cuts_off_comes_back(connect):
    """While this loop, and so the relay, is busy, more comes than the server will keep for it."""
    extra = "max_payload: 131072, max_pending: 262144"
    async with (
        nats_cluster(1, extra=extra) as cluster,
        relay(*cluster.urls) as one,
        relay(*cluster.urls) as two,
    ):
        listener, publisher = await connect(two), await connect(one)
        listener.send(Subscribe("t"))
        await settle_event(publisher, listener, "t")
        flood = b"PUB iris.faults.t.t 65536\r\n" + b"x" * 65_536 + b"\r\n"
        with socket.create_connection((HOST, cluster.servers[0].port)) as stranger:
            stranger.sendall(b'CONNECT {"verbose":false}\r\n')
            for count in (300, 1_000, 3_000):  # until the system's buffers are full as well
                for _ in range(count):
                    stranger.sendall(flood)
                with suppress(AssertionError):
                    await until(
                        lambda: two.relay.back_end.stats().reconnects > 0,
                        "a reconnect",
                        seconds=5.0,
                    )
                    break
        assert two.relay.back_end.stats().reconnects > 0
        await until(lambda: two.relay.health().ok)
        assert one.relay.back_end.stats().reconnects == 0
        await settle_event(publisher, listener, "t")


async def test_messages_thrown_away_by_the_client_library_are_counted_and_close_tunnels(connect):
    few = NatsOptions(pending_limit=20_000, keep_interval=0.1)
    async with (
        nats_cluster(1) as cluster,
        relay(*cluster.urls) as near,
        relay(*cluster.urls, options=few) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        await open_tunnel(caller, member, "c")
        member.send(TunnelAllow(7, MIB))
        caller.send(TunnelTransfer(5, 65_536, b"x" * 65_536))
        closed = await member.expect(RelayTunnelClose)
        assert "lost" in closed.reason
        assert (await caller.expect(RelayTunnelClose)).reason == closed.reason
        assert far.relay.back_end.stats().slow_consumer == 1
        assert far.relay.stats().tunnel_ends == near.relay.stats().tunnel_ends == 0


async def test_more_than_may_wait_for_nats_is_refused_and_counted(connect):
    little = NatsOptions(
        waiting_limit=100_000, stall_mark=50_000, broadcast_patience=0.5, keep_interval=0.05
    )
    async with nats_cluster(1) as cluster, relay(*cluster.urls, options=little) as one:
        caller = await connect(one)
        await cluster.kill(0)
        await until(lambda: not one.relay.health().ok)
        caller.send(*(ClientRequest(n, "c", b"x" * 30_000, 300) for n in range(5)))
        replies = [await caller.expect(RelayReply) for _ in range(5)]
        assert [reply.fault for reply in replies[:2]] == [OVERLOADED] * 2  # at once
        assert all(reply.timeout for reply in replies[2:])  # in their time
        caller.send(*(Publish("t", b"x" * 30_000) for _ in range(5)))
        assert (await caller.ask(9, "c", b"x", 20)).timeout
        assert one.relay.back_end.stats().dropped >= 2
        assert one.relay.stats().totals.stalls > 0
        # What nobody waits for any more makes room again, NATS or no NATS.
        number = 10
        while not (await caller.ask(number, "c", b"x" * 90_000, 20)).timeout:
            number += 1


async def test_events_that_waited_too_long_for_nats_are_dropped_and_counted(connect):
    hasty = NatsOptions(broadcast_patience=0.0, reconnect_pause=0.02)
    async with nats_cluster(1) as cluster, relay(*cluster.urls, options=hasty) as one:
        caller = await connect(one)
        await cluster.kill(0)
        await until(lambda: not one.relay.health().ok)
        caller.send(Publish("t", b"stale"))
        assert (await caller.ask(9, "c", b"x", 20)).timeout
        await cluster.restart(0)
        await until(lambda: one.relay.back_end.stats().dropped == 1)


async def test_a_small_max_payload_cuts_the_chunks_of_tunnels(connect):
    async with (
        nats_cluster(1, extra="max_payload: 8192") as cluster,
        relay(*cluster.urls) as near,
        relay(*cluster.urls) as far,
    ):
        member, caller = await connect(far, "c"), await connect(near)
        await settle_member(caller, member, "c")
        await open_tunnel(caller, member, "c")
        member.send(TunnelAllow(7, MIB))
        chunk = bytes(range(256)) * 256
        caller.send(TunnelTransfer(5, 2 * len(chunk), chunk), TunnelTransfer(5, 0, chunk))
        received = b""
        while len(received) < 2 * len(chunk):
            packet = await member.expect(TunnelTransfer)
            assert packet.size == (0 if received else 2 * len(chunk))
            received += packet.chunk
        assert received == chunk * 2
        reply = await (await connect(near)).ask(1, "c", b"x" * 8192, 30_000)
        assert reply.fault is not None
        assert "8192 bytes" in reply.fault


# Strangers


async def test_what_no_relay_writes_is_passed_over_and_counted(connect):
    async with nats_cluster(1) as cluster, relay(*cluster.urls) as one:
        member = await connect(one, "c")
        member.send(Subscribe("t"))
        await settle_member(member, member, "c")
        await settle_event(member, member, "t")
        stranger = await nats.connect(cluster.urls[0])
        subjects = ("iris.faults.q.c", "iris.faults.c.c", "iris.faults.t.t")
        rubbish = (
            b"",
            b"I1",
            b"hello",
            b"I1q" + bytes(9) + b"\xff" * 8,
            b"I1b" + bytes(12) + b"\0\0\0\1x",
        )
        for subject in subjects:
            for data in rubbish:
                await stranger.publish(subject, data, reply="somewhere.else")
        await stranger.flush()
        await until(lambda: one.relay.back_end.stats().unreadable == len(subjects) * len(rubbish))
        await settle_member(member, member, "c")
        await stranger.close()


# Who we are


@pytest.mark.parametrize(
    ("extra", "login"),
    [
        ("authorization { user: ann, password: secret }", {"user": "ann", "password": "secret"}),
        ("authorization { token: secret }", {"token": "secret"}),
    ],
)
async def test_credentials_are_given_or_the_relay_says_that_they_were_refused(
    connect, extra, login
):
    async with nats_cluster(1, extra=extra) as cluster:
        async with relay(*cluster.urls, **login) as one:
            member = await connect(one, "c")
            await settle_member(member, member, "c")
        wrong = dict.fromkeys(login, "wrong")
        for given in ({}, wrong):
            with pytest.raises(ConfigError, match="refused this relay") as caught:
                async with relay(*cluster.urls, **given):
                    pass
            assert cluster.urls[0] in str(caught.value)
            assert "credentials" in str(caught.value)


async def test_a_login_in_the_url_works_and_is_never_shown(connect):
    extra = "authorization { user: ann, password: secret }"
    async with nats_cluster(1, extra=extra) as cluster:
        url = cluster.urls[0].replace("//", "//ann:secret@")
        async with relay(url) as one:
            assert one.relay.back_end.stats().server == cluster.urls[0]
        with pytest.raises(ConfigError) as caught:
            async with relay(url.replace("ann", "bob")):
                pass
        assert "secret" not in str(caught.value)


async def test_a_login_that_is_taken_back_and_given_again(connect):
    extra = "authorization { user: ann, password: secret }"
    login = {"user": "ann", "password": "secret"}
    async with nats_cluster(1, extra=extra) as cluster, relay(*cluster.urls, **login) as one:
        member = await connect(one, "c")
        cluster.reload(0, "authorization { user: ann, password: other }")
        await until(lambda: not one.relay.health().ok)
        cluster.reload(0, extra)
        await until(lambda: one.relay.health().ok)
        await settle_member(member, member, "c")
        caller = await connect(one)
        caller.send(ClientRequest(1, "c", b"x", 30_000))
        await member.answer_one(b"y")
        assert (await caller.expect(RelayReply)).body == b"y"


async def test_a_subject_that_nats_forbids_is_in_the_health(connect):
    rights = 'permissions: { publish: ">", subscribe: ["iris.faults.a.>", "iris.faults.w.>"] }'
    extra = f"authorization {{ users: [{{ user: ann, password: secret, {rights} }}] }}"
    login = {"user": "ann", "password": "secret"}
    async with nats_cluster(1, extra=extra) as cluster, relay(*cluster.urls, **login) as one:
        assert one.relay.health().ok
        await connect(one, "shop")
        await until(lambda: not one.relay.health().ok)
        assert "iris.faults." in one.relay.health().reason
        assert "shop" in one.relay.health().reason


async def test_a_credentials_file_is_shown_to_the_server(connect, tmp_path):
    operators = Operators()
    good, bad = tmp_path / "good.creds", tmp_path / "bad.creds"
    good.write_text(operators.credentials())
    bad.write_text(Operators().credentials())
    async with nats_cluster(1, extra=operators.configuration()) as cluster:
        async with relay(*cluster.urls, credentials=good) as one:
            member = await connect(one, "c")
            await settle_member(member, member, "c")
        with pytest.raises(ConfigError, match="refused this relay"):
            async with relay(*cluster.urls, credentials=bad):
                pass
        with pytest.raises(ConfigError, match="No such file"):
            async with relay(*cluster.urls, credentials=tmp_path / "none.creds"):
                pass


async def test_tls_is_spoken_where_the_server_wants_it(connect, tmp_path):
    files = make_certificate(tmp_path)
    extra = f'tls {{ cert_file: "{files.certificate}", key_file: "{files.key}" }}'
    async with nats_cluster(1, extra=extra) as cluster:
        async with relay(*cluster.urls, tls=files.client_context()) as one:
            member = await connect(one, "c")
            await settle_member(member, member, "c")
        with pytest.raises(ConfigError, match="certificate"):
            async with relay(*cluster.urls):
                pass


async def test_where_nobody_answers_the_start_fails_in_time():
    async with nats_cluster(1) as cluster:
        url = cluster.urls[0]
    hasty = NatsOptions(connect_timeout=0.2)
    with pytest.raises(NotConnected, match="nats-server") as caught:
        async with relay(url, options=hasty):
            pass
    assert url in str(caught.value)


def test_a_back_end_needs_a_server():
    with pytest.raises(ValueError, match="at least one"):
        NatsBackEnd([])


async def test_what_dials_again_ends_though_its_cancellation_meets_the_end_of_a_dial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200: it went on for ever, and kept its loop from ending."""
    dials = 0

    async def loses_it(_: NatsClient, __: object) -> None:
        nonlocal dials
        dials += 1
        if dials == 1:
            with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does up to 3.11
                await asyncio.Event().wait()
            raise OSError("refused")
        await asyncio.Event().wait()

    async with nats_stub() as stub, relay(f"nats://{HOST}:{stub.port}"):
        monkeypatch.setattr(NatsClient, "_connect_to_server", loses_it)
        stub.hang_up()
        await until(lambda: dials)
    assert dials
    assert not [task for task in asyncio.all_tasks() if "_attempt_reconnect" in repr(task)]


async def test_a_dial_that_is_given_up_while_it_closes_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stands_still(client: NatsClient, *_: object) -> None:
        if client._status != NatsClient.CLOSED:
            client._status = NatsClient.CLOSED
            await asyncio.Event().wait()

    monkeypatch.setattr(NatsClient, "_close", stands_still)
    async with nats_stub() as stub:
        stub.info = 7
        hasty = NatsOptions(connect_timeout=0.1, stop_seconds=0.1)
        with pytest.raises(NotConnected, match="no meaning"):
            async with relay(f"nats://{HOST}:{stub.port}", options=hasty):
                pass
        assert stub.greeted
        await until(lambda: not stub.open)
