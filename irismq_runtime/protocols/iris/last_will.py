"""A last will: what a relay of ours broadcasts for a client whose connections are lost.

Not part of Iris. A client leaves its will with a reply that answers nothing: its id is
one that no relay ever gives a request, so a relay that knows no wills drops it, as the
protocol wants of a reply that comes too late, and no other client ever sees it. The
body is

    16 bytes     the token: connections that leave wills under the same one are one client
    string       the cluster
    binary       the message; an empty one takes the will back

MQTT knows the same under the same name. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from irismq_runtime.protocols.iris.packets import ClientReply
from irismq_runtime.protocols.iris.primitives import (
    MAX_VARINT,
    IrisProtocolError,
    encode_binary,
    encode_string,
    read_varint_untrusted,
)

__all__ = ["TOKEN_BYTES", "WILL_ID", "LastWill", "last_will_packet", "last_will_untrusted"]

#: The id of the reply that brings a will: a relay counts requests up from 0.
WILL_ID: Final = MAX_VARINT
TOKEN_BYTES: Final = 16
#: Bytes of a will that a relay keeps, at most.
_MOST: Final = 16 * 1024
_LONGEST_NAME: Final = 4 * 1024


class LastWill(NamedTuple):
    """What is to be broadcast, and for whom. `message`: empty when it is taken back."""

    token: bytes
    cluster: str
    message: bytes


def last_will_packet(will: LastWill) -> ClientReply:
    """The packet that leaves `will` with a relay. Raises `IrisProtocolError` (ours)."""
    body = will.token + encode_string(will.cluster) + encode_binary(will.message)
    if len(will.token) != TOKEN_BYTES or not will.cluster or len(body) > _MOST:
        raise IrisProtocolError(
            f"a last will has a token of {TOKEN_BYTES} bytes, a cluster, and {_MOST:,} bytes "
            "in all at most",
            ours=True,
        )
    return ClientReply(WILL_ID, body, None)


def last_will_untrusted(reply: ClientReply) -> LastWill:
    """Read the will that a client leaves. Raises `IrisProtocolError`."""
    body = reply.body
    if body is None or len(body) > _MOST:
        raise IrisProtocolError(f"a last will is at most {_MOST:,} bytes, and no fault")
    try:
        name, at = _binary_untrusted(body, TOKEN_BYTES, _LONGEST_NAME)
        message, end = _binary_untrusted(body, at, _MOST)
    except IndexError:
        raise IrisProtocolError("a last will ends too early") from None
    if end != len(body) or not name:
        raise IrisProtocolError("a last will is a token, the name of a cluster and a message")
    cluster = name.decode("utf-8", "surrogateescape")
    return LastWill(body[:TOKEN_BYTES], cluster, message)


def _binary_untrusted(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """The binary at `at` and the position after it. Raises `IndexError` when it is cut."""
    length, begin = read_varint_untrusted(data, at)
    end = begin + length
    if length > most:
        raise IrisProtocolError(f"a part of a last will has {length:,} bytes, over {most:,}")
    if end > len(data):
        raise IndexError
    return data[begin:end], end
