"""States to the bytes that a store keeps, and back.

A stored state says which type it is of, so that what reads it years later need not guess:
one msgpack array of the type's name, its version, the name of the body's codec, and the body
as a message of that type has it on the wire. An older version is upgraded when it is read,
step by step; a newer one is not read at all, since writing it back would lose what this code
does not know. Knows no store and no actor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.messages import message_aliases, message_name, message_version, upgrade_steps
from actors.texts import line_of
from irismq_runtime.durability.errors import StateTooLarge, StateUnreadable
from irismq_runtime.errors import DecodeError, EncodeError, MessageTooLarge

if TYPE_CHECKING:
    from irismq_runtime.wire import Serializer

__all__ = ["StateCodec", "as_it_is_now"]

#: Values that nobody can change.
_FIXED: Final = frozenset({type(None), bool, int, float, str, bytes})

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, str, bytes]).decode


def as_it_is_now(value: Any, serializer: Serializer) -> Any:
    """An answer as it is now: what it holds may be a part of a state, which goes on."""
    if type(value) in _FIXED:
        return value
    try:
        return serializer.load(*serializer.dump(value))
    except (EncodeError, MessageTooLarge):  # no part of a state then
        return value


class StateCodec:
    """Writes and reads the states of one address.

    Args:
        serializer: That of the node, which knows its refs.
        kind: The type of the state.
        owner: Whose state it is, for texts.
        limit: Bytes that a stored state may have.
    """

    __slots__ = ("_aliases", "_kind", "_limit", "_name", "_owner", "_serializer", "_version")

    def __init__(self, serializer: Serializer, kind: type, owner: str, limit: int) -> None:
        self._serializer = serializer
        self._kind = kind
        self._name = message_name(kind)
        self._aliases = message_aliases(kind)
        self._version = message_version(kind)
        self._owner = owner
        self._limit = limit

    def new(self) -> object:
        """A state that begins with the defaults."""
        return self._kind()

    def takes(self, state: object) -> bool:
        """Whether `state` is of the type."""
        return type(state) is self._kind

    def encode(self, state: object) -> bytes:
        """Return the bytes of `state`.

        Raises:
            EncodeError: Something in it cannot be written.
            StateTooLarge: It is over the limit.
        """
        name, body, codec = self._serializer.dump(state)
        data = _encode((name, self._version, codec or "", body))
        if len(data) > self._limit:
            raise StateTooLarge(self._owner, len(data), self._limit)
        return data

    def decode(self, data: bytes | None) -> object:
        """Return the state in `data`, a new one for None. Raises `StateUnreadable`."""
        if data is None:
            return self._kind()
        try:
            name, version, codec, body = _decode(data)
            if version != self._version:
                body, codec = self._upgraded(name, version, body, codec)
            state = self._serializer.load(name, body, codec or None)
        except (DecodeError, msgspec.DecodeError) as error:
            raise StateUnreadable(self._owner, str(error)) from error
        if not self.takes(state):
            raise StateUnreadable(self._owner, f"it is of the type {name!r}, not {self._name!r}")
        return state

    def _upgraded(self, name: str, version: int, body: bytes, codec: str) -> tuple[bytes, str]:
        """The body in the version of now. Raises `StateUnreadable`, `DecodeError`."""
        if version > self._version:
            reason = f"it has version {version}, and this code knows {self._version}"
            raise StateUnreadable(self._owner, reason, newer=True)
        steps = upgrade_steps(self._name if self._name and name in self._aliases else name)
        if not any(version <= each < self._version for each in steps):
            return body, codec
        fields: Any = self._serializer.load("", body, codec or None)
        for each in range(version, self._version):
            if (step := steps.get(each)) is not None:
                try:
                    fields = step(fields)
                except BaseException as error:  # it is the user's, and may raise anything
                    reason = f"its upgrade from version {each} failed: {line_of(error)}"
                    raise StateUnreadable(self._owner, reason) from error
        try:
            _, upgraded, chosen = self._serializer.dump(fields)
        except (EncodeError, MessageTooLarge) as error:
            reason = f"what its upgrade from version {version} made cannot be kept: {error}"
            raise StateUnreadable(self._owner, reason) from error
        return upgraded, chosen or ""
