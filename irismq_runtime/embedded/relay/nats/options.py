"""The bounds of the NATS back end, and what it tells of itself. Plain values.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["NatsOptions", "NatsStats"]


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Bounds of one back end. The defaults suit relays on one site."""

    #: How long the start waits for the first server that answers.
    connect_timeout: float = 5.0
    #: Pause between two attempts to reach a server again, give or take half.
    reconnect_pause: float = 0.25
    #: How often a server that says nothing is asked whether it lives; two silences end it.
    ping_interval: float = 5.0
    #: How long the stop waits for the last bytes to leave.
    stop_seconds: float = 1.0
    #: Bytes that wait for NATS from which on senders are slowed down.
    stall_mark: int = 8 * 1024 * 1024
    #: Bytes that wait for NATS past which nothing is taken: requests are answered
    #: "overloaded", broadcasts, events and answers are dropped and counted.
    waiting_limit: int = 64 * 1024 * 1024
    #: Bytes of requests kept until they are answered, so that another member can be
    #: asked when one is full; beyond, "overloaded" is passed on to the caller.
    kept_limit: int = 64 * 1024 * 1024
    #: Requests from other relays in hand at once; more are answered "overloaded".
    max_remote_calls: int = 200_000
    #: How long broadcasts and events wait for a lost connection before they are dropped.
    broadcast_patience: float = 2.0
    #: How long a relay keeps its place in a cluster whose last member here has left, and
    #: sends back what comes: NATS loses what is under way to a place that is given up, and
    #: the other relays have sent nothing to it for a while by then.
    linger: float = 0.1
    #: How often an end of a tunnel that has nothing to say says that it is there.
    keep_interval: float = 5.0
    #: An end of a tunnel that was not heard of for so long is given up.
    silence_limit: float = 15.0
    #: Bytes of received messages that may wait for the loop, for each subscription.
    pending_limit: int = 64 * 1024 * 1024


@dataclass(slots=True)
class NatsStats:
    """Totals since the back end was made; only `connected` and `server` go back."""

    connected: bool = False
    #: The server it is or was connected to, without credentials.
    server: str = ""
    #: Connections that were lost and made again.
    reconnects: int = 0
    messages_in: int = 0
    messages_out: int = 0
    #: Broadcasts, events and answers dropped because too much waited, or for too long.
    dropped: int = 0
    #: What was larger than NATS carries and refused before it was sent.
    too_large: int = 0
    #: Messages of relays that could not be read.
    unreadable: int = 0
    #: Times that NATS or the client library threw messages away: a slow consumer.
    slow_consumer: int = 0
    #: Requests that were handed to another relay because a member was full or gone.
    retried: int = 0
    #: Requests and tunnels to clusters without members.
    nobody: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)
