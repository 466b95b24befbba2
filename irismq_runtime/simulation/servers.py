"""The servers of a simulated cluster: the embedded broker and relay, nsqlookupd, NATS.

The first two are as they are, the others are models.

Each is the whole life of one machine's process: it listens until the process is killed, or
until it is asked to end in order. What a broker holds is read here, for who wants to know
whether anything is still on its way.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.errors import DecodeError
from irismq_runtime.simulation.host_keeper import HostKeeper
from irismq_runtime.simulation.lookup import LookupDaemon, register_with
from irismq_runtime.simulation.nats_model import NatsServerModel
from irismq_runtime.wire import DEFAULT_LIMITS, Envelope, decode_envelope_untrusted

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence

    from irismq_runtime.simulation.host import SimulatedHost
    from irismq_runtime.simulation.invariants import Life
    from irismq_runtime.simulation.witness import Witness

__all__ = [
    "IRIS_PORT",
    "NSQD_PORT",
    "BrokerMachine",
    "LookupMachine",
    "NatsMachine",
    "RelayMachine",
]

NSQD_PORT: Final = 4150
IRIS_PORT: Final = 55555
#: All addresses of a machine: its clients are on others.
_ANYWHERE: Final = "0.0.0.0"  # noqa: S104  # of a simulated machine


class BrokerMachine:
    """A machine with a broker, which keeps its messages on the disk of the machine.

    Args:
        host: What it runs on.
        witness: Hears of its lives.
        lookups: The names of the machines with a lookup daemon, which it keeps told.
    """

    def __init__(self, host: SimulatedHost, witness: Witness, lookups: Sequence[str] = ()) -> None:
        self.keeper = HostKeeper(host, self._run, witness)
        self._lookups = lookups
        self._broker: EmbeddedNsqd | None = None

    async def _run(self, life: Life) -> None:
        del life
        name, folder = self.keeper.name, self.keeper.host.disk.folder("nsqd")
        broker = EmbeddedNsqd(host=_ANYWHERE, port=NSQD_PORT, http_port=None, data=folder)
        self._broker = broker
        telling = [register_with(lookup, broker, name=name) for lookup in self._lookups]
        await _serve(broker, self.keeper, beside=telling)

    @property
    def runs(self) -> bool:
        """Whether it listens."""
        return self.keeper.end is not None

    def held(self) -> Iterator[tuple[str, float]]:
        """Yield the envelope id of each message that it holds, and in how many seconds it is due.

        Nothing while it does not run.
        """
        if self._broker is None or not self.runs:
            return
        now = self._broker.clock.monotonic()
        for topic in self._broker.context.broker.topics.values():
            waiting = [topic.held(), *(channel.held() for channel in topic.channels.values())]
            for message in itertools.chain.from_iterable(waiting):
                yield _id_of(message.body), max(0.0, message.due - now)


class RelayMachine:
    """A machine with a relay."""

    def __init__(self, host: SimulatedHost, witness: Witness) -> None:
        self.keeper = HostKeeper(host, self._run, witness)

    async def _run(self, life: Life) -> None:
        del life
        relay = EmbeddedRelay(host=_ANYWHERE, port=IRIS_PORT, open_to_network=True)
        await _serve(relay, self.keeper)


class LookupMachine:
    """A machine with a lookup daemon."""

    def __init__(self, host: SimulatedHost, witness: Witness) -> None:
        self.keeper = HostKeeper(host, self._run, witness)

    async def _run(self, life: Life) -> None:
        del life
        await _serve(LookupDaemon(), self.keeper)


class NatsMachine:
    """A machine with a server of a NATS cluster.

    Args:
        host: What it runs on.
        witness: Hears of its lives.
        names: Of all machines with one.
    """

    def __init__(self, host: SimulatedHost, witness: Witness, names: Sequence[str]) -> None:
        self.keeper = HostKeeper(host, self._run, witness)
        self._others = [name for name in names if name != host.name]

    async def _run(self, life: Life) -> None:
        del life
        server = NatsServerModel(name=self.keeper.name, others=self._others)
        await _serve(server, self.keeper)


async def _serve(
    server: EmbeddedNsqd | EmbeddedRelay | LookupDaemon | NatsServerModel,
    keeper: HostKeeper,
    *,
    beside: Iterable[Coroutine[Any, Any, None]] = (),
) -> None:
    """Run a server until it is to end, and end it; and `beside` it what it does for others."""
    over = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def end() -> None:
        over.set()

    try:
        await server.start()
        tasks += map(asyncio.create_task, beside)
        keeper.end = end
        await over.wait()
    finally:
        for task in tasks:
            task.cancel()
        await server.stop()


def _id_of(body: bytes) -> str:
    """The envelope id of a stored message as events name it; empty: it has none."""
    try:
        envelope = decode_envelope_untrusted(body, DEFAULT_LIMITS)
    except DecodeError:
        return ""
    return envelope.id.hex() if isinstance(envelope, Envelope) else ""
