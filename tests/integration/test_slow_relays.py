"""A relay that does not read for a while, on whole nodes: asks are refused early (178)."""

from __future__ import annotations

import asyncio
import contextlib

from irismq_runtime.errors import AskTimeout, Overloaded
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.pyiris import IrisAddresses, Options, RelayTooSlow
from irismq_runtime.pyiris.connector import tcp_dialler
from supervisors import Supervisor, child
from tests.integration.asking import ON_RELAYS, Do, Holder, outcome
from tests.support.iris_relay import unique
from tests.support.promptly import promptly
from tests.support.until import until

#: Of 10 kB each; asked within the first second also by a slow machine.
ASKS = range(400)


class Lane:
    """A way to a relay, on which bytes to it pass only while it is open."""

    def __init__(self, host, port):
        self.relay = host, port
        self.open = asyncio.Event()
        self.open.set()
        self._tasks = set()

    @contextlib.asynccontextmanager
    async def served(self):
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        back, to = await asyncio.open_connection(*self.relay)
        for source, sink, gate in ((reader, to, self.open), (back, writer, None)):
            self._tasks.add(asyncio.ensure_future(self._pass(source, sink, gate)))

    async def _pass(self, source, sink, gate):
        try:
            while data := await source.read(65_536):
                if gate is not None:
                    await gate.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


@ON_RELAYS
async def test_asks_to_a_relay_that_does_not_read_are_refused_and_work_when_it_does(servers):
    address = unique("b.slow")
    log = []
    lane = Lane(servers.relay.host, servers.relay.port)
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(lane.served())

        def transports(config, system, node_id):
            addresses = IrisAddresses(
                options=Options(heartbeat=60.0),
                clock=system.clock,
                dial=tcp_dialler("127.0.0.1", port),
            )
            return NsqMailbox([servers.nsqd_at], clock=system.clock), addresses

        shop = await stack.enter_async_context(servers.node("shop"))
        client = await stack.enter_async_context(servers.node("client", transports=transports))
        await shop.start(Supervisor.of(child(Holder, address, log)))
        await until(lambda: client.members(address))
        ref = client.ref(address)
        assert await ref.ask(Do("before"), timeout=60.0) == "before"
        lane.open.clear()
        ask = ref.ask
        early = []
        for number in ASKS:
            early.append(asyncio.ensure_future(outcome(ask(Do("x" * 10_000), timeout=2.0))))
            if number % 4 == 0:
                await asyncio.sleep(0)  # what one turn of the loop asks is written at once
        ended = await asyncio.gather(*early)
        assert all(isinstance(each, AskTimeout) for each in ended), "the first second is a burst"
        async with promptly("the refusal of what would be too late"):
            refused = await outcome(ask(Do("late"), timeout=2.0))
        assert isinstance(refused, RelayTooSlow)
        assert isinstance(refused, Overloaded)
        assert refused.waiting > 0
        lane.open.set()
        async with promptly("the first ask after it"):
            assert await ref.ask(Do("after"), timeout=60.0) == "after"
        assert len(log) < len(ASKS) / 2, (
            "what was too late was not written, but for what was on its way"
        )
