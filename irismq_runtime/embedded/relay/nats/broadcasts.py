"""Broadcasts and events between relays: Iris packets, gathered by subject. Pure.

A relay hands its own members what they send each other, so what comes back from
itself is passed over. Every packet that comes from afar is looked at before a
client gets it: it must be the one whole packet that the subject stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.nats.connection import NatsMessage
from irismq_runtime.embedded.relay.nats.frames import (
    BROADCAST_OVERHEAD,
    FrameError,
    broadcast_item,
    broadcasts_message,
    decode_broadcasts_untrusted,
)
from irismq_runtime.embedded.relay.nats.outgoing import portions, too_large
from irismq_runtime.protocols.iris.packets import Op
from irismq_runtime.protocols.iris.primitives import (
    IrisProtocolError,
    encode_string,
    read_varint_untrusted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irismq_runtime.embedded.relay.nats.context import NatsContext

__all__ = ["Broadcasts", "broadcast_reader", "event_reader"]

#: Bytes from which on a message takes no further packet.
_FULL: Final = 64 * 1024
#: Subjects kept ready for what is sent to them.
_MAX_SUBJECTS: Final = 4_096


class Broadcasts:
    """The broadcasts and events that this relay sends, and reads. Loop thread only."""

    def __init__(self, context: NatsContext) -> None:
        self.relay_id = context.relay_id
        self.outgoing = context.outgoing
        self.stats = context.stats
        self.patience = context.options.broadcast_patience
        self.now = context.now
        self.largest = context.largest
        self._log = context.log
        self._subjects: dict[str, _Subject] = {}

    def add(self, subject: str, packet: bytes) -> None:
        """Send a packet; what is too large, or too much, is dropped and counted."""
        size = len(packet) + BROADCAST_OVERHEAD
        if size > self.largest():
            self.stats.too_large += 1
            text = too_large("message", len(packet), self.largest() - BROADCAST_OVERHEAD)
            self._log.note("too large", "%s; it reaches this relay's clients alone", text)
            return
        if not self.outgoing.has_room(size):
            self.dropped(1)
            return
        source = self._subjects.get(subject)
        if source is None:
            if len(self._subjects) >= _MAX_SUBJECTS:
                self._subjects.clear()
            source = self._subjects[subject] = _Subject(self, subject)
        source.add(packet)
        self.outgoing.add(source, size)

    def dropped(self, count: int) -> None:
        """Count and report packets that will not be sent."""
        self.stats.dropped += count
        if count:
            text = "broadcasts or events are dropped: too much waits for NATS, or for too long"
            self._log.note("dropped", text)

    def packets_untrusted(self, data: bytes, reader: Callable[[bytes], None]) -> Sequence[bytes]:
        """The packets of another relay's message; none of this one's own."""
        relay_id, packets = decode_broadcasts_untrusted(data)
        if relay_id == self.relay_id:
            return ()
        for packet in packets:
            reader(packet)
        return packets


class _Subject:
    """What goes to one subject (`outgoing.MessageSource`)."""

    __slots__ = ("_broadcasts", "_items", "_since", "_subject")

    def __init__(self, broadcasts: Broadcasts, subject: str) -> None:
        self._broadcasts = broadcasts
        self._subject = subject
        self._items: list[bytes] = []
        self._since = 0.0

    def add(self, packet: bytes) -> None:
        if not self._items:
            self._since = self._broadcasts.now()
        self._items.append(broadcast_item(packet))

    def take(self) -> Iterator[NatsMessage]:
        """The messages; none when they have waited for a connection for too long."""
        items, self._items = self._items, []
        broadcasts = self._broadcasts
        if broadcasts.now() - self._since > broadcasts.patience:
            broadcasts.dropped(len(items))
            return
        for portion in portions(items, min(_FULL, broadcasts.largest() - BROADCAST_OVERHEAD)):
            yield NatsMessage(self._subject, "", broadcasts_message(broadcasts.relay_id, portion))

    def trim(self) -> int:
        """Drop what is too old by now."""
        broadcasts = self._broadcasts
        if broadcasts.now() - self._since > broadcasts.patience:
            broadcasts.dropped(len(self._items))
            self._items.clear()
        return sum(map(len, self._items))


def broadcast_reader(packet: bytes) -> None:
    """Raises `FrameError` unless this is one whole broadcast, as a relay sends it."""
    _check(packet, _BROADCAST)


def event_reader(topic: str) -> Callable[[bytes], None]:
    """Makes what raises `FrameError` unless it is given one whole event of `topic`."""
    head = bytes((Op.PUBLISH,)) + encode_string(topic)

    def read(packet: bytes) -> None:
        _check(packet, head)

    return read


_BROADCAST: Final = bytes((Op.BROADCAST,))


def _check(packet: bytes, head: bytes) -> None:
    if not packet.startswith(head):
        raise FrameError("a packet is not of the kind that its subject stands for")
    try:
        length, at = read_varint_untrusted(packet, len(head))
    except (IrisProtocolError, IndexError) as error:
        raise FrameError(f"a packet's length cannot be read: {error}") from error
    if at + length != len(packet):
        raise FrameError(f"a packet of {length} bytes has {len(packet) - at}")
