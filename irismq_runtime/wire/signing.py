"""Signatures: keyed BLAKE2b over the bytes of an envelope.

The signature is the last 32 bytes of an envelope, as the value of its last
header; it covers every byte before it, so nobody has to encode anything again
to check one. A key has an id, which is in the headers: a node signs with one
key and accepts all that it was given, so that keys can be changed one by one.
A signature proves who sent an envelope, not that it was sent only once.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from irismq_runtime.errors import BadSignature, ConfigError, NotSigned, UnknownKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MAC_SIZE", "Key", "KeyRing"]

MAC_SIZE: Final = 32
#: Keeps these signatures apart from any other use of the same secret.
_PERSON: Final = b"irismq-envelope1"
_MIN_SECRET: Final = 16


class Key:
    """One signing key: `id` is public, `secret` (16 to 64 bytes) is not.

    Raises `ConfigError` for an id that is not 1 to 32 printable ASCII
    characters, or a secret of another length.
    """

    __slots__ = ("_state", "id")

    def __init__(self, id: str, secret: bytes) -> None:  # noqa: A002  # what it is
        if not (1 <= len(id) <= 32 and id.isascii() and id.isprintable()):
            raise ConfigError("keys", f"{id!r:.40} is not a key id", "1 to 32 ASCII characters")
        if not _MIN_SECRET <= len(secret) <= blake2b.MAX_KEY_SIZE:
            problem = f"the secret of {id!r} has {len(secret)} bytes"
            raise ConfigError("keys", problem, "take 32 random bytes, as of secrets.token_bytes")
        self.id = id
        self._state = blake2b(key=secret, digest_size=MAC_SIZE, person=_PERSON)

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

    __slots__ = ("_keys", "signer")

    def __init__(self, keys: Iterable[Key]) -> None:
        ordered = list(keys)
        self._keys = {key.id: key for key in ordered}
        if not ordered or len(self._keys) != len(ordered):
            raise ConfigError("keys", "no key, or two keys with one id", "give each its own id")
        self.signer = ordered[0]

    @classmethod
    def of(cls, secrets: Mapping[str, bytes]) -> KeyRing:
        """A ring of secrets by key id; the first one signs."""
        return cls(Key(key_id, secret) for key_id, secret in secrets.items())

    def verify_untrusted(self, signed: bytes | memoryview, key_id: object, mac: object) -> None:
        """Check `mac` over `signed`.

        Raises `NotSigned`, `UnknownKey` or `BadSignature`. Takes the same time
        wherever a wrong signature differs.
        """
        if key_id is None or mac is None:
            raise NotSigned
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise UnknownKey(str(key_id)[:40])
        if not isinstance(mac, bytes) or not hmac.compare_digest(key.mac(signed), mac):
            raise BadSignature(key.id)

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self._keys)}>"
