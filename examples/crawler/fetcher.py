"""Fetches pages; the queue is its durable mailbox.

The order of the steps is what makes a crash harmless: the links are told, and
their receipts awaited, before the page is saved; and the page is fetched again
unless it was saved. So a fetch that dies half way is done once more, and a link
that is told twice finds its page in the library.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPResponse

from actors import Actor, Reject, Retry, receives
from irismq_runtime import current_node

from .library import LIBRARY
from .messages import Fetch, Known, Save
from .pages import Page, read

if TYPE_CHECKING:
    from irismq_runtime import ServiceRef

__all__ = ["PAGES", "Fetcher", "pause"]

PAGES = "crawler.pages"
#: Seconds for a whole request.
PATIENCE = 20.0


class Fetcher(Actor[Fetch]):
    """Fetches one page at a time, `pace` seconds apart."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self._pace = pace

    def on_start(self) -> None:
        """Make the client."""
        self._http = AsyncHTTPClient(force_instance=True)

    def on_stop(self) -> None:
        """Close it."""
        self._http.close()

    @receives(Fetch)
    async def fetch(self, order: Fetch) -> None:
        """Fetch a page, tell of its links, save it."""
        library: ServiceRef[Known | Save] = current_node().ref(LIBRARY)
        if await library.ask(Known(order.url)):
            return
        page = await self._get(order.url)
        if order.depth > 0:
            links = [Fetch(link, order.depth - 1) for link in sorted(page.links)]
            for receipt in current_node().ref(PAGES).tell_many(links):
                await receipt
        await library.ask(Save(order.url, page.title))
        # The next page of this host waits. The broker does not mind: the lease is kept.
        await asyncio.sleep(self._pace)

    async def _get(self, url: str) -> Page:
        try:
            answer = await self._http.fetch(url, raise_error=False, request_timeout=PATIENCE)
        except (OSError, HTTPError) as error:
            raise Retry from error  # the network, or the host: once more, later
        _check(answer)
        return read(url, answer.body.decode("utf-8", "replace"))


def pause(said: str | None) -> float:
    """Seconds until a busy host may be asked again: 30 when it names a date, or nothing."""
    return float(said) if said is not None and said.isdecimal() else 30.0


def _check(answer: HTTPResponse) -> None:
    """Return when there is a page to read. Raises `Retry`, `Reject`."""
    headers: Any = answer.headers
    if answer.code in {429, 503}:
        raise Retry(after=pause(headers.get("Retry-After")), penalty=False)
    if answer.code >= 500:
        raise Retry
    if answer.code >= 400:
        raise Reject(f"the host says {answer.code}")  # a broken link: the dead letters list them
    kind = headers.get("Content-Type", "").partition(";")[0]
    if kind != "text/html":
        raise Reject(f"no page: {kind or 'nothing'}")
