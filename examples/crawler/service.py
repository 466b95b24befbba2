"""The tree of the crawler.

`Crawl` has the address, and passes each message to the fetcher for its host: the
pages of one host are fetched one after another, those of different hosts at the
same time.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from supervisors import PartitionSupervisor, Supervisor, child

from .fetcher import PAGES, Fetcher
from .library import Library
from .pages import host_of

if TYPE_CHECKING:
    from supervisors import ChildSpec

    from .messages import Fetch

__all__ = ["Crawl", "Crawler"]


class Crawl(PartitionSupervisor):
    """Eight fetchers."""

    address = PAGES
    partitions = 8

    def key(self, message: Fetch) -> str:
        """One host is one fetcher's."""
        return host_of(message.url)


class Crawler(Supervisor):
    """The library is started first, and restarted alone."""

    strategy = "rest_for_one"

    def __init__(self, database: str = "crawler.sqlite", pace: float = 1.0) -> None:
        super().__init__()
        self._database = pathlib.Path(database)
        self._pace = pace

    def children(self) -> list[ChildSpec]:
        """First the library, then those who need it."""
        return [
            child(Library, self._database),
            child(Crawl, child(Fetcher, self._pace), name="crawl"),
        ]
