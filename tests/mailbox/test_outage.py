"""Case 125: what two hundred mailboxes say while their broker is away for five minutes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import TYPE_CHECKING

from tests.mailbox.fake import ScriptedBrokers, turns

if TYPE_CHECKING:
    import pytest

MAILBOXES = 200
SECONDS = 300


async def test_two_hundred_mailboxes_say_little_of_a_broker_that_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = ScriptedBrokers(publish_timeout=2.0)
    await world.mailbox.start()
    for number in range(MAILBOXES):
        await world.mailbox.consume(f"t{number}", "c", world.messages.append, window=1)
    await world.network.until(
        lambda: sum(peer.alive for peer in world.network.peers) == MAILBOXES + 1
    )
    caplog.clear()
    world.network.down.update({peer.endpoint for peer in world.network.peers})
    for peer in world.network.peers:
        peer.cut()
    lost = []
    for second in range(SECONDS):
        if second % 3 == 0:
            lost.append(world.mailbox.publish("t0", b"a secret body"))
        await world.pass_time(1.0, step=0.25)
    lines = [(r.created, r.getMessage()) for r in caplog.records if r.levelno >= logging.INFO]
    # A kind is a line without its numbers.
    kinds = Counter(re.sub(r"[\d.]+", "#", line) for _, line in lines)
    assert kinds, "nobody said anything"
    assert max(kinds.values()) <= SECONDS + 1, kinds
    assert len(lines) <= SECONDS + 10, kinds
    assert any(re.search(r"\(\d+ like this\)", line) for _, line in lines), kinds
    assert not any("secret" in line for _, line in lines)
    assert all(isinstance(receipt.exception(), Exception) for receipt in lost[:-2])
    world.network.down.clear()
    await world.pass_time(10.0, step=0.25)
    await turns()
    assert sum(peer.alive for peer in world.network.peers) == MAILBOXES + 1
    await world.close()
