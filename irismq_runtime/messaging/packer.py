"""Messages to envelope bytes and back, for one node: ids, numbers, signatures.

The only place of a node where `wire` is called. Holds no connection and no loop;
safe to use from every thread. Order going out: value -> body (`Serializer`) ->
envelope -> bytes (signed when the node has a key). Order coming in: bytes ->
envelope, signature checked -> value, validated against its registered type. The
two halves of coming in are apart because the envelope decides first (attempts,
due time, expiry, duplicates) and many a body is never read.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from irismq_runtime.errors import DecodeError, UnknownType
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    check_headers,
    decode_envelope_untrusted,
    encode_checked,
    encode_dead,
    encode_envelope,
    new_id,
)

if TYPE_CHECKING:
    from irismq_runtime.wire import DeadRecord, Foreign, KeyRing, Kind, Limits, Serializer

__all__ = ["Packer"]


class Packer:
    """Packs and opens the envelopes of the node `node_id`.

    `keys`: sign with the first, accept each of them, refuse the unsigned.
    """

    __slots__ = (
        "_count",
        "_keys",
        "_limits",
        "_signer",
        "dead_size",
        "node_id",
        "plain_unknown",
        "serializer",
    )

    def __init__(
        self,
        node_id: str,
        serializer: Serializer,
        *,
        limits: Limits = DEFAULT_LIMITS,
        keys: KeyRing | None = None,
    ) -> None:
        self.node_id = node_id
        self.serializer = serializer
        self._limits = limits
        self._keys = keys
        self._signer = None if keys is None else keys.signer
        #: Read messages of unregistered types as the plain values they hold.
        self.plain_unknown = False
        #: The largest body that the broker takes; known once it is connected.
        self.dead_size = 1024 * 1024
        self._count = itertools.count(1)

    def new(
        self, kind: Kind, message: object, headers: dict[str, object], codec: str | None = None
    ) -> tuple[bytes, bytes, str]:
        """Pack `message` under a new id; returns (id, bytes, type name).

        `headers` is completed here ("n", "q", "c") and must not be used again.
        Raises `EncodeError` and `MessageTooLarge`.
        """
        if headers:
            check_headers(headers)  # what follows is ours
        headers["n"] = self.node_id
        headers["q"] = next(self._count)
        envelope_id = new_id()
        type_name, body, codec_name = self.serializer.dump(message, codec)
        if codec_name:
            headers["c"] = codec_name
        envelope = Envelope(kind, envelope_id, type_name, body, headers)
        return envelope_id, encode_checked(envelope, self._limits, self._signer), type_name

    def answer(
        self,
        kind: Kind,
        envelope_id: bytes,
        message: object,
        headers: dict[str, object] | None = None,
        codec: str | None = None,
    ) -> bytes:
        """Pack `message` under the id of the envelope that it answers. Raises as `new`."""
        if headers:
            check_headers(headers)
        elif headers is None:
            headers = {}
        type_name, body, codec_name = self.serializer.dump(message, codec)
        if codec_name:
            headers["c"] = codec_name
        envelope = Envelope(kind, envelope_id, type_name, body, headers)
        return encode_checked(envelope, self._limits, self._signer)

    def directed(self, data: bytes, urn: str) -> bytes:
        """One of this node's own envelopes again, for the actor `urn` of a private cluster.

        Raises `MessageTooLarge` when the name does not fit any more.
        """
        envelope = decode_envelope_untrusted(data, self._limits)
        if not isinstance(envelope, Envelope):
            raise DecodeError("no envelope")
        return self.raw(msgspec.structs.replace(envelope, headers={**envelope.headers, "to": urn}))

    def raw(self, envelope: Envelope) -> bytes:
        """Encode an envelope as it is, signed by this node."""
        return encode_envelope(envelope, limits=self._limits, signer=self._signer)

    def dead(self, record: DeadRecord) -> bytes:
        """Pack a dead-letter record, made smaller until the broker takes it."""
        return encode_dead(record, max_size=self.dead_size, signer=self._signer)

    def open_untrusted(self, data: bytes) -> Envelope | Foreign:
        """Read the envelope of `data`. Raises `DecodeError` (also when not signed)."""
        return decode_envelope_untrusted(data, self._limits, self._keys)

    def load_untrusted(self, envelope: Envelope) -> object:
        """Read the message of an envelope. Raises `DecodeError`, `ValidationError`."""
        codec = envelope.headers.get("c")
        try:
            return self.serializer.load(envelope.type, envelope.body, codec)
        except UnknownType:
            if not self.plain_unknown:
                raise
            return self.serializer.load("", envelope.body, codec)
