"""A consumer process for tests that kill and stop it: one line for each message handled.

    python mailbox_process.py PORT TOPIC HOLD HEARTBEAT

`ready` when it is connected, `got N` when a message has come, `done N` when it
is finished; the first HOLD messages are held for ever.
"""

from __future__ import annotations

import asyncio
import sys

from irismq_runtime.mailbox import MailboxConfig, NsqMailbox


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main() -> None:
    port, topic = sys.argv[1:3]
    hold, heartbeat = map(int, sys.argv[3:5])
    mailbox = NsqMailbox(
        [f"127.0.0.1:{port}"],
        config=MailboxConfig(
            msg_timeout=1.0, heartbeat=heartbeat, reconnect_min=0.05, reconnect_max=0.5
        ),
    )
    await mailbox.start()
    held = 0

    def handle(message) -> None:
        nonlocal held
        say("got", message.body.decode(), message.attempts)
        if not consumption.claim(message):
            return
        if held < hold:
            held += 1
        elif message.finish():
            say("done", message.body.decode())

    consumption = await mailbox.consume(topic, "mailbox", handle, window=10)
    while not consumption.health().ok:
        await asyncio.sleep(0)
    say("ready")
    await asyncio.Event().wait()


asyncio.run(main())
