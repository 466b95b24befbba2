"""`irismq observe` and `irismq run --observe`: where the page is, and how it ends."""

from __future__ import annotations

import json
import signal

from tornado.httpclient import AsyncHTTPClient

from irismq_runtime.cli import codes
from tests.integration.processes import irismq, running
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server


def where(process):
    line = next(line for line in process.said if "the observer is at" in line)
    return line.split()[-1]


async def test_a_node_that_works_serves_the_page_of_all():
    command = ("run", "tests.observer.service:Steady", "--embedded", "--observe", "0")
    async with running(*command) as process:
        await process.says(" runs")
        await process.says("to act, not only to read: http://127.0.0.1:")
        client = AsyncHTTPClient(force_instance=True)
        told = {}
        while not told.get("services", {}).get("seen.desk"):
            answer = await client.fetch(f"{where(process)}api/snapshot")
            told = json.loads(answer.body)
        client.close()
        (node,) = told["nodes"].values()
        assert node["state"] == "up"
        assert [broker["error"] for broker in told["brokers"]] == [""]
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_a_port_that_is_taken_ends_observe_and_not_a_node():
    async with nsqd_server("embedded") as nsqd, iris_relay("embedded") as relay:
        taken = str(nsqd.http_port)
        flags = ("--nsqd", f"{nsqd.host}:{nsqd.port}", "--iris", f"{relay.host}:{relay.port}")
        code, _, said = await irismq("observe", *flags, "--port", taken)
        assert code == codes.UNREACHABLE
        (line,) = said.strip().splitlines()
        assert line.startswith(f"irismq: cannot listen on port {taken}: ")
        assert line.endswith("give another --port")
        command = ("run", "tests.observer.service:Steady", "--observe", taken, *flags)
        async with running(*command) as process:
            await process.says(f"no observer page: cannot listen on port {taken}")
            await process.says(" runs")
            process.signal(signal.SIGTERM)
            assert await process.ends() == codes.OK
