"""Dead letters for the page: listed, shown, replayed, dropped, one address at a time.

Looking takes the letters from the broker for a moment (see dead_letters.reader), so that two who
look at the same address take turns. Only brokers that have such letters are looked at,
so that looking makes nothing there. Messages are shown one by one, as text of limited
length. What a list leaves out is counted, and what is chosen is looked for in all.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.dead_letters.reader import (
    LetterCount,
    LetterOutcomes,
    drop,
    open_reader,
    replay,
    unchanged,
)
from irismq_runtime.errors import NotConnected
from irismq_runtime.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from irismq_runtime.dead_letters.reader import DeadLetterReader, Letter, SignAnew
    from irismq_runtime.mailbox import MailboxConfig
    from irismq_runtime.namespace import Namespace

__all__ = ["DeadLetterService"]

#: Letters listed at most.
MOST_LISTED: Final = 200
#: Characters of a message, or of another text, that are shown.
MOST_SHOWN: Final = 20_000
_MOST_AT_ONCE: Final = 8


class DeadLetterService:
    """Lists, shows, replays and drops the letters of one address after another. Loop thread only.

    `nsqd`: brokers, "host:port". `config`: how they are reached. `sign_anew`: see
    `replay`. `holding`: which of
    them have letters of an address; by default all, where some are known to be. `namespace`:
    that of the addresses.
    """

    def __init__(
        self,
        nsqd: Iterable[str],
        *,
        config: MailboxConfig | None = None,
        sign_anew: SignAnew = unchanged,
        holding: Callable[[str], Iterable[str]] | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self._namespace = namespace
        self._nsqd = tuple(nsqd)
        self._config = config
        self._sign_anew = sign_anew
        self._holding = holding or (lambda _: self._nsqd)
        self._locks = tuple(asyncio.Lock() for _ in range(_MOST_AT_ONCE))

    async def listed(self, address: str, expected: int | None) -> dict[str, Any]:
        """Letters of `address`, the latest of them first, without their messages.

        Of more than `MOST_LISTED` those that the broker gives out first. `expected`:
        how many the brokers say there are; None when they do not say.
        {"letters": [...], "more": how many others there are}. Raises `NotConnected`.
        """
        found: list[Letter] = []
        async with self._reader(address, expected) as reader:
            if reader is None:
                return {"letters": [], "more": 0}
            async for letter in reader:
                found.append(letter)
                reader.keep(letter)
                if len(found) >= MOST_LISTED:
                    break
            more = reader.missing
        found.sort(key=lambda letter: letter.when, reverse=True)
        return {"letters": [letter.row() for letter in found], "more": more}

    async def show(
        self, address: str, letter_id: str, expected: int | None
    ) -> dict[str, Any] | None:
        """One letter with its error, traceback and message; None when it is gone."""
        row: dict[str, Any] | None = None
        async with aclosing(self._meant(address, [letter_id], expected)) as found:
            async for _, letter in found:
                row = letter.full()
        if row is None:
            return None
        message = row.pop("message")
        for name in ("error", "traceback", "reason"):
            row[name] = row[name][:MOST_SHOWN]
        text = _text(message)
        return {**row, "message": text[:MOST_SHOWN], "cut": max(0, len(text) - MOST_SHOWN)}

    async def replay(
        self, address: str, ids: Iterable[str], expected: int | None
    ) -> dict[str, Any]:
        """Put letters back into the mailbox.

        {"done": how many, "back": listed still}, and "left", with why, where some were.
        """
        counts = LetterOutcomes()
        async with aclosing(self._meant(address, ids, expected)) as found:
            async for reader, letter in found:
                if not await replay(reader, address, letter, counts, sign_anew=self._sign_anew):
                    reader.keep(letter)
        return _result(counts)

    async def drop(self, address: str, ids: Iterable[str], expected: int | None) -> dict[str, Any]:
        """Give letters up for good; as `replay`."""
        counts = LetterOutcomes()
        async with aclosing(self._meant(address, ids, expected)) as found:
            async for _, letter in found:
                drop(letter, counts)
        return _result(counts)

    async def _meant(
        self, address: str, ids: Iterable[str], expected: int | None
    ) -> AsyncGenerator[tuple[DeadLetterReader, Letter], None]:
        """The letters with these ids, each held; the reading ends when all were here."""
        wanted = set(ids)
        # Some may have come since the brokers were asked.
        most = expected + MOST_LISTED if expected else expected
        async with self._reader(address, most) as reader:
            if reader is None or not wanted:
                return
            async for letter in reader:
                if letter.id not in wanted:
                    reader.keep(letter)
                    continue
                yield reader, letter
                wanted.discard(letter.id)
                if not wanted:
                    return

    @contextlib.asynccontextmanager
    async def _reader(
        self, address: str, expected: int | None
    ) -> AsyncIterator[DeadLetterReader | None]:
        """Read the letters of `address`; None where the brokers say there are none."""
        if expected is None:
            raise NotConnected("the brokers", "none answers over HTTP", remedy="see --nsqd-http")
        brokers = tuple(self._holding(address))
        if not expected or not brokers:
            yield None
            return
        held, names = LetterCount(expected), self._namespace
        reading = open_reader(brokers, address, held, config=self._config, namespace=names)
        async with self._turn(address), reading as reader:
            yield reader

    def _turn(self, address: str) -> asyncio.Lock:
        """The lock of `address`; some others have the same, which bounds the looks at once."""
        return self._locks[hash(address) % len(self._locks)]


def _result(counts: LetterOutcomes) -> dict[str, Any]:
    said = "; ".join(counts.left)
    return {"done": counts.done, "back": counts.back, **({"left": said} if said else {})}


def _text(message: Any) -> str:
    """A message for reading: JSON, or the text that it is."""
    if isinstance(message, bytes):
        return message.decode("utf-8", "replace")
    return json_text(message, indent=2)
