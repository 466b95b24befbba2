"""The state of one activation in memory: the bytes after its last unit, and what code sees of it.

    in its unit      the live object, read from the bytes when it is first wanted
    in other code    a copy that stays as it is: a change of it is found when it is read again

What is not different from the bytes is no change. Knows no unit and no store. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irismq_runtime.durability.errors import NotInUnit
from irismq_runtime.ports.state_store import END

if TYPE_CHECKING:
    from irismq_runtime.durability.state_codec import StateCodec
    from irismq_runtime.ports.state_store import StateChange

__all__ = ["HeldState"]


class HeldState:
    """See the module.

    Args:
        address: Whose it is, for texts.
        codec: Writes and reads it; None: the actor has none.
    """

    __slots__ = ("_address", "_bytes", "_codec", "_copy", "_live")

    def __init__(self, address: str, codec: StateCodec | None) -> None:
        self._address = address
        self._codec = codec
        self._bytes: bytes | None = None
        #: The state after the last unit; None: to be read from `_bytes`.
        self._live: object | None = None
        #: The bytes that it was read from, what code outside of units sees, and the bytes of that:
        #: a set, or a default that is never the same twice, need not have the bytes again.
        self._copy: tuple[bytes | None, object, bytes] | None = None

    def live(self) -> Any:
        """The state as the unit's handler sees it."""
        if self._live is None:
            self._live = self._need_codec().decode(self._bytes)
        return self._live

    def copy(self) -> Any:
        """The state as all other code sees it. Raises `NotInUnit` for one that was changed."""
        codec, data = self._need_codec(), self._bytes
        if self._copy is not None:
            of, copy, encoded = self._copy
            if codec.encode(copy) != encoded:
                self._copy = None
                raise NotInUnit("a change of self.state")
            if of is data:
                return copy
        copy = codec.decode(data)
        self._copy = (data, copy, codec.encode(copy))
        return copy

    def put(self, state: object) -> None:
        """Put another state in the place of the present one. Raises TypeError."""
        if self._codec is None or not self._codec.takes(state):
            raise TypeError(f"self.state of {self._address!r} cannot be a {type(state)!r}")
        self._live = state

    def change(self) -> bytes | None:
        """The bytes of the state, if they are others than before; None: they are not.

        Raises `EncodeError`, `StateTooLarge`.
        """
        if self._live is None or self._codec is None:
            return None
        data = self._codec.encode(self._live)
        return data if data != (self._bytes or self._codec.encode(self._codec.new())) else None

    def advance(self, change: StateChange) -> None:
        """A unit has returned that has this change."""
        if change == END:
            self._bytes = self._live = None
        elif isinstance(change, bytes):
            self._bytes = change

    def restore(self) -> None:
        """Forget what was done to the live state since the last unit returned."""
        self._live = None

    def load(self, data: bytes | None) -> None:
        """This is what is stored. Raises `StateUnreadable`."""
        if self._codec is not None:
            self._codec.decode(data)
        self._bytes = data
        self._live = None

    def _need_codec(self) -> StateCodec:
        if self._codec is None:
            raise AttributeError(
                f"the actor of {self._address!r} declares no state: write `state: TheType` in "
                "its class"
            )
        return self._codec
