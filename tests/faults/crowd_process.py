"""Many mailboxes in one process, for tests of what a crowd does to a broker.

    python crowd_process.py PORT FIRST COUNT

Consumes COUNT topics `crowd.N`, each with a connection of its own. Says `ready`
when all are connected, and `got N` for each message.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from irismq_runtime.mailbox import MailboxConfig, NsqMailbox


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def handle(number: int, message) -> None:
    if message.finish():
        say("got", number)


async def main() -> None:
    port, first, count = map(int, sys.argv[1:4])
    mailbox = NsqMailbox([f"127.0.0.1:{port}"], config=MailboxConfig(start_timeout=20.0))
    await mailbox.start()
    consumptions = [
        await mailbox.consume(f"crowd.{number}", "mailbox", partial(handle, number), window=1)
        for number in range(first, first + count)
    ]
    while not all(consumption.health().ok for consumption in consumptions):
        await asyncio.sleep(0)
    say("ready")
    await asyncio.Event().wait()


asyncio.run(main())
