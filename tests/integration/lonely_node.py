"""A node of a process of its own that says nothing again for a minute, until it is killed.

python -m tests.integration.lonely_node NSQD IRIS ADDRESS
"""

from __future__ import annotations

import asyncio
import sys

from irismq_runtime import Node
from supervisors import Supervisor, child
from tests.integration.asking import Holder


async def main(nsqd: str, iris: str, address: str) -> None:
    async with Node(nsqd=nsqd, iris=iris, name="lonely", presence_period=60.0) as node:
        await node.start(Supervisor.of(child(Holder, address)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
