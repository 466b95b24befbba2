"""How a managed connection closes without losing what is under way.

A relay answers a close at once, forgets what a member says after it, and reads
the packets of one connection in no order. So: refuse what is new, let what is
in hand be answered, close the tunnels, prove by a round trip that the relay has
read everything, and only then close. Requests that wait in the relay for this
member are lost by the close, so it makes round trips until one brought none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from irismq_runtime.protocols.iris.packets import ClientRequest
from irismq_runtime.pyiris.timeouts import done_within

if TYPE_CHECKING:
    from actors.clock import Clock
    from irismq_runtime.pyiris.current_connection import CurrentConnection
    from irismq_runtime.pyiris.inbox import Inbox
    from irismq_runtime.pyiris.requests import OutgoingRequests
    from irismq_runtime.pyiris.tunnels import Tunnels

__all__ = ["PING", "close_gracefully"]

#: A cluster of which nobody is a member: a request to it, with the shortest
#: timeout, is answered "timeout" by any live relay, and so serves as a ping.
PING: Final = "pyiris.ping"

#: Seconds that a relay gets to answer a ping or a close.
_PATIENCE: Final = 1.0

#: Round trips, of some 1.5 ms each, after which requests still come because they
#: are still sent here: then waiting longer does not help.
_ROUNDS: Final = 200


async def close_gracefully(
    current: CurrentConnection,
    requests: OutgoingRequests,
    inbox: Inbox | None,
    tunnels: Tunnels,
    *,
    clock: Clock,
    drain: float,
) -> None:
    """Finish what is under way, each part within `drain` seconds, and close the connection."""
    if inbox is not None:
        inbox.leaving = True
    await _answered(requests, inbox, clock, drain)
    closing = asyncio.ensure_future(tunnels.close())
    await done_within(closing, drain, clock)
    closing.cancel()
    await _quiet(current, requests, inbox, clock)
    connection = current.connection
    if connection is not None:
        connection.close()
        if not await done_within(connection.ended, _PATIENCE, clock):
            connection.abort("closed by this side")
            await connection.ended


async def _answered(
    requests: OutgoingRequests, inbox: Inbox | None, clock: Clock, seconds: float
) -> None:
    """Wait until nothing waits for an answer, here or there."""
    done = asyncio.get_running_loop().create_future()

    def look() -> None:
        if not (done.done() or len(requests) or (inbox is not None and len(inbox))):
            done.set_result(None)

    requests.on_empty = look
    if inbox is not None:
        inbox.on_empty = look
    look()
    await done_within(done, seconds, clock)


async def _quiet(
    current: CurrentConnection, requests: OutgoingRequests, inbox: Inbox | None, clock: Clock
) -> None:
    """Make round trips until no more requests come, as far as that can be awaited."""
    for _ in range(_ROUNDS):
        before = 0 if inbox is None else inbox.turned_away
        await _round_trip(current, requests, clock)
        if inbox is None or inbox.turned_away == before:
            return


async def _round_trip(current: CurrentConnection, requests: OutgoingRequests, clock: Clock) -> None:
    """Wait until the relay has answered something sent after everything else."""
    connection = current.connection
    if connection is None:
        return
    reply = requests.open(PING, b"ping", _PATIENCE)
    if not reply.done():
        reply.turn = connection.turn
        connection.send(ClientRequest(reply.id, PING, b"ping", 1))
        await done_within(reply, _PATIENCE, clock)
