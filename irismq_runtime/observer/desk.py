"""Dead letters for the page: listed, shown, replayed, dropped, one address at a time.

Looking takes the letters from the broker for a moment (see letters), so that two who
look at the same address take turns, and only addresses that are known are looked at.
Messages are shown one by one, as text of limited length.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.texts import repr_of
from irismq_runtime.observer.letters import QUIET, dead_letters, drop, replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from irismq_runtime.observer.letters import Letter
    from irismq_runtime.ports import MailboxTransport

__all__ = ["Desk"]

#: Letters listed at most, and looked through for one that is meant.
MOST_LISTED: Final = 200
MOST_SEARCHED: Final = 2500
#: Characters of a message, or of another text, that are shown.
MOST_SHOWN: Final = 20_000
#: Seconds without a letter after which those that are waited for are taken to be gone.
_QUIET: Final = 2.0
_MOST_AT_ONCE: Final = 8


class Desk:
    """See the module. `nsqd`: brokers, "host:port". Loop thread only."""

    def __init__(self, nsqd: Iterable[str]) -> None:
        self._nsqd = tuple(nsqd)
        self._locks = tuple(asyncio.Lock() for _ in range(_MOST_AT_ONCE))

    async def listed(self, address: str, expected: int | None) -> dict[str, Any]:
        """Letters of `address`, the latest of them first, without their messages.

        Of more than `MOST_LISTED` those that the broker gives out first. `expected`:
        how many the brokers say there are, if they do; more are not waited for.
        {"letters": [...], "more": whether there are others}. Raises `NotConnected`.
        """

        def enough(letters: Sequence[Letter]) -> bool:
            return expected is not None and len(letters) >= expected

        quiet = QUIET if expected is None else _QUIET
        held = self._held(address, MOST_LISTED + 1, enough, quiet)
        async with self._turn(address), held as (_, letters):
            rows = [letter.row() for letter in reversed(letters)]
        return {"letters": rows[:MOST_LISTED], "more": len(rows) > MOST_LISTED}

    async def show(
        self, address: str, letter_id: str, expected: int | None
    ) -> dict[str, Any] | None:
        """One letter with its error, traceback and message; None when it is gone."""
        if expected == 0:
            return None
        async with self._turn(address), self._meant(address, [letter_id]) as (_, letters):
            if not letters:
                return None
            row = letters[0].full()
        message = row.pop("message")
        for name in ("error", "traceback", "reason"):
            row[name] = row[name][:MOST_SHOWN]
        text = _text(message)
        return {**row, "message": text[:MOST_SHOWN], "cut": max(0, len(text) - MOST_SHOWN)}

    async def replay(self, address: str, ids: Iterable[str]) -> dict[str, int]:
        """Put letters back into the mailbox. {"done": how many, "back": listed still}."""
        async with self._turn(address), self._meant(address, ids) as (mailbox, letters):
            done, back = await replay(mailbox, address, letters)
        return {"done": done, "back": back}

    async def drop(self, address: str, ids: Iterable[str]) -> dict[str, int]:
        """Give letters up for good; as `replay`."""
        async with self._turn(address), self._meant(address, ids) as (_, letters):
            done, back = drop(letters)
        return {"done": done, "back": back}

    def _held(
        self,
        address: str,
        limit: int,
        enough: Callable[[Sequence[Letter]], bool],
        quiet: float = _QUIET,
    ) -> AbstractAsyncContextManager[tuple[MailboxTransport, Sequence[Letter]]]:
        return dead_letters(self._nsqd, address, limit, enough=enough, quiet=quiet)

    @contextlib.asynccontextmanager
    async def _meant(
        self, address: str, ids: Iterable[str]
    ) -> AsyncIterator[tuple[MailboxTransport, list[Letter]]]:
        """Hold the letters with these ids; the wait ends when all are here."""
        wanted = frozenset(ids)
        found: set[str] = set()

        def enough(letters: Sequence[Letter]) -> bool:
            if letters:
                found.add(letters[-1].id)
            return wanted <= found

        async with self._held(address, MOST_SEARCHED, enough) as (mailbox, letters):
            yield mailbox, [letter for letter in letters if letter.id in wanted]

    def _turn(self, address: str) -> asyncio.Lock:
        """The lock of `address`; some others have the same, which bounds the looks at once."""
        return self._locks[hash(address) % len(self._locks)]


def _text(message: Any) -> str:
    """A message for reading: JSON where it can be, else what Python says of it."""
    if isinstance(message, bytes):
        return message.decode("utf-8", "replace")
    try:
        plain = msgspec.json.encode(message, enc_hook=str)
    except BaseException:  # what its class makes of it is a user's code
        return repr_of(message)
    return msgspec.json.format(plain, indent=2).decode()
