"""What an outage of five minutes writes to the log, with two hundred mailboxes (case 125)."""

from __future__ import annotations

import logging
from collections import Counter

from tests.mailbox.fake import ScriptedBrokers, turns

MAILBOXES = 200
SECRET = "body-of-a-user"  # noqa: S105  # planted, to be looked for


async def test_a_broker_that_is_away_is_a_line_a_second_whoever_misses_it(caplog):
    caplog.set_level(logging.INFO, "irismq")
    world = ScriptedBrokers(stuck_after=20.0)
    await world.mailbox.start()
    for number in range(MAILBOXES):
        await world.consume(topic=f"t{number}")
    for number in range(50):
        world.mailbox.publish("t0", f"{SECRET} {number}".encode(), timeout=30.0)
    world.network.down.update(peer.endpoint for peer in world.network.peers)
    for peer in list(world.network.peers):
        peer.transport.abort()
    began = world.clock.monotonic()
    seconds = []
    for _ in range(300):
        before = len(caplog.records)
        world.clock.advance(1.0)
        await turns()
        seconds.append(Counter(r.kind for r in caplog.records[before:] if hasattr(r, "kind")))
    assert world.clock.monotonic() - began == 300.0
    assert sum(seconds, Counter())
    # One may be the rest of the second before, told at its end.
    assert max(max(second.values(), default=0) for second in seconds) <= 2
    lines = [r for r in caplog.records if r.name.startswith("irismq")]
    assert len(lines) <= 300 * len({r.kind for r in lines})
    assert sum(r.count for r in lines) > MAILBOXES
    assert SECRET not in caplog.text
    await world.close(drain=0.0)
