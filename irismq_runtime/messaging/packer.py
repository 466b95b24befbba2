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
import math
import time
from typing import TYPE_CHECKING, Final

import msgspec

from irismq_runtime.errors import DecodeError, NotSigned, SignatureError, UnknownType
from irismq_runtime.messaging.freshness import SignatureMemory, check_age
from irismq_runtime.messaging.names import dead_topic
from irismq_runtime.wire import (
    DEFAULT_LIMITS,
    Envelope,
    Kind,
    check_headers,
    decode_envelope_untrusted,
    encode_checked,
    encode_dead,
    encode_envelope,
    encode_sealed,
    is_signed,
    new_id,
    verify_sealed_untrusted,
    without_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.wire import (
        DeadRecord,
        Foreign,
        KeyRing,
        Place,
        Serializer,
        Verb,
        WireLimits,
    )

__all__ = ["Packer"]


#: What an ask is answered with.
_ANSWERS: Final = (Kind.REPLY, Kind.ERROR)
#: How the answers to an ask of everybody come.
_TAKES_ANSWERS: Final = frozenset({"request", "broadcast"})


class Packer:
    """Packs and opens the envelopes of the node `node_id`.

    `keys`: sign with the first, accept each of them, refuse the unsigned. `window`: for
    how many seconds a signature is good. `now`: seconds since 1970. `repeats`: seconds for
    which what is stored may come again long after it was handled, which it says then; 0: for an
    hour at most. With keys, each
    envelope is for one `verb` at the topic or cluster `name`, and is opened as such; an
    answer is for the cluster that was asked, or at which the asker takes answers.
    """

    __slots__ = (
        "_count",
        "_keys",
        "_limits",
        "_now",
        "_repeats",
        "_window",
        "dead_size",
        "node_id",
        "serializer",
        "unknown_as_plain",
    )

    def __init__(
        self,
        node_id: str,
        serializer: Serializer,
        *,
        limits: WireLimits = DEFAULT_LIMITS,
        keys: KeyRing | None = None,
        window: float = 300.0,
        unknown_as_plain: bool = False,
        now: Callable[[], float] = time.time,
        repeats: int = 0,
    ) -> None:
        self.node_id = node_id
        self.serializer = serializer
        self._limits = limits
        self._keys = keys
        self._window = window
        self._now = now
        self._repeats = repeats
        #: Read messages of unregistered types as the plain values they hold.
        self.unknown_as_plain = unknown_as_plain
        #: The largest body that the broker takes; known once it is connected.
        self.dead_size = 1024 * 1024
        self._count = itertools.count(1)

    @property
    def signs(self) -> bool:
        """Whether there are keys."""
        return self._keys is not None

    @property
    def good_for(self) -> float:
        """Seconds for which what is packed now may be taken; without keys for ever."""
        return math.inf if self._keys is None else self._window

    def signed_ago(self, envelope: Envelope) -> float:
        """Seconds since `envelope` was signed; 0 if it does not say so, as without keys."""
        signed = envelope.headers.get("w")
        return self._now() - signed / 1000 if self._keys and isinstance(signed, int) else 0.0

    def signature_memory(self) -> SignatureMemory | None:
        """What one membership remembers of signatures; None without keys."""
        return None if self._keys is None else SignatureMemory(self._window)

    def new(  # noqa: PLR0917  # on every tell and ask, where keywords cost
        self,
        kind: Kind,
        message: object,
        headers: dict[str, object],
        codec: str | None = None,
        verb: Verb = "request",
        name: str = "",
    ) -> tuple[bytes, bytes, str]:
        """Pack `message` under a new id; returns (id, bytes, type name).

        `headers` is completed here ("n", "q", "r", "c") and must not be used again.
        Raises `EncodeError` and `MessageTooLarge`.
        """
        if headers:
            check_headers(headers)  # what follows is ours
        headers["n"] = self.node_id
        headers["q"] = next(self._count)
        if self._repeats and verb == "store":
            headers["r"] = self._repeats
        envelope_id = new_id()
        type_name, body, codec_name = self.serializer.dump(message, codec)
        if codec_name:
            headers["c"] = codec_name
        envelope = Envelope(kind, envelope_id, type_name, body, headers)
        if self._keys is None:
            return envelope_id, encode_checked(envelope, self._limits, None), type_name
        data = encode_sealed(envelope, self._limits, self._keys, (verb, name), self._now())
        return envelope_id, data, type_name

    def named(  # noqa: PLR0917  # as `new`
        self,
        envelope_id: bytes,
        kind: Kind,
        message: object,
        headers: dict[str, object],
        codec: str | None,
        topic: str,
    ) -> bytes:
        """Pack `message` under an id that its sender has chosen, to be stored in `topic`.

        `headers` is completed as in `new`, which says what this raises.
        """
        if headers:
            check_headers(headers)
        headers["n"] = self.node_id
        headers["q"] = next(self._count)
        if self._repeats:  # the longest there is: no less than what its sender may have said
            headers["r"] = self._repeats
        type_name, body, codec_name = self.serializer.dump(message, codec)
        if codec_name:
            headers["c"] = codec_name
        return self.raw(Envelope(kind, envelope_id, type_name, body, headers), "store", topic)

    def unsigned(
        self,
        kind: Kind,
        message: object,
        headers: dict[str, object],
        codec: str | None = None,
        last: tuple[str, object] | None = None,
    ) -> tuple[bytes, bytes]:
        """Pack `message` under a new id, to be kept and sent later (`leaving`): (id, bytes).

        `headers` is completed as in `new`, which says what this raises. `last`: one more header,
        with whose value the bytes end.
        """
        if headers:
            check_headers(headers)
        headers["n"] = self.node_id
        headers["q"] = next(self._count)
        envelope_id = new_id()
        type_name, body, codec_name = self.serializer.dump(message, codec)
        if codec_name:
            headers["c"] = codec_name
        if last is not None:
            headers[last[0]] = last[1]
        envelope = Envelope(kind, envelope_id, type_name, body, headers)
        return envelope_id, encode_checked(envelope, self._limits, None)

    def leaving(
        self, data: bytes, topic: str, headers: dict[str, object], without: str = ""
    ) -> bytes:
        """What `unsigned` has made, as it goes to `topic` now: with `headers`, and signed.

        `without`: a header that it must not have. Bytes that are no envelope stay as they are.
        Raises `DecodeError` for what newer code has made.
        """
        if self._keys is None and not headers:
            return data
        envelope = decode_envelope_untrusted(data, self._limits)
        if not isinstance(envelope, Envelope):
            return data
        kept = {name: value for name, value in envelope.headers.items() if name != without}
        return self.raw(
            msgspec.structs.replace(envelope, headers={**kept, **headers}), "store", topic
        )

    def answer(  # noqa: PLR0917  # on every answer, where keywords cost
        self,
        kind: Kind,
        envelope_id: bytes,
        message: object,
        headers: dict[str, object] | None = None,
        codec: str | None = None,
        verb: Verb = "reply",
        name: str = "",
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
        if self._keys is None:
            return encode_checked(envelope, self._limits, None)
        return encode_sealed(envelope, self._limits, self._keys, (verb, name), self._now())

    def directed(self, data: bytes, urn: str, name: str) -> bytes:
        """One of this node's own asks again, for the actor `urn` of the private cluster `name`.

        Raises `MessageTooLarge` when the name does not fit any more.
        """
        envelope = decode_envelope_untrusted(data, self._limits)
        if not isinstance(envelope, Envelope):
            raise DecodeError("no envelope")
        headers = {**envelope.headers, "to": urn}
        return self.raw(msgspec.structs.replace(envelope, headers=headers), "request", name)

    def raw(self, envelope: Envelope, verb: Verb, name: str) -> bytes:
        """Encode an envelope as it is, signed by this node."""
        if self._keys is None:
            return encode_envelope(envelope, limits=self._limits)
        check_headers(envelope.headers)
        envelope = msgspec.structs.replace(envelope, headers=without_signature(envelope.headers))
        return encode_sealed(envelope, self._limits, self._keys, (verb, name), self._now())

    def renewed(
        self,
        data: bytes,
        topic: str,
        to: str,
        change: Callable[[Envelope], Envelope] | None = None,
    ) -> bytes:
        """What was stored in `topic`, to be stored in the topic `to`: with keys, signed anew.

        What cannot be read stays as it is. `change`: makes another of what is authentic.
        Raises `SignatureError` for what a node with the keys that it takes would refuse: it
        is not authentic in `topic`, or it is signed and there are no keys here.
        """
        keys = self._keys
        try:
            envelope = decode_envelope_untrusted(data, self._limits)
        except DecodeError:
            return data
        inside = envelope if isinstance(envelope, Envelope) else None
        if keys is None:
            if inside is not None and is_signed(inside.headers):
                raise SignatureError("signed, and there is no key here to sign it anew")
            if inside is None or change is None:
                return data
            return self.raw(change(inside), "store", to)
        if inside is None:
            raise NotSigned
        verify_sealed_untrusted(data, inside.headers, keys, ("store", topic), self._now)
        return self.raw(inside if change is None else change(inside), "store", to)

    def dead(self, record: DeadRecord) -> bytes:
        """Pack a dead-letter record, made smaller until the broker takes it."""
        keys = self._keys
        if keys is None:
            return encode_dead(record, max_size=self.dead_size)
        place: Place = ("store", dead_topic(record.address))

        def sealed(envelope: Envelope, limits: WireLimits) -> bytes:
            return encode_sealed(envelope, limits, keys, place, self._now())

        return encode_dead(record, max_size=self.dead_size, sealed=sealed)

    def open_untrusted(
        self,
        data: bytes,
        verb: Verb = "request",
        name: str = "",
        signatures: SignatureMemory | None = None,
        stored: float | None = None,
    ) -> Envelope | Foreign:
        """Read the envelope of `data`. Raises `DecodeError` (also when not signed).

        `signatures`: those that the membership has taken. `stored`: when the broker took it, in
        seconds since 1970. Without both, its age does not matter: an answer is for one ask.
        """
        if self._keys is None:
            return decode_envelope_untrusted(data, self._limits)
        return self._open_signed_untrusted(self._keys, data, verb, name, signatures, stored)

    def _open_signed_untrusted(  # noqa: PLR0917  # on the hot path, where keywords cost
        self,
        keys: KeyRing,
        data: bytes,
        verb: Verb,
        name: str,
        signatures: SignatureMemory | None,
        stored: float | None,
    ) -> Envelope:
        envelope = decode_envelope_untrusted(data, self._limits)
        if type(envelope) is not Envelope:
            raise NotSigned
        answers = verb == "reply" or (verb in _TAKES_ANSWERS and envelope.kind in _ANSWERS)
        place: Place = ("reply" if answers else verb, name)
        headers = envelope.headers
        seal = verify_sealed_untrusted(data, headers, keys, place, self._now, stored)
        if seal is not None and not answers:
            if signatures is not None:
                signatures.check(seal, headers["w"], self._now())
            elif stored is not None:
                signed = headers["w"]
                if "t" in headers:  # it is stored again, in hops, until it is due
                    signed = max(signed, min(headers["t"], int(stored * 1000)))
                if abs(stored - signed / 1000) > self._window:
                    check_age(signed, stored, self._window)
        return envelope

    def load_untrusted(self, envelope: Envelope) -> object:
        """Read the message of an envelope. Raises `DecodeError`, `ValidationError`."""
        codec = envelope.headers.get("c")
        try:
            return self.serializer.load(envelope.type, envelope.body, codec)
        except UnknownType:
            if not self.unknown_as_plain:
                raise
            return self.serializer.load("", envelope.body, codec)
