"""Two real relays on two hosts, joined by a cable: every verb between two nodes.

The hosts are network namespaces that this file makes, with nothing in them but
loopback and the two ends of a veth pair: a real relay scans every network that it
sees. Needs the relay that IRISMQ_IRIS names and the right to make namespaces.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.two_relays_node import expected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
BOOTED = b"successfully booted"
PIPE = asyncio.subprocess.PIPE

#: Seconds: each relay takes some ten to boot, and as many to find the other.
PATIENCE = 60


class Host:
    """A namespace, the relay and the node in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.node: asyncio.subprocess.Process | None = None

    async def start(self, *command: str, **pipes: Any) -> asyncio.subprocess.Process:
        inside = ("ip", "netns", "exec", self.namespace, *command)
        return await asyncio.create_subprocess_exec(*inside, cwd=ROOT, **pipes)

    async def says(self) -> Any:
        """The next line of the node."""
        assert self.node is not None
        assert self.node.stdout is not None
        line = await asyncio.wait_for(self.node.stdout.readline(), PATIENCE)
        assert line, "the node has ended"
        return json.loads(line)

    async def tries_everything(self) -> Any:
        """Have the node try every verb on the other; what it saw."""
        assert self.node is not None
        assert self.node.stdin is not None
        self.node.stdin.write(b"go\n")
        return await self.says()


async def ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *arguments, stderr=PIPE)
    _, problem = await process.communicate()
    if process.returncode:
        raise PermissionError(problem.decode().strip())


@asynccontextmanager
async def ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def two_hosts() -> AsyncIterator[list[Host]]:
    """Two namespaces joined by a cable; skips where they cannot be made."""
    hosts = [Host(f"irismq-{side}-{os.getpid()}") for side in "ab"]
    async with AsyncExitStack() as stack:
        try:
            for host in hosts:
                await ip("netns", "add", host.namespace)
                stack.push_async_callback(ip, "netns", "del", host.namespace)
            one, two = (host.namespace for host in hosts)
            await ip(
                *("link", "add", "cable", "netns", one, "type", "veth"),
                *("peer", "name", "cable", "netns", two),
            )
        except (FileNotFoundError, PermissionError) as problem:
            pytest.skip(f"no network namespaces can be made here: {problem}")
        for number, host in enumerate(hosts, 1):
            await ip("-n", host.namespace, "addr", "add", f"10.77.1.{number}/29", "dev", "cable")
            for device in ("lo", "cable"):
                await ip("-n", host.namespace, "link", "set", device, "up")
        yield hosts


async def boot(host: Host, binary: str, key: Path, stack: AsyncExitStack) -> None:
    """Start a relay on `host`; returns when it serves."""
    relay = await host.start(
        *(binary, "-net", "irismq", "-rsa", str(key)),
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    await stack.enter_async_context(ended(relay))
    assert relay.stdout is not None
    said = b""
    while BOOTED not in said:
        line = await asyncio.wait_for(relay.stdout.readline(), PATIENCE)
        assert line, f"the relay ended: {said.decode()}"
        said += line
    rest = asyncio.ensure_future(relay.stdout.read())
    stack.callback(rest.cancel)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    """Two hosts, each with a relay and a node."""
    binary = os.environ.get("IRISMQ_IRIS")
    if not binary:
        pytest.skip("IRISMQ_IRIS names no relay")
    private = rsa.generate_private_key(65537, 2048)
    key = tmp_path / "network.pem"
    key.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    async with two_hosts() as pair, AsyncExitStack() as stack:
        await asyncio.gather(*(boot(host, binary, key, stack) for host in pair))
        program = (sys.executable, "-m", "tests.integration.two_relays_node")
        for host, names in zip(pair, (("a", "b"), ("b", "a")), strict=True):
            host.node = await host.start(*program, *names, stdin=PIPE, stdout=PIPE)
            await stack.enter_async_context(ended(host.node))
            assert await host.says() == "runs"
        yield pair


@pytest.mark.slow
@pytest.mark.real_iris
@pytest.mark.timeout(180)
async def test_two_relays_carry_every_verb_between_two_nodes(hosts: list[Host]) -> None:
    for host, other in zip(hosts, "ba", strict=True):
        saw = await host.tries_everything()
        assert saw.pop("ask_us") > 0
        assert saw.pop("lost") < 10
        assert saw == expected(other)
    one, _ = hosts
    assert one.node is not None
    assert one.node.stdin is not None
    one.node.stdin.close()
    assert await one.says() == 2
    assert await one.node.wait() == 0
