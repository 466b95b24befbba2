"""The statistics of a client or member, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Now, and since the connection was made."""

    #: Our requests that wait for an answer, and their bytes.
    pending: int
    pending_bytes: int
    #: Our requests that were refused for lack of room, and that timed out.
    overloaded: int
    timed_out: int
    #: Broadcasts and events that were not sent, since the relay did not read them in time.
    dropped: int
    #: Answers after the deadline; answers that nobody here waits for.
    late_replies: int
    unwanted_replies: int
    #: Requests to this member: in hand, refused as overloaded, given up by
    #: their caller, and answered when it was too late.
    in_hand: int
    refused: int
    expired: int
    answered_too_late: int
    #: Topics subscribed or about to change, and events nobody listened to.
    topics: int
    unheard_events: int
    #: Tunnel ends, inbound ones not accepted, and ones closed for want of a caller.
    tunnels: int
    tunnels_declined: int
    tunnels_orphaned: int
    #: TCP connections that stood, the present one included.
    connections: int
