"""The HTTP client: what it sends, what it takes for an answer, and what it refuses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime import http_client
from irismq_runtime.http_client import (
    HttpAnswer,
    NoAnswerError,
    NotHttpError,
    fetch,
    fetch_blocking,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serving(*answers: bytes, hangs: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, one a connection; its URL, and what it was asked."""
    asked: list[bytes] = []
    left = list(answers)
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        if hangs:
            await stop.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        try:
            yield f"http://{host}:{port}", asked
        finally:
            stop.set()


OK = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_a_request_is_sent_once_and_its_answer_comes_back_whatever_the_status() -> None:
    not_found = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"
    async with serving(not_found) as (url, asked):
        answer = await fetch(f"{url}/a/b?c=d", timeout=5.0, method="POST", headers={"X": "y"})
        assert answer == HttpAnswer(404, b"no")
        place = url.removeprefix("http://").encode()
    assert asked == [
        b"POST /a/b?c=d HTTP/1.0\r\nHost: " + place + b"\r\nConnection: close\r\nX: y\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"until the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"x", b"x"),
    ],
)
async def test_every_form_of_a_body_is_read(answer: bytes, body: bytes) -> None:
    async with serving(answer, answer) as (url, _):
        assert (await fetch(url, timeout=5.0)).body == body
        assert (await asyncio.to_thread(fetch_blocking, url, timeout=5.0)).body == body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", NoAnswerError),
        (b"\0\0\0\x12\0\0\0\1E_BAD_PROTOCOL\r\n", NotHttpError),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nshort", NotHttpError),
        (b"HTTP/1.0 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nshort", NotHttpError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", NotHttpError),
        (OK + bytes(2000), ConnectionAbortedError),
    ],
)
async def test_what_is_not_a_whole_answer_is_an_error_that_says_so(
    answer: bytes, error: type[OSError]
) -> None:
    async with serving(answer, answer) as (url, _):
        with pytest.raises(error):
            await fetch(url, timeout=5.0, largest=1000)
        with pytest.raises(error):
            await asyncio.to_thread(fetch_blocking, url, timeout=5.0, largest=1000)


async def test_one_time_is_for_all_of_it() -> None:
    async with serving(b"HTTP/1.1 200", b"HTTP/1.1 200", hangs=True) as (url, _):
        with pytest.raises(TimeoutError):
            await fetch(url, timeout=0.05)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(fetch_blocking, url, timeout=0.05)


async def test_a_redirect_is_an_answer_unless_it_is_to_be_followed() -> None:
    away = b"HTTP/1.1 302 Found\r\nLocation: /there?x=1\r\n\r\n"
    async with serving(away, away, OK + b"there", away, away) as (url, asked):
        assert await fetch(url, timeout=5.0) == HttpAnswer(302, b"", "/there?x=1")
        assert (await fetch(url, timeout=5.0, redirects=1)).body == b"there"
        assert asked[-1].startswith(b"GET /there?x=1 ")
        assert (await fetch(url, timeout=5.0, redirects=1)).status == 302


async def test_a_redirect_to_another_kind_of_url_is_refused() -> None:
    async with serving(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n") as (url, _):
        with pytest.raises(ValueError, match="not an http or https URL"):
            await fetch(url, timeout=5.0, redirects=1)


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with serving(OK + b"straight") as (url, _):
        assert (await fetch(url, timeout=5.0)).body == b"straight"


@pytest.mark.parametrize("url", ["ftp://h/", "h:4151", "http:///stats", "http://h:99999/", ""])
async def test_a_url_without_meaning_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError):
        await fetch(url, timeout=5.0)
    with pytest.raises(ValueError):
        fetch_blocking(url, timeout=5.0)


async def test_a_header_of_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="line breaks"):
        await fetch("http://h/", timeout=5.0, headers={"X": "a\r\nY: b"})


@pytest.mark.parametrize("host", [f"{'x' * 70}.example", "a..b"])
async def test_what_is_not_a_host_is_an_oserror(host: str) -> None:
    with pytest.raises(OSError):
        await fetch(f"http://{host}/", timeout=5.0)
    with pytest.raises(OSError):
        await asyncio.to_thread(fetch_blocking, f"http://{host}/", timeout=5.0)


@given(st.one_of(st.binary(), st.binary().map(OK.__add__), st.binary().map(OK[:9].__add__)))
def test_whatever_comes_is_an_answer_or_not_http(data: bytes) -> None:
    try:
        answer = http_client._answer_untrusted(data)
    except (NoAnswerError, NotHttpError):
        return
    assert 100 <= answer.status <= 999
