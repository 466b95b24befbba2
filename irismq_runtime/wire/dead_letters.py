"""Dead letters: a message that was given up, with the reason, as it is stored.

The record is an envelope whose body is a msgpack map, checked field by field on
arrival. One that does not fit into what a broker takes is made smaller in steps;
the message itself is never cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from actors.texts import sendable
from irismq_runtime.errors import DecodeError, MessageTooLarge
from irismq_runtime.wire.entries import refuse_twice_untrusted
from irismq_runtime.wire.envelope import (
    Envelope,
    Foreign,
    Kind,
    decode_envelope_untrusted,
    encode_envelope,
)
from irismq_runtime.wire.ids import ID_SIZE, new_id
from irismq_runtime.wire.limits import DEFAULT_LIMITS, WireLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.wire.signing import Key

__all__ = [
    "DeadRecord",
    "decode_dead_untrusted",
    "encode_dead",
]

_Count = Annotated[int, msgspec.Meta(ge=0)]


class DeadRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that was given up, in the topic `<address>.dead`.

    `body`: the whole message as it was received, envelope or foreign bytes, so
    that a replay publishes it unchanged. `id`: its envelope id, empty when it
    had none that could be read. `attempts`: deliveries that counted, the last included.
    `reason`: for a person. `error`, `traceback`: of the last failure, if that
    was one. `time`: unix seconds. `node`: who gave it up. `channel`: of a durable
    event, which of the topic's channels gave it up; "" for what was told.
    """

    body: bytes
    address: str = ""
    id: bytes = b""
    attempts: _Count = 0
    reason: str = ""
    error: str = ""
    traceback: str = ""
    time: float = 0.0
    node: str = ""
    channel: str = ""

    def message(self, limits: WireLimits = DEFAULT_LIMITS) -> Envelope | Foreign:
        """The message in `body`, with its headers. Raises `DecodeError`."""
        return decode_envelope_untrusted(self.body, limits=limits)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(DeadRecord).decode
#: Characters that a reason keeps in a record that had to be made smaller.
_SHORT_REASON: Final = 200


def encode_dead(
    record: DeadRecord,
    *,
    max_size: int,
    signer: Key | None = None,
    sealed: Callable[[Envelope, WireLimits], bytes] | None = None,
) -> bytes:
    """Return the bytes to store for a record.

    Args:
        record: what was given up, and why.
        max_size: bytes that the broker takes in a message; kept where that can be.
        signer: signs it in version 1.
        sealed: encodes and signs an envelope within limits, instead of `signer`.

    When the whole record is too large, the traceback goes, then the reason is
    shortened; when even that is too large, the message itself is what is
    stored. Never raises: the message was received, so it fits, and texts that
    UTF-8 has no form for are escaped.
    """
    texts = ("address", "reason", "error", "traceback", "node", "channel")
    record = msgspec.structs.replace(
        record, **{name: sendable(getattr(record, name)) for name in texts}
    )
    limits = WireLimits(size=max(max_size, 1024))
    short = msgspec.structs.replace(
        record,
        traceback="",
        error=record.error[:_SHORT_REASON],
        reason=record.reason[:_SHORT_REASON],
    )
    for candidate in (record, msgspec.structs.replace(record, traceback=""), short):
        message_id = record.id if len(record.id) == ID_SIZE else new_id()
        envelope = Envelope(Kind.DEAD, message_id, "", _encode(candidate), {})
        try:
            if sealed is not None:
                return sealed(envelope, limits)
            return encode_envelope(envelope, limits=limits, signer=signer)
        except MessageTooLarge:
            continue
    return record.body


def decode_dead_untrusted(data: bytes, *, max_size: int) -> DeadRecord:
    """Return the record in a stored message; one without a record gives one of it alone.

    Args:
        data: the message as stored.
        max_size: bytes that the broker takes in a message.

    Raises:
        DecodeError: an envelope of kind DEAD that is malformed.
    """
    try:
        stored = decode_envelope_untrusted(data, limits=WireLimits(size=max(max_size, 1024)))
    except DecodeError:
        return DeadRecord(body=data)
    if isinstance(stored, Foreign):
        return DeadRecord(body=data)
    if stored.kind is not Kind.DEAD:
        return DeadRecord(body=data, id=stored.id)
    try:
        refuse_twice_untrusted(stored.body)
        return _decode(stored.body)
    except Exception as error:  # msgspec's errors and UnicodeDecodeError
        raise DecodeError(f"malformed dead-letter record ({error})"[:300]) from error
