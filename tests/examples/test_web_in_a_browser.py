"""The auction of examples/web in a browser: a bid of one window is seen in the other."""

from __future__ import annotations

import asyncio

import uvicorn

from examples.web.application import application
from examples.web.services import Services
from irismq_runtime import Node
from tests.support.browser import browsing
from tests.support.until import until


async def test_a_bid_of_one_window_is_seen_in_the_other():
    async with Node.embedded(name="host", drain=1.0) as host:
        await host.start(Services)
        nsqd, iris = host.endpoints["nsqd"], host.endpoints["iris"]
        app = application(lambda: Node(name="web", nsqd=nsqd, iris=iris, drain=1.0))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}/"
            async with browsing(url) as ada, browsing(url) as grace:
                for visit, who, amount in ((ada, "ada", 5), (grace, "grace", 7)):
                    await visit.page.fill("[name=who]", who)
                    await visit.page.fill("[name=amount]", str(amount))
                    await visit.page.click("button")
                    await visit.page.wait_for_function(
                        "text => document.body.innerText.includes(text)", arg=f"{who} bids {amount}"
                    )
                await ada.page.click("button")  # its five are too few now
                await ada.page.wait_for_function(
                    "document.querySelector('output').textContent !== ''"
                )
                assert await ada.text("output") == "grace bids 7 already"
                await ada.counts("li", 2)
                assert grace.complaints == []
        finally:
            server.should_exit = True
            await serving
