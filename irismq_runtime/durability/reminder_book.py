"""The reminders of one durable actor: what stands in its state beside what its code keeps there.

A reminder has a name, a message, a schedule and a generation. Setting its name again, or forgetting
it, raises the generation, and what still comes of an older one is let go: so neither a message
that is on its way nor an owner of before can fire it twice. All of it is written with the state, in
the commit of the handler that changed it. Pure.

    bytes of a state with reminders: (type, version, codec, body), as every state has them; the type
    is `irismq.with-reminders`, its body (bytes of the state or nil, bytes of the book)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from irismq_runtime.durability.occurrences import Misfire, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeptReminder", "ReminderBook", "joined", "split"]

_NAME: Final = "irismq.with-reminders"
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, str, bytes]).decode
_decode_parts: Final = msgspec.msgpack.Decoder(tuple[bytes | None, bytes]).decode
#: Among how many numbers a life chooses its first.
_SPREAD: Final = 1 << 50
#: How the bytes of a state with reminders begin.
_BEGINS: Final = _encode((_NAME, 1, "", b""))[: 1 + len(_encode(_NAME))]


class KeptReminder(msgspec.Struct):
    """One reminder as it is stored: its message as it is on the wire, and its schedule."""

    generation: int
    type: str
    codec: str
    body: bytes
    due: float
    every: float = 0.0
    cron: str = ""
    zone: str = "UTC"
    misfire: Misfire = "once"
    grace: float = 60.0
    #: Its time has come, and its message is on its way: it has no next time.
    fired: bool = False

    @property
    def schedule(self) -> Schedule:
        """When it comes."""
        return Schedule(self.due, self.every, self.cron, self.zone, self.misfire, self.grace)


class _Book(msgspec.Struct):
    last: int = 0
    reminders: dict[str, KeptReminder] = {}


_decode_book: Final = msgspec.msgpack.Decoder(_Book).decode


class ReminderBook:
    """The reminders of one actor, in its unit.

    Args:
        data: As `encode` gave it; b"" for none.
    """

    __slots__ = ("_book",)

    def __init__(self, data: bytes = b"") -> None:
        self._book = _decode_book(data) if data else _Book()

    def __iter__(self) -> Iterator[tuple[str, KeptReminder]]:
        return iter(sorted(self._book.reminders.items()))

    def encode(self) -> bytes:
        """The bytes of all of it; b"" where there never was one."""
        return _encode(self._book) if self._book.last else b""

    def next_generation(self, chance: float) -> int:
        """A number that no reminder of this actor has had, in no life of its key.

        Args:
            chance: From 0 to 1: where the numbers of a life begin. That of the one before, which
                has ended with its book, may have left rows.
        """
        self._book.last = self._book.last + 1 if self._book.last else 1 + int(chance * _SPREAD)
        return self._book.last

    def set(self, name: str, reminder: KeptReminder) -> bool:
        """Keep a reminder; whether it takes the place of another of its name."""
        replaced = name in self._book.reminders
        self._book.reminders[name] = reminder
        return replaced

    def forget(self, name: str) -> bool:
        """Let a reminder go; whether there was one."""
        return self._book.reminders.pop(name, None) is not None

    def standing(self, name: str, generation: int) -> KeptReminder | None:
        """The reminder of that name, if it is of that generation."""
        found = self._book.reminders.get(name)
        return found if found is not None and found.generation == generation else None


def joined(state: bytes | None, book: bytes) -> bytes | None:
    """The bytes that are stored for a state and its reminders; None: there is neither."""
    return _encode((_NAME, 1, "", _encode((state, book)))) if book else state


def split(data: bytes | None) -> tuple[bytes | None, bytes]:
    """The state and the reminders in what is stored. Raises `msgspec.DecodeError`."""
    if data is None or not data.startswith(_BEGINS):
        return data, b""
    return _decode_parts(_decode(data)[3])
