"""The state of one activation in memory: the bytes after its last unit, and what code sees of it.

    in its unit      the live object, read from the bytes when it is first wanted
    in other code    a copy that stays as it is: a change of it is found when it is read again

Beside it stand the reminders of the actor (reminder_book), which change and are undone with it.
What is not different from the bytes is no change. Knows no unit and no store. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from irismq_runtime.durability.errors import NotInUnit, StateUnreadable
from irismq_runtime.durability.reminder_book import ReminderBook, joined, split
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

    __slots__ = ("_address", "_book", "_book_bytes", "_bytes", "_codec", "_copy", "_live")

    def __init__(self, address: str, codec: StateCodec | None) -> None:
        self._address = address
        self._codec = codec
        self._bytes: bytes | None = None
        #: The reminders after the last unit, and as the running unit has them.
        self._book_bytes = b""
        self._book: ReminderBook | None = None
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
        state = self._state_change()
        if self._book is None:
            return state if state is None else joined(state, self._book_bytes)
        book = self._book.encode()
        if state is None and book == self._book_bytes:
            return None
        return joined(self._bytes if state is None else state, book)

    def _state_change(self) -> bytes | None:
        if self._live is None or self._codec is None:
            return None
        data = self._codec.encode(self._live)
        return data if data != (self._bytes or self._codec.encode(self._codec.new())) else None

    def book(self) -> ReminderBook:
        """The reminders as the running unit sees them."""
        if self._book is None:
            self._book = ReminderBook(self._book_bytes)
        return self._book

    def kept_book(self) -> ReminderBook:
        """The reminders after the last unit, for who changes none."""
        return ReminderBook(self._book_bytes)

    def advance(self, change: StateChange) -> None:
        """A unit has returned that has this change."""
        if change == END:
            self._bytes = self._live = None
            self._book_bytes = b""
        elif isinstance(change, bytes):
            self._bytes, self._book_bytes = split(change)
        self._book = None

    def restore(self) -> None:
        """Forget what was done to the live state since the last unit returned."""
        self._live = self._book = None

    def load(self, data: bytes | None) -> None:
        """This is what is stored. Raises `StateUnreadable`."""
        try:
            state, book = split(data)
            ReminderBook(book)
        except msgspec.DecodeError as error:
            raise StateUnreadable(self._address, f"its reminders: {error}") from error
        if self._codec is not None:
            self._codec.decode(state)
        self._bytes, self._book_bytes = state, book
        self._live = self._book = None

    def _need_codec(self) -> StateCodec:
        if self._codec is None:
            raise AttributeError(
                f"the actor of {self._address!r} declares no state: write `state: TheType` in "
                "its class"
            )
        return self._codec
