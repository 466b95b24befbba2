"""What the crawler's services say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from actors import Request, message

__all__ = ["Fetch", "Known", "Listing", "Save"]


@message("crawler.fetch")
@dataclass(frozen=True, slots=True)
class Fetch:
    """Tell to fetch a page, and the pages that it links to, `depth` steps far."""

    url: str
    depth: int = 3


@message("crawler.known")
@dataclass(frozen=True, slots=True)
class Known(Request[bool]):
    """Ask whether a page is in the library."""

    url: str


@message("crawler.save")
@dataclass(frozen=True, slots=True)
class Save(Request[None]):
    """Ask to put a page into the library."""

    url: str
    title: str


@message("crawler.listing")
@dataclass(frozen=True, slots=True)
class Listing(Request[dict[str, str]]):
    """Ask for all pages: their titles, by URL."""
