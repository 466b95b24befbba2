"""Reading the letters of an address for a command: progress, and what is said of those not seen.

What a command is given by its beginning is looked up here before anything is changed.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from irismq_runtime.cli import codes
from irismq_runtime.cli.beginnings import Beginnings
from irismq_runtime.cli.console import fail, remark
from irismq_runtime.cli.topic_stats import dead_letter_stats
from irismq_runtime.config import need_address
from irismq_runtime.dead_letters.reader import open_reader
from irismq_runtime.messaging import dead_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from irismq_runtime.cli.brokers import Brokers
    from irismq_runtime.dead_letters.reader import DeadLetterReader, Filter

__all__ = [
    "Progress",
    "beginnings_of",
    "check_beginnings",
    "letters_of",
    "why_missing",
    "why_unknown",
]

#: Seconds between two lines that say how far it is.
_PERIOD: Final = 2.0


class Progress:
    """Says on standard error how far a long look is."""

    def __init__(self, what: str, reader: DeadLetterReader) -> None:
        self._what = what
        self._reader = reader
        self._due = time.monotonic() + _PERIOD

    def tell(self, done: int | None = None) -> None:
        """Say it, if it is time."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _PERIOD
        reader = self._reader
        of = "" if reader.expected is None else f" of {reader.expected:,}"
        count = reader.seen if done is None else done
        aside = f", {reader.aside:,} put aside for {reader.delay:.0f} s" if reader.aside else ""
        remark(f"{count:,}{of} letters {self._what}{aside}")


@contextlib.asynccontextmanager
async def letters_of(brokers: Brokers, address: str) -> AsyncIterator[DeadLetterReader | None]:
    """Read the letters of `address`: None where there are none.

    Ends the command when no broker knows the address, or when nsqd says nothing of it.
    """
    need_address(address)
    topic = dead_topic(address)
    stats = await dead_letter_stats(brokers, address)
    if stats is not None and not stats.holding:
        if not stats.known:
            fail(f"no broker knows {address!r}: nothing was ever told to it, and it has no letters")
        if stats.elsewhere:
            channels = ", ".join(sorted(stats.elsewhere))
            fail(f"the letters of {address} went to other channels of {topic}: {channels}")
        yield None
        return
    where = stats.holding if stats is not None else [str(one) for one in brokers.endpoints]
    held = stats.held if stats is not None else None
    config, names = brokers.config(), brokers.names
    async with open_reader(where, address, held, config=config, namespace=names) as reader:
        yield reader


async def check_beginnings(brokers: Brokers, address: str, wanted: Filter) -> None:
    """End the command where a beginning means more than one letter, before one is changed."""
    beginnings = beginnings_of(wanted.ids)
    if not beginnings:
        return
    async with letters_of(brokers, address) as reader:
        if reader is None:
            return
        progress = Progress("looked at", reader)
        async for letter in reader:
            progress.tell()
            if wanted.takes(letter):
                beginnings.see(letter.id)
            reader.keep(letter)
    if problem := beginnings.problem():
        fail(problem)


def beginnings_of(given: Iterable[str]) -> Beginnings:
    """What was given as ids; ends the command where one is empty, and so means every letter."""
    beginnings = Beginnings(given)
    if beginnings.empty:
        fail("an empty id means every letter: give one, or --all", codes.USAGE)
    return beginnings


def why_unknown(reader: DeadLetterReader, address: str) -> str:
    """Why it is not known whether there are letters, and what the look made; "" where it is."""
    if reader.expected is not None or reader.seen:
        return ""
    return (
        f"no letter of {address} came, and whether there are any is not known: nsqd's HTTP is not "
        "at the port after its TCP port; give it with --nsqd-http. Over TCP the look has made the "
        f"topic {dead_topic(address)}, unless it was there"
    )


def why_missing(reader: DeadLetterReader) -> str:
    """Why not all letters came that there are."""
    return (
        f"{reader.missing:,} of {reader.expected:,} letters are held by somebody else now, or were "
        "put aside by a look that was cut off; repeat the command"
    )
