"""Reading the dead letters of an address without losing one.

The letters are consumed through a channel of their own and held under leases
while a command looks at them; what is not finished goes back at once. When the
command is interrupted, even killed, the broker gives everything out again, after
`LEASE` at the latest. A replay is stored in the mailbox, confirmed, and only then
finished here: cut in between, a letter may be replayed twice but never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.errors import DecodeError
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.messaging import DEAD_CHANNEL, MAILBOX_CHANNEL, dead_topic, mailbox_topic
from irismq_runtime.wire import Envelope, Serializer, decode_dead_untrusted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from irismq_runtime.ports import MailboxTransport, StoredMessage
    from irismq_runtime.wire import DeadRecord

__all__ = ["QUIET", "Filter", "Letter", "dead_letters", "drop", "replay"]

#: How long no further letter comes before all are taken to be here.
QUIET: Final = 0.7
#: How long the letters of a killed command stay unseen; renewed while it lives.
LEASE: Final = 3.0


@dataclass(slots=True)
class Letter:
    """One dead letter, held."""

    stored: StoredMessage
    record: DeadRecord

    @property
    def id(self) -> str:
        """The envelope id, or the broker's for a message that had none."""
        return self.record.id.hex() or f"nsqd-{self.stored.id}"

    @property
    def type(self) -> str:
        """The type name of the message inside; "" when it has none or is unreadable."""
        try:
            inside = self.record.message()
        except DecodeError:
            return ""
        return inside.type if isinstance(inside, Envelope) else ""

    def row(self) -> dict[str, Any]:
        """What a list shows of it; the message is not in it."""
        when = dt.datetime.fromtimestamp(self.record.time, dt.UTC)
        return {
            "id": self.id,
            "time": when.isoformat(timespec="seconds"),
            "attempts": self.record.attempts,
            "type": self.type,
            "reason": self.record.reason,
        }

    def full(self) -> dict[str, Any]:
        """All of it: error, traceback, and the message as far as it can be read."""
        record = self.record
        return {
            **self.row(),
            "address": record.address,
            "node": record.node,
            "error": record.error,
            "traceback": record.traceback,
            "message": self._message(),
        }

    def _message(self) -> Any:
        try:
            inside = self.record.message()
            if not isinstance(inside, Envelope):
                return inside.data
            return Serializer().load("", inside.body, inside.headers.get("c"))
        except DecodeError as error:
            return f"(unreadable: {error.reason}; {len(self.record.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant; empty means all."""

    ids: tuple[str, ...] = ()
    reason: str = ""
    type: str = ""

    def takes(self, letter: Letter) -> bool:
        """Whether `letter` is meant."""
        if self.ids and not any(letter.id.startswith(part) for part in self.ids):
            return False
        if self.reason and self.reason.lower() not in letter.record.reason.lower():
            return False
        return not self.type or letter.type == self.type


def _never(letters: list[Letter]) -> bool:  # noqa: ARG001  # the form of `enough`
    """Only silence says that all are here."""
    return False


@contextlib.asynccontextmanager
async def dead_letters(
    nsqd: Iterable[str],
    address: str,
    limit: int,
    *,
    enough: Callable[[list[Letter]], bool] = _never,
    quiet: float = QUIET,
) -> AsyncIterator[tuple[MailboxTransport, list[Letter]]]:
    """Hold up to `limit` letters of `address`; those not finished go back.

    `enough` is asked before each and ends the wait for more, as `quiet` seconds
    without one do (twice as many before the first). Raises `NotConnected`.
    """
    config = MailboxConfig(client_id="cli", start_timeout=2.5, msg_timeout=LEASE)
    mailbox = NsqMailbox(list(nsqd), config=config)
    await mailbox.start()
    try:
        arrived: asyncio.Queue[StoredMessage] = asyncio.Queue()
        consumption = await mailbox.consume(
            dead_topic(address), DEAD_CHANNEL, arrived.put_nowait, window=min(limit, 2500)
        )
        try:
            yield mailbox, await _collect(arrived, limit, mailbox.max_body, enough, quiet)
        finally:
            await consumption.stop(0.0)
    finally:
        await mailbox.close(2.0)


async def replay(
    mailbox: MailboxTransport, address: str, letters: Iterable[Letter]
) -> tuple[int, int]:
    """Put letters back into the mailbox, byte for byte as they were told.

    Returns how many, and how many of them are listed still, because the broker took
    them back before they were finished.
    """
    done = back = 0
    for letter in letters:
        await mailbox.publish(mailbox_topic(address), letter.record.body, channel=MAILBOX_CHANNEL)
        back += not letter.stored.finish()
        done += 1
    return done, back


def drop(letters: Iterable[Letter]) -> tuple[int, int]:
    """Give letters up for good; how many, and how many the broker took back before."""
    done = back = 0
    for letter in letters:
        gone = letter.stored.finish()
        done += gone
        back += not gone
    return done, back


async def _collect(
    arrived: asyncio.Queue[StoredMessage],
    limit: int,
    max_size: int,
    enough: Callable[[list[Letter]], bool],
    quiet: float,
) -> list[Letter]:
    letters: list[Letter] = []
    while len(letters) < limit and not enough(letters):
        try:
            async with asyncio.timeout(quiet if letters else 2 * quiet):
                stored = await arrived.get()
        except TimeoutError:
            break
        letters.append(Letter(stored, decode_dead_untrusted(stored.body, max_size=max_size)))
    letters.sort(key=lambda letter: letter.record.time)
    return letters
