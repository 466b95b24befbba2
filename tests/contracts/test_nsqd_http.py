"""The HTTP API: status codes, messages and shapes, ours and nsqd 1.3.0 alike."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.protocols import nsq
from tests.support.nsq_client import nsq_client
from tests.support.nsqd_http import call, exchange, stats, topic_stats
from tests.support.nsqd_server import NsqdServer, nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[NsqdServer]:
    options = NsqdOptions(max_msg_size=100, max_body_size=1000)
    async with nsqd_server(request.param, options=options) as running:
        yield running


def batch(*bodies: bytes) -> bytes:
    parts = [struct.pack(">i", len(bodies))]
    parts += [struct.pack(">i", len(body)) + body for body in bodies]
    return b"".join(parts)


REFUSALS = [
    ("GET", "/nothing", b"", 404, "NOT_FOUND"),
    ("POST", "/ping", b"", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/pub?topic=t", b"", 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/pub?topic=t", b"", 400, "MSG_EMPTY"),
    ("POST", "/pub", b"x", 400, "MISSING_ARG_TOPIC"),
    ("POST", "/pub?topic=t%21", b"x", 400, "INVALID_TOPIC"),
    ("POST", "/pub?topic=t", b"x" * 101, 413, "MSG_TOO_BIG"),
    ("POST", "/pub?topic=t&defer=x", b"x", 400, "INVALID_DEFER"),
    ("POST", "/pub?topic=t&defer=-1", b"x", 400, "INVALID_DEFER"),
    ("POST", "/pub?topic=t&defer=3600001", b"x", 400, "INVALID_DEFER"),
    ("POST", "/mpub", b"x", 400, "MISSING_ARG_TOPIC"),
    ("POST", "/mpub?topic=t", b"x" * 1001, 413, "BODY_TOO_BIG"),
    ("POST", "/mpub?topic=t", b"ok\n" + b"x" * 101, 413, "MSG_TOO_BIG"),
    ("POST", "/mpub?topic=t&binary=true", batch(b"ok", b""), 413, "BAD_MESSAGE"),
    ("POST", "/mpub?topic=t&binary=true", batch(), 413, "BAD_BODY"),
    ("POST", "/topic/create", b"", 400, "MISSING_ARG_TOPIC"),
    ("POST", "/topic/create?topic=%20", b"", 400, "INVALID_TOPIC"),
    ("POST", "/topic/delete", b"", 400, "MISSING_ARG_TOPIC"),
    ("POST", "/topic/delete?topic=none", b"", 404, "TOPIC_NOT_FOUND"),
    ("POST", "/topic/empty?topic=none", b"", 404, "TOPIC_NOT_FOUND"),
    ("POST", "/topic/empty?topic=%21", b"", 400, "INVALID_TOPIC"),
    ("POST", "/topic/pause?topic=none", b"", 404, "TOPIC_NOT_FOUND"),
    ("POST", "/channel/create?topic=none", b"", 400, "MISSING_ARG_CHANNEL"),
    ("POST", "/channel/create?topic=none&channel=c", b"", 404, "TOPIC_NOT_FOUND"),
    ("POST", "/channel/create?topic=%21&channel=c", b"", 400, "INVALID_ARG_TOPIC"),
    ("POST", "/channel/create?topic=t&channel=%21", b"", 400, "INVALID_ARG_CHANNEL"),
    ("POST", "/channel/delete?topic=here&channel=none", b"", 404, "CHANNEL_NOT_FOUND"),
    ("POST", "/channel/empty?topic=here&channel=none", b"", 404, "CHANNEL_NOT_FOUND"),
    ("POST", "/channel/pause?topic=here&channel=none", b"", 404, "CHANNEL_NOT_FOUND"),
]


async def test_refusals_have_nsqds_status_and_message(server):
    assert (await call(server, "POST", "/topic/create?topic=here"))[0] == 200
    for method, path, body, status, message in REFUSALS:
        answer = await call(server, method, path, body)
        assert (answer[0], json.loads(answer[1])) == (status, {"message": message}), path


async def test_ping_and_info(server):
    assert await call(server, "GET", "/ping") == (200, b"OK")
    status, body = await call(server, "GET", "/info")
    info = json.loads(body)
    assert status == 200
    assert (info["tcp_port"], info["http_port"]) == (server.port, server.http_port)
    assert info["broadcast_address"] == "127.0.0.1"
    assert info["version"].startswith("1.3.0")
    assert info["max_heartbeat_interval"] == 60_000_000_000


async def test_headers(server):
    request = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    _, headers, _ = await exchange(server.http_port, request % b"/stats?format=json")
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-nsq-content-type"] == "nsq; version=1.0"
    _, headers, _ = await exchange(server.http_port, request % b"/stats")
    assert headers["content-type"].startswith("text/plain")


async def test_published_messages_arrive(server):
    async with nsq_client(server.port) as client:
        await client.subscribe("t", ready=20)
        assert await call(server, "POST", "/pub?topic=t", b"one") == (200, b"OK")
        assert (await client.message()).body == b"one"
        assert await call(server, "POST", "/mpub?topic=t", b"a\nb\n\nc") == (200, b"OK")
        assert sorted([m.body for m in await client.messages(3)]) == [b"a", b"b", b"c"]
        data = batch(b"d\n", b"e")
        assert await call(server, "POST", "/mpub?topic=t&binary=1", data) == (200, b"OK")
        assert sorted([m.body for m in await client.messages(2)]) == [b"d\n", b"e"]
        assert await call(server, "POST", "/pub?topic=t&defer=50", b"later") == (200, b"OK")


async def test_a_chunked_body_is_cut_at_the_limit(server):
    chunk = b"19\r\n" + b"x" * 25 + b"\r\n"
    head = b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    status, _, body = await exchange(server.http_port, head + chunk * 4 + b"0\r\n\r\n")
    assert (status, body) == (200, b"OK")
    status, _, body = await exchange(server.http_port, head + chunk * 5 + b"0\r\n\r\n")
    assert (status, json.loads(body)) == (413, {"message": "MSG_TOO_BIG"})


async def test_statistics_have_nsqds_shape(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        await client.subscribe("t", ready=1, client_id="me", hostname="here", user_agent="x/1")
        assert await publisher.ask(nsq.mpub("t", [b"1", b"22"])) == b"OK"
        message = await client.message()
        client.send(nsq.fin(message.id))
        await client.message()
        value = await stats(server)
        assert value["health"] == "OK"
        assert set(value) >= {"version", "start_time", "topics", "memory", "producers"}
        (topic,) = [entry for entry in value["topics"] if entry["topic_name"] == "t"]
        assert (topic["message_count"], topic["message_bytes"], topic["depth"]) == (2, 3, 0)
        assert topic["e2e_processing_latency"] == {"count": 0, "percentiles": None}
        (channel,) = topic["channels"]
        assert channel["message_count"] == 2
        assert channel["in_flight_count"] == channel["client_count"] == 1
        (consumer,) = channel["clients"]
        assert consumer["client_id"] == "me"
        assert consumer["hostname"] == "here"
        assert consumer["user_agent"] == "x/1"
        assert (consumer["state"], consumer["ready_count"]) == (3, 1)
        assert (consumer["message_count"], consumer["finish_count"]) == (2, 1)
        (producer,) = value["producers"]
        assert producer["pub_counts"] == [{"topic": "t", "count": 2}]
        none = await stats(server, "&topic=t&include_clients=false&include_mem=false")
        assert none["topics"][0]["channels"][0]["clients"] is None
        assert "memory" not in none


async def test_statistics_are_filtered(server):
    for topic in ("one", "two"):
        await call(server, "POST", f"/topic/create?topic={topic}")
        await call(server, "POST", f"/channel/create?topic={topic}&channel=c")
    await call(server, "POST", "/channel/create?topic=two&channel=d")
    value = await stats(server, "&topic=two&channel=d")
    assert [t["topic_name"] for t in value["topics"]] == ["two"]
    assert [c["channel_name"] for c in value["topics"][0]["channels"]] == ["d"]
    assert await topic_stats(server, "three") is None


async def test_statistics_as_text_name_what_there_is(server):
    await call(server, "POST", "/topic/create?topic=orders")
    await call(server, "POST", "/channel/create?topic=orders&channel=mail")
    await call(server, "POST", "/channel/pause?topic=orders&channel=mail")
    status, body = await call(server, "GET", "/stats")
    text = body.decode()
    assert status == 200
    assert "\nHealth: OK\n" in text
    assert "   [orders         ] depth: 0     be-depth: 0     msgs: 0        e2e%: " in text
    assert "   *P [mail                     ] depth: 0     be-depth: 0     inflt: 0 " in text


async def test_topics_and_channels_are_made_and_deleted(server):
    assert await call(server, "POST", "/topic/create?topic=t") == (200, b"")
    assert await call(server, "POST", "/channel/create?topic=t&channel=c") == (200, b"")
    assert [c["channel_name"] for c in (await topic_stats(server, "t"))["channels"]] == ["c"]
    assert await call(server, "POST", "/channel/delete?topic=t&channel=c") == (200, b"")
    assert (await topic_stats(server, "t"))["channels"] == []
    assert await call(server, "POST", "/pub?topic=t", b"x") == (200, b"OK")
    assert await call(server, "POST", "/topic/empty?topic=t") == (200, b"")
    assert (await topic_stats(server, "t"))["depth"] == 0
    assert await call(server, "POST", "/topic/delete?topic=t") == (200, b"")
    assert await topic_stats(server, "t") is None


def _asked(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close", "Content-Length: 1"]
    return "\r\n".join([*lines, "", "x"]).encode()


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: 127.0.0.1:4151", "Origin: https://evil.example"),
        ("Host: 127.0.0.1:4151", "Origin: null"),
        ("Host: 127.0.0.1:4151", "Origin: http://127.0.0.1:1"),
        ("Host: localhost:4151", "Sec-Fetch-Site: cross-site"),
        ("Host: localhost:4151", "Sec-Fetch-Site: same-site"),
        ("Host: evil.example:4151", "Origin: http://evil.example:4151"),
        ("Host: evil.example:4151", "Sec-Fetch-Site: same-origin"),
        ("Host: evil.example:4151",),
        ("Host: evil", "Origin: http://evil"),
    ],
)
async def test_another_sites_page_changes_nothing(headers):
    """156: a page that a browser had open could publish, empty and delete."""
    async with nsqd_server("embedded") as server:
        for path in ("/pub?topic=t", "/topic/create?topic=t", "/topic/delete?topic=t"):
            status, _, _ = await exchange(server.http_port, _asked(path, *headers))
            assert status == 403
        _, body = await call(server, "GET", "/stats?format=json")
        assert json.loads(body)["topics"] == []


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: 127.0.0.1:4151",),
        ("Host: localhost",),
        ("Host: [::1]:4151",),
        ("Host: nsqd:4151",),
        ("Host: 127.0.0.1:4151", "Origin: http://127.0.0.1:4151", "Sec-Fetch-Site: same-origin"),
        ("Host: 127.0.0.1:4151", "User-Agent: Go-http-client/1.1"),
    ],
)
async def test_programs_and_this_site_go_on(headers):
    async with nsqd_server("embedded") as server:
        status, _, body = await exchange(server.http_port, _asked("/pub?topic=t", *headers))
        assert (status, body) == (200, b"OK")
