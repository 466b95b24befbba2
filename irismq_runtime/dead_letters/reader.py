"""Reading the dead letters of an address: all of them, in bounded memory, losing none.

The letters are consumed through the channel `dead` and held under leases while
somebody looks; what is not finished goes back. When the reading is interrupted, even
killed, the broker gives everything out again, after `LEASE` at the latest. A replay
is stored in the mailbox, confirmed, and only then finished here: cut in between, a
letter may be replayed twice but never lost.

At most `HELD` letters are held at once. Those beyond, of a reading that goes on, are put
aside: given back with a delay that outlasts the reading, so that the next ones come.
A reading is over when as many have come as the brokers said there are, so that letters
which come meanwhile (of a replay that fails again) do not make it endless.

A durable event is not replayed as a stored message is: nsqd has no way to publish to
one channel, and the others would handle it again. It is left, with what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

from irismq_runtime.dead_letters.letter import Filter, Letter, letter_untrusted
from irismq_runtime.errors import MessageTooLarge, NotConnected, SignatureError
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.messaging import DEAD_CHANNEL, MAILBOX_CHANNEL, dead_topic, mailbox_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from irismq_runtime.namespace import Namespace
    from irismq_runtime.ports import Consumption, MailboxTransport, StoredMessage

__all__ = [
    "LEASE",
    "DeadLetterReader",
    "Filter",
    "Letter",
    "LetterCount",
    "LetterOutcomes",
    "SignAnew",
    "drop",
    "open_reader",
    "replay",
    "unchanged",
]

#: Signs a message that was stored in one topic anew for another one: (bytes, from, to).
SignAnew: TypeAlias = "Callable[[bytes, str, str], bytes]"

#: Seconds without a letter after which no more are taken to come, where nobody knows
#: how many there are.
QUIET: Final = 0.7
#: The same where some are known to be with the broker, or with somebody else.
PATIENCE: Final = 2.0
#: How long the letters of a killed command stay unseen; renewed while it lives.
LEASE: Final = 3.0
#: Letters held at once.
HELD: Final = 500
#: Seconds that the connections to the brokers may take.
_CONNECT: Final = 5.0
#: What is put aside stays away for so many seconds, and one more for so many letters.
_ASIDE: Final = 30.0
_PER_SECOND: Final = 500
#: Ids of replayed letters that a reading remembers.
_REMEMBERED: Final = 100_000
_REMEDY: Final = "give the broker what it asks for, e.g. --nsqd-tls-ca or IRISMQ_NSQD_AUTH_SECRET"


class LetterCount(NamedTuple):
    """How many letters the brokers have: all, and those that somebody holds now."""

    total: int
    away: int = 0


@dataclass(slots=True)
class LetterOutcomes:
    """What became of the letters that were meant.

    `back`: listed still, because the broker took them back before they were finished.
    `events`, `malformed`, `large`, `unsigned`: left where they are; see `replay`. `rows`: not
    dropped, as they have a row in a store that was not named.
    """

    done: int = 0
    back: int = 0
    events: int = 0
    malformed: int = 0
    large: int = 0
    unsigned: int = 0
    rows: int = 0
    #: Of the last one that could not be signed anew: why.
    unsigned_why: str = ""
    #: Of the last event that was left: its topic, and the channel that gave it up.
    event: tuple[str, str] = ("", "")

    @property
    def left(self) -> list[str]:
        """Why some were left, a sentence each; empty when none were."""
        said = []
        if self.events:
            topic, channel = self.event
            by = f" given up by channel {channel}" if channel else ""
            said.append(
                f"{_letters(self.events)} of the durable event {topic}{by}: published again it "
                "would reach every channel, also those that have handled it; give --to ADDRESS "
                "to store it in the mailbox of one service, or --every-channel"
            )
        if self.malformed:
            said.append(f"{_letters(self.malformed)} malformed, with no message inside; drop it")
        if self.large:
            said.append(f"{_letters(self.large)} larger than the broker takes")
        if self.unsigned:
            said.append(
                f"{_letters(self.unsigned)} not signed anew ({self.unsigned_why}): nodes with keys "
                "would refuse it; give IRISMQ_KEYS here as the nodes have it"
            )
        if self.rows:
            said.append(
                f"{_letters(self.rows)} of a durable actor, with a row in its store: name that "
                "store (--store, IRISMQ_STORE), and it is dropped there too"
            )
        return said


def _letters(count: int) -> str:
    return f"{count:,} {'letter is' if count == 1 else 'letters are'}"


class DeadLetterReader:
    """Letters one after another: `async for letter in reader`. Made by `open_reader`.

    `expected`: how many there are, None where nobody knows. `seen`: how many came.
    `again`: how many came of which another has been replayed by this reader: it has failed
    again, or is a copy. They are left, so that a reading does not chase its own replays.
    """

    def __init__(
        self,
        mailbox: MailboxTransport,
        arrived: asyncio.Queue[StoredMessage],
        held: LetterCount | None,
    ) -> None:
        self.mailbox = mailbox
        self.seen = 0
        self.again = 0
        self.aside = 0
        self.expected = None if held is None else held.total
        self._quiet = PATIENCE if held is not None else QUIET
        if held is not None and held.away:
            self._quiet += LEASE  # of a command that was killed
        self._arrived = arrived
        self._kept = 0
        self._replayed: set[bytes] = set()

    @property
    def missing(self) -> int:
        """How many of the letters did not come: others hold them, or put them aside."""
        return max(0, (self.expected or 0) - self.seen - self.again)

    @property
    def delay(self) -> float:
        """Seconds for which what is put aside stays away."""
        return min(_ASIDE + (self.expected or 0) / _PER_SECOND, self.mailbox.max_delay)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Letter:
        while self.expected is None or self.seen < self.expected:
            try:
                async with asyncio.timeout(self._quiet if self.seen else 2 * self._quiet):
                    stored = await self._arrived.get()
            except TimeoutError:
                break
            if stored.lease_lost:
                continue  # it comes again
            letter = letter_untrusted(stored, max_size=self.mailbox.max_body)
            if letter.record.id in self._replayed:
                self.again += 1
                self.keep(letter)
                continue
            self.seen += 1
            return letter
        raise StopAsyncIteration

    def replayed(self, letter: Letter) -> None:
        """Note that `letter` is in its mailbox again."""
        if letter.record.id:
            if len(self._replayed) >= _REMEMBERED:
                self._replayed.clear()
            self._replayed.add(letter.record.id)

    def keep(self, letter: Letter) -> None:
        """Let `letter` be: it is held until the end of the reading, or put aside."""
        if self._kept < HELD // 2:
            self._kept += 1
        else:
            self.aside += 1
            letter.stored.requeue(self.delay, penalty=False)


@contextlib.asynccontextmanager
async def open_reader(
    nsqd: Iterable[str],
    address: str,
    held: LetterCount | None,
    *,
    config: MailboxConfig | None = None,
    namespace: Namespace | None = None,
) -> AsyncIterator[DeadLetterReader]:
    """Look at the letters of `address`; those that are not finished go back.

    `nsqd`: the brokers that have such letters: at another one the reading would make the
    topic. `held`: how many there are, None where nobody knows. `config`: how the
    brokers are reached. `namespace`: that of the address.
    Raises `NotConnected` when one of the brokers does not let us consume.
    """
    brokers = list(nsqd)
    mailbox = NsqMailbox(brokers, config=_reading(config or MailboxConfig()), namespace=namespace)
    await mailbox.start()
    try:
        arrived: asyncio.Queue[StoredMessage] = asyncio.Queue()
        consumption = await mailbox.consume(
            dead_topic(address), DEAD_CHANNEL, arrived.put_nowait, window=HELD
        )
        try:
            await _connected(consumption, ", ".join(brokers))
            yield DeadLetterReader(mailbox, arrived, held)
        finally:
            await consumption.stop(0.0)
    finally:
        await mailbox.close(2.0)


def _reading(config: MailboxConfig) -> MailboxConfig:
    """Return `config` as a reading takes it: impatient, with a short lease."""
    return dataclasses.replace(
        config, client_id=config.client_id or "cli", start_timeout=2.5, msg_timeout=LEASE, copies=1
    )


async def _connected(consumption: Consumption, where: str) -> None:
    """Wait until every broker gives us letters. Raises `NotConnected` when one does not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CONNECT
    while not (health := consumption.health()).ok:
        if loop.time() > deadline:
            raise NotConnected(f"nsqd at {where}", health.reason, remedy=_REMEDY)
        await asyncio.sleep(0.01)


def unchanged(data: bytes, _topic: str, _to: str) -> bytes:
    """The message as it is: where nothing is signed."""
    return data


async def replay(
    reader: DeadLetterReader,
    address: str,
    letter: Letter,
    counts: LetterOutcomes,
    *,
    to: str = "",
    every_channel: bool = False,
    sign_anew: SignAnew = unchanged,
) -> bool:
    """Put a letter back into the mailbox of `address`, byte for byte as it was told.

    False: it was left where it is, and `counts` says why: there is no message inside, or
    it is a durable event, which all channels of its topic would get, also those that
    have handled it, or nodes with keys would refuse it. `to`: store it in the mailbox of that
    address instead. `every_channel`: publish an event to all of them nevertheless.
    `sign_anew`: signs a message anew, where there are keys, as a signature is good for a while;
    raises `SignatureError` where it cannot. Raises `DeliveryError`.
    """
    if letter.malformed:
        counts.malformed += 1
        return False
    if letter.is_event and not (to or every_channel):
        counts.events += 1
        counts.event = (address, letter.record.channel)
        return False
    try:
        kept_for = "" if letter.is_event and not to else MAILBOX_CHANNEL
        topic = mailbox_topic(to or address)
        body = sign_anew(letter.record.body, mailbox_topic(address), topic)
        await reader.mailbox.publish(topic, body, channel=kept_for)
    except MessageTooLarge:
        counts.large += 1
        return False
    except SignatureError as error:
        counts.unsigned += 1
        counts.unsigned_why = error.reason
        return False
    reader.replayed(letter)
    counts.done += 1
    counts.back += not letter.stored.finish()
    return True


def drop(letter: Letter, counts: LetterOutcomes) -> None:
    """Give a letter up for good; `counts.back` counts those the broker took back before."""
    gone = letter.stored.finish()
    counts.done += gone
    counts.back += not gone
