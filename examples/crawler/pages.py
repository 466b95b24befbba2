"""What a page says: its title, and the pages of its site that it links to. Pure."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

__all__ = ["Page", "host_of", "read"]


def host_of(url: str) -> str:
    """The host and port of a URL."""
    return urlsplit(url).netloc


class Page(HTMLParser):
    """A page that is being read."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._in_title = False
        self.title = ""
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self._in_title = tag == "title"
        if tag == "a" and (target := dict(attrs).get("href")):
            link = urldefrag(urljoin(self._url, target)).url
            if host_of(link) == host_of(self._url):
                self.links.add(link)

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        if self._in_title:
            self.title += data.strip()


def read(url: str, text: str) -> Page:
    """Read the text of the page at `url`."""
    page = Page(url)
    page.feed(text)
    page.close()
    return page
