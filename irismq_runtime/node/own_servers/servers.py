"""The servers that a process runs itself: a broker, a relay, both, or none.

`Node.embedded()` has a broker and a relay, `Node(iris="nats://...")` a relay over
NATS, `irismq dev` and `irismq relay` have them without a node. They listen on
loopback, and the node that owns them talks to them over their sockets, as to any
others: there is one path. They start before the node's connections and end after
them. Which back end a relay has is chosen here, and nowhere else.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from irismq_runtime.config import DEFAULT_TUNNEL_BYTES, Endpoint
from irismq_runtime.errors import ConfigError
from irismq_runtime.node.own_servers.nats_overlay import nats_back_end
from irismq_runtime.observe.health import Check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from irismq_runtime.config import NatsOverlay, NodeConfig
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdFaults, NsqdOptions
    from irismq_runtime.embedded.relay import BackEnd, EmbeddedRelay, Faults

__all__ = ["OwnBroker", "OwnRelay", "Server", "Servers", "servers_of"]

_NOT_STARTED = "the embedded servers have not been started"


class Server(Protocol):
    """One server of this process. `name` is that of its kind: "nsqd", "iris"."""

    name: str

    async def start(self) -> None:
        """Listen. Whatever it raises, nothing is left running."""
        ...

    async def stop(self) -> None:
        """Stop. Idempotent."""
        ...

    def placed(self, config: NodeConfig) -> NodeConfig:
        """Return `config` with the place where this one listens."""
        ...

    def endpoints(self) -> dict[str, str]:
        """Where it listens, by name, beside what the config says."""
        ...

    def checks(self) -> Iterator[Check]:
        """What it says of itself, for the health of its node."""
        ...


class OwnBroker:
    """The embedded broker. Ports of 0 are chosen freely.

    Args:
        data: A folder in which it keeps its messages; None keeps them in memory, and
            they go with the process.
        port: Its TCP port.
        http_port: The port of its HTTP API.
        options: Limits, TLS and AUTH; None: nsqd's defaults.
    """

    name = "nsqd"

    def __init__(
        self,
        *,
        data: Path | None = None,
        port: int = 0,
        http_port: int = 0,
        options: NsqdOptions | None = None,
    ) -> None:
        self._data = data
        self._options = options
        self._port = port
        self._http_port = http_port
        self._nsqd: EmbeddedNsqd | None = None

    async def start(self) -> None:
        """Listen.

        Raises `OSError` when a port is taken, `ConfigError` when the folder cannot be used.
        """
        from irismq_runtime.embedded.nsqd import DataDirectoryError, EmbeddedNsqd

        nsqd = EmbeddedNsqd(
            port=self._port, http_port=self._http_port, data=self._data, options=self._options
        )
        try:
            await nsqd.start()
        except DataDirectoryError as error:
            raise ConfigError("data", str(error), "give a folder that can be written") from error
        self._nsqd = nsqd

    async def stop(self) -> None:
        """Stop. Idempotent."""
        nsqd, self._nsqd = self._nsqd, None
        if nsqd is not None:
            await nsqd.stop()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return Endpoint("127.0.0.1", self._started().port)

    @property
    def http(self) -> Endpoint:
        """Where it answers HTTP."""
        return Endpoint("127.0.0.1", self._started().http_port or 0)

    def stats(self) -> dict[str, Any]:
        """Its statistics as its /stats has them, now."""
        return self._started().stats()

    def placed(self, config: NodeConfig) -> NodeConfig:
        """Return `config` with this broker alone."""
        return replace(config, nsqd=(self.endpoint,), lookupd=())

    def endpoints(self) -> dict[str, str]:
        """Its HTTP port, which no config has."""
        return {"nsqd_http": str(self.http)}

    def checks(self) -> Iterator[Check]:
        """Nothing beside what its clients see."""
        yield from ()

    def faults(self, faults: NsqdFaults) -> NsqdFaults:
        """Let it do this wrong from now on; gives what it did wrong before."""
        nsqd = self._started()
        before, nsqd.faults = nsqd.faults, faults
        return before

    def _started(self) -> EmbeddedNsqd:
        if self._nsqd is None:
            raise RuntimeError(_NOT_STARTED)
        return self._nsqd


class OwnRelay:
    """The embedded relay, over NATS when it is given an `overlay`.

    A port of 0 is chosen freely. `connect_timeout`: seconds until the overlay is
    reached. `tunnel_bytes`: what it holds in tunnels, at most.
    """

    name = "iris"

    def __init__(
        self,
        overlay: NatsOverlay | None = None,
        *,
        port: int = 0,
        connect_timeout: float = 10.0,
        tunnel_bytes: int = DEFAULT_TUNNEL_BYTES,
    ) -> None:
        self._tunnel_bytes = tunnel_bytes
        self._overlay = overlay
        self._port = port
        self._connect_timeout = connect_timeout
        self._relay: EmbeddedRelay | None = None

    async def start(self) -> None:
        """Reach the overlay, then listen.

        Raises `OSError` when the port is taken, `NotConnected` when no server of
        the overlay answers, `ConfigError` when one refuses what it is shown.
        """
        from irismq_runtime.embedded.relay import EmbeddedRelay, RelayOptions

        back_end: BackEnd | None = None
        if self._overlay is not None:
            back_end = await asyncio.to_thread(nats_back_end, self._overlay, self._connect_timeout)
        options = RelayOptions(tunnel_bytes=self._tunnel_bytes)
        relay = EmbeddedRelay(port=self._port, back_end=back_end, options=options)
        await relay.start()
        self._relay = relay

    async def stop(self) -> None:
        """Stop: clients first, then the overlay. Idempotent."""
        relay, self._relay = self._relay, None
        if relay is not None:
            await relay.stop()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return Endpoint("127.0.0.1", self._started().port)

    def stats(self) -> dict[str, Any]:
        """Its statistics, now."""
        return self._started().stats().to_dict()

    def placed(self, config: NodeConfig) -> NodeConfig:
        """Return `config` with this relay."""
        return replace(config, iris=self.endpoint)

    def endpoints(self) -> dict[str, str]:
        """Nothing that the config does not say."""
        return {}

    def checks(self) -> Iterator[Check]:
        """Whether it carries now as far as it should: in memory it always does."""
        if self._relay is not None:
            said = self._relay.health()
            yield Check("overlay", said.ok, "" if said.ok else said.reason)

    def faults(self, faults: Faults) -> Faults:
        """As of `OwnBroker`."""
        relay = self._started()
        before, relay.faults = relay.faults, faults
        return before

    def _started(self) -> EmbeddedRelay:
        if self._relay is None:
            raise RuntimeError(_NOT_STARTED)
        return self._relay


class Servers:
    """Several servers, or none, as one: started in order, stopped in reverse."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers

    async def start(self) -> None:
        """Start all. When one cannot start, those before it are stopped."""
        try:
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all. Idempotent."""
        for server in reversed(self._servers):
            await server.stop()

    def placed(self, config: NodeConfig) -> NodeConfig:
        """Return `config` with the places where these listen."""
        for server in self._servers:
            config = server.placed(config)
        return config

    @property
    def own(self) -> tuple[Server, ...]:
        """Each of them, in the order of their starts."""
        return self._servers

    @property
    def names(self) -> frozenset[str]:
        """The kinds that there are."""
        return frozenset(server.name for server in self._servers)

    def dialled(self, config: NodeConfig) -> dict[str, tuple[Endpoint, ...]]:
        """Return the servers of `config` that others run, by the name of their kind."""
        wanted = {
            "nsqd": config.nsqd,
            "iris": (config.iris,),
            "nats": config.nats.endpoints if config.nats else (),
        }
        return {name: where for name, where in wanted.items() if where and name not in self.names}

    def endpoints(self) -> dict[str, str]:
        """Where they listen, by name, beside what the config says."""
        return {name: at for server in self._servers for name, at in server.endpoints().items()}

    def checks(self) -> Iterator[Check]:
        """What they say of themselves."""
        for server in self._servers:
            yield from server.checks()


def servers_of(config: NodeConfig, *, embedded: bool = False, data: Path | None = None) -> Servers:
    """Return what a node of `config` runs itself; `embedded`: a broker and a relay anyway.

    `data`: the folder of that broker.
    """
    servers: list[Server] = []
    if embedded:
        servers.append(OwnBroker(data=data))
    if embedded or config.nats is not None:
        relay = OwnRelay(
            config.nats,
            connect_timeout=config.connect_timeout,
            tunnel_bytes=config.tunnel_bytes,
        )
        servers.append(relay)
    return Servers(*servers)
