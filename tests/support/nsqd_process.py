"""The embedded nsqd in a process of its own, to be killed.

As a program: `python nsqd_process.py DATA [FILE_SIZE_LIMIT]` prints the ports
on one line when it is ready. As a module: `nsqd_process` runs that program.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class NsqdProcess:
    """A running child."""

    host = "127.0.0.1"
    kind = "embedded"

    def __init__(self, process: asyncio.subprocess.Process, port: int, http_port: int) -> None:
        self.process = process
        self.port = port
        self.http_port = http_port

    @property
    def pid(self) -> int:
        return self.process.pid

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def nsqd_process(data: Path, *, file_size: int = 0) -> AsyncIterator[NsqdProcess]:
    """A child with its data in `data`; killed when the context is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        str(data),
        str(file_size),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    if not line:
        raise RuntimeError(f"the child ended with {await process.wait()}")
    port, http_port = map(int, line.split())
    child = NsqdProcess(process, port, http_port)
    try:
        yield child
    finally:
        await child.kill()


async def _main(data: Path, file_size: int) -> None:
    from irismq_runtime.embedded.nsqd import EmbeddedNsqd

    if file_size:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, hard))
    server = EmbeddedNsqd(data=data)
    await server.start()
    print(server.port, server.http_port, flush=True)  # noqa: T201  # the parent waits for it
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
