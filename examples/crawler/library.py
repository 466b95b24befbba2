"""The pages that were fetched, in SQLite: so it has a thread."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from actors import ThreadActor, receives

from .messages import Known, Listing, Save

if TYPE_CHECKING:
    import pathlib

__all__ = ["LIBRARY", "Library"]

LIBRARY = "crawler.library"


class Library(ThreadActor[Known | Save | Listing]):
    """Knows each page once, however often it is saved."""

    address = LIBRARY

    def __init__(self, path: pathlib.Path | str) -> None:
        super().__init__()
        self._path = path

    def on_start(self) -> None:
        """Open the database, in the actor's own thread."""
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("create table if not exists page (url text primary key, title text)")

    def on_stop(self) -> None:
        """Close it."""
        self._db.close()

    @receives(Known)
    def known(self, question: Known) -> bool:
        """Whether the page is here."""
        found = self._db.execute("select 1 from page where url = ?", (question.url,))
        return found.fetchone() is not None

    @receives(Save)
    def save(self, page: Save) -> None:
        """Keep it."""
        self._db.execute("insert or replace into page values (?, ?)", (page.url, page.title))

    @receives(Listing)
    def listing(self, _: Listing) -> dict[str, str]:
        """All of them."""
        return dict(self._db.execute("select url, title from page order by url"))
