"""A Chromium of this machine for a test; skipped with a reason where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Visit", "browsing"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds for one step, on a machine that has much else to do.
_PATIENCE = 60_000


class Visit:
    """A page in the browser, with what it complained of and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(_PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self.requests.append(request.url))

    def _said(self, line: Any) -> None:
        if line.type in {"error", "warning"}:
            self.complaints.append(line.text)

    async def text(self, selector: str) -> str:
        """The text of the first element that fits, when there is one."""
        return str(await self.page.locator(selector).first.inner_text())

    async def counts(self, selector: str, number: int) -> None:
        """Wait until so many elements fit."""
        await self.page.wait_for_function(
            "([s, n]) => document.querySelectorAll(s).length === n", arg=[selector, number]
        )

    async def fits(self) -> bool:
        """Whether nothing stands out of the window sideways."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        return bool(wide)


def _found() -> str:
    path = os.environ.get("IRISMQ_CHROMIUM")
    path = path or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: neither IRISMQ_CHROMIUM nor PATH names one")
    return path


@contextlib.asynccontextmanager
async def browsing(url: str, *, width: int = 1280) -> AsyncIterator[Visit]:
    """Open `url` in a headless browser."""
    path = _found()
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(
            executable_path=path, args=_ARGUMENTS, timeout=3 * _PATIENCE
        )
        try:
            context = await browser.new_context(viewport={"width": width, "height": 900})
            visit = Visit(await context.new_page())
            await visit.page.goto(url)
            yield visit
        finally:
            await browser.close()
