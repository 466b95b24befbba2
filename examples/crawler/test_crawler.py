"""A small site with all that can happen on one, crawled on real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from irismq_runtime import Node
from supervisors import child

from .fetcher import PAGES, pause
from .library import LIBRARY
from .messages import Fetch, Listing
from .pages import read
from .service import Crawler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from actors import Event

SITE = {
    "/": '<title>Home</title><a href="/a">a</a> <a href="b#part">b</a>',
    "/a": '<title>A</title><a href="/">home</a> <a href="/busy">busy</a> <a href="/fails">x</a>',
    "/b": '<title>B</title><a href="/gone">gone</a> <a href="/picture">picture</a>',
    "/busy": "<title>Busy</title>",
    "/fails": "<title>Failed</title>",
}


class Site(RequestHandler):
    """Answers as the path says, and counts who is here at the same time."""

    here = 0
    most = 0
    asked: list[str]

    async def get(self) -> None:
        """One page."""
        Site.here += 1
        Site.most = max(Site.most, Site.here)
        try:
            await asyncio.sleep(0)
            self._answer(self.request.path)
        finally:
            Site.here -= 1

    def _answer(self, path: str) -> None:
        first = path not in Site.asked
        Site.asked.append(path)
        if path == "/busy" and first:
            self.set_header("Retry-After", "0")
            self.set_status(503)
        elif path == "/fails" and first:
            self.set_status(500)
        elif path == "/picture":
            self.set_header("Content-Type", "image/png")
        elif path in SITE:
            self.write(SITE[path])
        else:
            self.set_status(404)


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """The address of a running site."""
    Site.here = Site.most = 0
    Site.asked = []
    (socket,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([(".*", Site)]))
    server.add_sockets([socket])
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.stop()
    await server.close_all_connections()


async def test_every_page_of_a_site_is_fetched_once_and_broken_links_are_listed(
    site: str, tmp_path: Path
) -> None:
    buried: list[str] = []
    over = asyncio.Event()

    def see(event: Event) -> None:
        if event.name == "settlement.buried":
            buried.append(event.fields["reason"])
        over.set()

    quick = {"requeue_base": 0.05}
    async with Node.embedded(name="crawler", drain=1.0, mailbox_options=quick) as node:
        node.system.events.subscribe(see)
        await node.start(child(Crawler, str(tmp_path / "pages.sqlite"), 0.0))
        await node.ref(PAGES).tell(Fetch(f"{site}/"))
        async with asyncio.timeout(20):
            while len(found := await node.ref(LIBRARY).ask(Listing())) < 5 or len(buried) < 2:
                over.clear()
                await over.wait()
    assert found == {
        f"{site}{path}": title
        for path, title in {
            "/": "Home",
            "/a": "A",
            "/b": "B",
            "/busy": "Busy",
            "/fails": "Failed",
        }.items()
    }
    reasons = {reason.partition("Reject: ")[2] for reason in buried}
    assert reasons == {"no page: image/png", "the host says 404"}
    assert sorted(Site.asked) == sorted([*SITE, "/busy", "/fails", "/gone", "/picture"])
    assert Site.most == 1


def test_links_of_other_sites_are_not_followed() -> None:
    page = read("http://here/x/", '<a href="y">1</a><a href="http://there/">2</a><a>3</a>')
    assert page.links == {"http://here/x/y"}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), (None, 30.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 30.0), ("-1", 30.0)],
)
def test_a_busy_host_is_asked_again_when_it_says(said: str | None, seconds: float) -> None:
    assert pause(said) == seconds
