"""Messages that nothing here can read and another member may: stored again, some times.

The broker counts the deliveries to members with older code too, and gives a message to any
member that asks: where half of them are old, one in thirty-two meets five old ones in a
row. So what has used up its attempts like that is not given up as long as somebody else
serves the address: it is stored again under its id, which begins the count anew, at most
`ROUNDS` times by one process. Nothing of it has run, so nothing runs twice by that.
Only in a mailbox: what is stored again in a topic of events reaches its other channels too.

Loop thread only.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from irismq_runtime.messaging import mailbox_topic
from irismq_runtime.recent import Recent
from irismq_runtime.wire import is_signed

if TYPE_CHECKING:
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = ["ROUNDS", "UNREAD_AFTER", "UnreadRounds", "left_to_others"]

#: With as many old members as new ones, and five attempts each round, one message in a
#: million is given up: 2 ** -20.
ROUNDS: Final = 3
#: Seconds until a message comes again that was stored again.
UNREAD_AFTER: Final = 1.0
#: Messages that are remembered, at least; one that is forgotten has its rounds again.
_REMEMBERED: Final = 10_000


class UnreadRounds:
    """How often this process has stored a message again that it cannot read."""

    __slots__ = ("_rounds",)

    def __init__(self) -> None:
        self._rounds: Recent[bytes, int] = Recent(_REMEMBERED)

    def again(self, name: bytes) -> bool:
        """Whether a message may be stored once more, which is counted then."""
        rounds = self._rounds.get(name) or 0
        if rounds >= ROUNDS:
            return False
        self._rounds.put(name, rounds + 1)
        return True


def left_to_others(
    context: DispatchContext, address: str, stored: StoredMessage, envelope: Envelope | None
) -> bool:
    """Store a message of a mailbox again, for members of `address` that can read it.

    `envelope`: None if not even that can be read. False: it was not, and has to end here.
    """
    if not context.others_serve(address):
        return False
    body = stored.body
    name = blake2b(body, digest_size=16).digest() if envelope is None else envelope.id
    if not context.unread.again(name):
        return False
    if envelope is not None and is_signed(envelope.headers):
        # Anew, as a signature may not be older than what the broker says of its time.
        if not context.packer.signs:
            return False
        body = context.packer.leaving(body, mailbox_topic(address), {})
    return stored.defer(UNREAD_AFTER, body)
