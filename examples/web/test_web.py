"""The application behind a real server, the services on another node, an HTTP client."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from irismq_runtime import Node

from .application import application
from .services import AUCTIONEER, Services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serving(host: Node) -> AsyncIterator[str]:
    """The application on a free port, with a node of its own; its URL."""
    nsqd, iris = host.endpoints["nsqd"], host.endpoints["iris"]
    app = application(lambda: Node(name="web", nsqd=nsqd, iris=iris, drain=1.0))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def host() -> AsyncIterator[Node]:
    """A node with the servers; the services are started by each test."""
    async with Node.embedded(name="host", drain=1.0) as node:
        yield node


@pytest.fixture
async def client(host: Node) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the application."""
    async with serving(host) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


async def bid(client: httpx.AsyncClient, who: str, amount: int) -> httpx.Response:
    """Place one."""
    return await client.post("/items/lamp/bids", json={"who": who, "amount": amount})


async def test_bids_are_placed_refused_and_found(host: Node, client: httpx.AsyncClient) -> None:
    await host.start(Services)
    none = await client.get("/items/lamp")
    assert (none.status_code, none.json()["code"]) == (404, "no-bid")
    first = await bid(client, "ada", 5)
    assert (first.status_code, first.json()) == (201, {"item": "lamp", "who": "ada", "amount": 5})
    low = await bid(client, "grace", 5)
    assert low.status_code == 409
    assert low.headers["content-type"] == "application/problem+json"
    assert low.json()["detail"] == "ada bids 5 already"
    assert (await bid(client, "grace", 6)).status_code == 201
    assert (await client.get("/items/lamp")).json()["who"] == "grace"
    assert (await client.post("/items/lamp/bids", json={})).status_code == 422  # of FastAPI


async def test_whoever_watches_sees_each_bid(host: Node, client: httpx.AsyncClient) -> None:
    await host.start(Services)
    seen = []
    async with client.stream("GET", "/items/lamp/bids") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        for amount in (1, 2, 3):
            assert (await bid(client, "ada", amount)).status_code == 201
            async for line in lines:
                if line.startswith("data: "):
                    seen.append(json.loads(line.removeprefix("data: "))["amount"])
                    break
    assert seen == [1, 2, 3]


async def test_while_nobody_serves_it_says_when_to_try_again(
    host: Node, client: httpx.AsyncClient
) -> None:
    away = await bid(client, "ada", 5)
    assert away.status_code == 503
    assert int(away.headers["retry-after"]) >= 1
    await host.start(Services)
    async with asyncio.timeout(20):
        while (await bid(client, "ada", 5)).status_code == 503:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
    assert [member.address for member in host.members(AUCTIONEER)] == [AUCTIONEER]
