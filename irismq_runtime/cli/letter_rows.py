"""The rows that dropped letters have in a store of durable state: `irismq dead drop`.

A message that a durable actor gave up is a letter and a dead row, by which a replay may run.
So who drops the letter drops the row, and first the row: cut in between, the letter is there
still, and its replay is taken for a copy. Only a dead row of the letter's own address goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from irismq_runtime.cli.store import looking_at
from irismq_runtime.wire import Envelope

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from irismq_runtime.dead_letters.letter import Letter
    from irismq_runtime.ports.state_store import StateStore

__all__ = ["LetterRows"]


class LetterRows:
    """Deletes the rows of letters.

    Args:
        url: The store; "" for none.
        address: Whose letters they are.
        until: Closes the store, which is opened for the first letter that has a row.
    """

    def __init__(self, url: str, address: str, until: AsyncExitStack) -> None:
        self._url = url
        self._address = address
        self._until = until
        self._store: StateStore | None = None

    async def drop(self, letter: Letter) -> bool:
        """Delete the row of a letter, if it has one; False: it has one in another store.

        Raises as `StateStore.open` and `StateStore.forget`.
        """
        inside = letter.inside
        if not isinstance(inside, Envelope):
            return True
        from irismq_runtime.durability.origin import RowOrigin

        origin = RowOrigin.of_untrusted(inside.headers)
        if origin is None:
            return True
        if not self._url:
            return False
        store = self._store
        if store is None:
            opened = await self._until.enter_async_context(looking_at(self._url))
            store = self._store = opened[0]
        if store.info.id.hex() != origin.store:
            return False
        rows = await store.rows([inside.id])
        mine = [row.id for row in rows if row.dead and row.to.address == self._address]
        if mine:
            await store.forget(mine)
        return True
