"""Signatures: keyed BLAKE2b over the bytes of an envelope.

The signature is the last 32 bytes of an envelope, as the value of its last
header; it covers every byte before it, so nobody has to encode anything again
to check one. A key has an id, which is in the headers: a node signs with one
key and accepts all that it was given, so that keys can be changed one by one.

Version 1 proves who sent an envelope, and nothing else. Version 2 covers the place
that it was made for as well (a verb and the name of a topic or cluster, which are not
in the envelope: the receiver knows where it got it), and the time. What comes of the
time is decided behind this file. In a namespace the name is that on the wire, so what is
signed in one is not authentic in another; version 1, which says no place, is not used there.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from irismq_runtime.errors import BadSignature, ConfigError, NotSigned, UnknownKey
from irismq_runtime.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MAC_SIZE", "Key", "KeyRing", "Place", "Verb"]

#: What is done with an envelope at the topic or cluster for which it is made. "open" and
#: "accept" are the two ends of a tunnel to a cluster.
Verb: TypeAlias = Literal["store", "request", "broadcast", "publish", "reply", "open", "accept"]
#: What version 2 signs beside the envelope: what is done with it at which topic or cluster.
Place: TypeAlias = tuple[Verb, str]

MAC_SIZE: Final = 32
#: Keep these signatures apart from any other use of the same secret.
_PERSON: Final = b"irismq-envelope1"
_PERSON_2: Final = b"irismq-envelope2"
#: Places whose beginnings are kept hashed.
_PLACES: Final = 1024
_MIN_SECRET: Final = 16


class Key:
    """One signing key: `id` is public, `secret` (16 to 64 bytes) is not.

    `namespace`: in which the names of places are.

    Raises `ConfigError` for an id that is not 1 to 32 printable ASCII
    characters, or a secret of another length.
    """

    __slots__ = ("_namespace", "_places", "_sealing", "_state", "id")

    def __init__(
        self,
        id: str,  # noqa: A002  # what it is
        secret: bytes,
        namespace: Namespace | None = None,
    ) -> None:
        if not (1 <= len(id) <= 32 and id.isascii() and id.isprintable()):
            raise ConfigError("keys", f"{id!r:.40} is not a key id", "1 to 32 ASCII characters")
        if not _MIN_SECRET <= len(secret) <= blake2b.MAX_KEY_SIZE:
            problem = f"the secret of {id!r} has {len(secret)} bytes"
            raise ConfigError("keys", problem, "take 32 random bytes, as of secrets.token_bytes")
        self.id = id
        self._state = blake2b(key=secret, digest_size=MAC_SIZE, person=_PERSON)
        self._sealing = blake2b(key=secret, digest_size=MAC_SIZE, person=_PERSON_2)
        self._places: dict[Place, blake2b] = {}
        self._namespace = namespace or Namespace()

    def seal(self, place: Place, data: bytes | memoryview) -> bytes:
        """The signature of version 2, 32 bytes: of `data` at `place`."""
        state = self._places.get(place)
        state = self._begun(place) if state is None else state.copy()
        state.update(data)
        return state.digest()

    def _begun(self, place: Place) -> blake2b:
        """What each signature at `place` begins with, hashed; it is kept for the next one."""
        if len(self._places) >= _PLACES:
            self._places.clear()
        verb, name = place
        names = self._namespace
        name = names.topic(name) if verb == "store" else names.cluster(name)
        text = f"{verb} {name}".encode("utf-8", "surrogatepass")
        state = self._sealing.copy()
        state.update(len(text).to_bytes(4, "big") + text)
        self._places[place] = state
        return state.copy()

    def mac(self, data: bytes | memoryview) -> bytes:
        """The signature of `data`: 32 bytes."""
        state = self._state.copy()
        state.update(data)
        return state.digest()

    def __repr__(self) -> str:
        return f"<Key {self.id!r}>"


class KeyRing:
    """The keys that a node accepts; the first one is what it signs with.

    Raises `ConfigError` when there is none, or two have one id.
    """

    __slots__ = ("by_id", "old_until", "signer")

    def __init__(self, keys: Iterable[Key], *, old_until: float = 0.0) -> None:
        #: Until when (seconds since 1970) envelopes that are signed in version 1 alone are
        #: taken, and both versions written.
        self.old_until = old_until
        ordered = list(keys)
        self.by_id = {key.id: key for key in ordered}
        if not ordered or len(self.by_id) != len(ordered):
            raise ConfigError("keys", "no key, or two keys with one id", "give each its own id")
        self.signer = ordered[0]

    @classmethod
    def of(
        cls,
        secrets: Mapping[str, bytes],
        *,
        old_until: float = 0.0,
        namespace: Namespace | None = None,
    ) -> KeyRing:
        """A ring of secrets by key id; the first one signs, for places in `namespace`."""
        keys = (Key(key_id, secret, namespace) for key_id, secret in secrets.items())
        return cls(keys, old_until=old_until)

    def verify_untrusted(self, signed: bytes | memoryview, key_id: object, mac: object) -> None:
        """Check `mac` over `signed`.

        Raises `NotSigned`, `UnknownKey` or `BadSignature`. Takes the same time
        wherever a wrong signature differs.
        """
        key = self.key_untrusted(key_id, mac)
        if not isinstance(mac, bytes) or not hmac.compare_digest(key.mac(signed), mac):
            raise BadSignature(key.id)

    def key_untrusted(self, key_id: object, mac: object) -> Key:
        """The key `key_id`. Raises `NotSigned` without one or without `mac`, or `UnknownKey`."""
        if key_id is None or mac is None:
            raise NotSigned
        key = self.by_id.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise UnknownKey(str(key_id)[:40])
        return key

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self.by_id)}>"
