"""Frames, codes and which errors close the connection: ours and nsqd 1.3.0 alike."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.protocols import nsq
from irismq_runtime.protocols.nsq import ErrorFrame
from tests.support.nsq_client import nsq_client
from tests.support.nsqd_server import NsqdServer, nsqd_server
from tests.support.walk import walked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ID = b"0123456789abcdef"


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[NsqdServer]:
    async with nsqd_server(request.param, options=NsqdOptions(max_msg_size=1000)) as running:
        yield running


def length(size: int) -> bytes:
    return struct.pack(">i", size)


def identify(text: str) -> bytes:
    return b"IDENTIFY\n" + length(len(text)) + text.encode()


SUB = b"SUB t c\n"

#: What is sent, and the code that answers; each of them closes the connection.
FATAL = [
    (b"HELLO\n", "E_INVALID"),
    (b"\n", "E_INVALID"),
    (b"sub t c\n", "E_INVALID"),
    (b"SUB\n", "E_INVALID"),
    (b"SUB t\n", "E_INVALID"),
    (b"SUB t!x c\n", "E_BAD_TOPIC"),
    (b"SUB " + b"t" * 65 + b" c\n", "E_BAD_TOPIC"),
    (b"SUB t c!x\n", "E_BAD_CHANNEL"),
    (b"SUB t #ephemeral\n", "E_BAD_CHANNEL"),
    (b"RDY 1\n", "E_INVALID"),
    (b"FIN " + ID + b"\n", "E_INVALID"),
    (b"REQ " + ID + b" 0\n", "E_INVALID"),
    (b"TOUCH " + ID + b"\n", "E_INVALID"),
    (b"CLS\n", "E_INVALID"),
    (SUB + SUB, "E_INVALID"),
    (SUB + b"RDY -1\n", "E_INVALID"),
    (SUB + b"RDY 2501\n", "E_INVALID"),
    (SUB + b"RDY one\n", "E_INVALID"),
    (SUB + b"FIN\n", "E_INVALID"),
    (SUB + b"FIN x\n", "E_INVALID"),
    (SUB + b"FIN " + ID + b"0\n", "E_INVALID"),
    (SUB + b"REQ " + ID + b"\n", "E_INVALID"),
    (SUB + b"REQ " + ID + b" -5\n", "E_INVALID"),
    (SUB + b"TOUCH\n", "E_INVALID"),
    (SUB + b"CLS\nCLS\n", "E_INVALID"),
    (SUB + identify("{}"), "E_INVALID"),
    (identify('{"heartbeat_interval": -1}') + SUB, "E_INVALID"),
    (identify("{"), "E_BAD_BODY"),
    (identify("[]"), "E_BAD_BODY"),
    (identify('{"client_id": 5}'), "E_BAD_BODY"),
    (identify('{"heartbeat_interval": 999}'), "E_BAD_BODY"),
    (identify('{"heartbeat_interval": 60001}'), "E_BAD_BODY"),
    (identify('{"heartbeat_interval": "1000"}'), "E_BAD_BODY"),
    (identify('{"msg_timeout": 999}'), "E_BAD_BODY"),
    (identify('{"msg_timeout": 900001}'), "E_BAD_BODY"),
    (identify('{"sample_rate": 100}'), "E_BAD_BODY"),
    (identify('{"sample_rate": -1}'), "E_BAD_BODY"),
    (identify('{"output_buffer_size": 63}'), "E_BAD_BODY"),
    (identify('{"output_buffer_size": 65537}'), "E_BAD_BODY"),
    (identify('{"output_buffer_timeout": 24}'), "E_BAD_BODY"),
    (identify('{"output_buffer_timeout": 30001}'), "E_BAD_BODY"),
    (b"IDENTIFY\n" + length(0), "E_BAD_BODY"),
    (b"IDENTIFY\n" + length(-1), "E_BAD_BODY"),
    (b"IDENTIFY\n" + length(5 * 1024 * 1024 + 1), "E_BAD_BODY"),
    (b"AUTH x\n", "E_INVALID"),
    (b"AUTH\n" + length(0), "E_BAD_BODY"),
    (b"AUTH\n" + length(1) + b"x", "E_AUTH_DISABLED"),
    (b"PUB\n", "E_INVALID"),
    (b"PUB t!\n", "E_BAD_TOPIC"),
    (b"PUB t\n" + length(0), "E_BAD_MESSAGE"),
    (b"PUB t\n" + length(-1), "E_BAD_MESSAGE"),
    (b"PUB t\n" + length(1001), "E_BAD_MESSAGE"),
    (b"PUB t\n" + length(2**31 - 1), "E_BAD_MESSAGE"),
    (b"DPUB t\n", "E_INVALID"),
    (b"DPUB t! 1\n", "E_BAD_TOPIC"),
    (b"DPUB t x\n", "E_INVALID"),
    (b"DPUB t -1\n", "E_INVALID"),
    (b"DPUB t 3600001\n", "E_INVALID"),
    (b"DPUB t 1\n" + length(0), "E_BAD_MESSAGE"),
    (b"DPUB t 1\n" + length(1001), "E_BAD_MESSAGE"),
    (b"MPUB\n", "E_INVALID"),
    (b"MPUB t!\n", "E_BAD_TOPIC"),
    (b"MPUB t\n" + length(0), "E_BAD_BODY"),
    (b"MPUB t\n" + length(5 * 1024 * 1024 + 1), "E_BAD_BODY"),
    (b"MPUB t\n" + length(4) + length(0), "E_BAD_BODY"),
    (b"MPUB t\n" + length(4) + length(-1), "E_BAD_BODY"),
    (b"MPUB t\n" + length(4) + length(2**31 - 1), "E_BAD_BODY"),
    (b"MPUB t\n" + length(13) + length(2) + length(1) + b"a" + length(0), "E_BAD_MESSAGE"),
    (b"MPUB t\n" + length(13) + length(2) + length(1) + b"a" + length(-1), "E_BAD_MESSAGE"),
    (b"MPUB t\n" + length(8) + length(1) + length(1001), "E_BAD_MESSAGE"),
]


@walked(("sent", "code"), FATAL)
async def test_a_fatal_error_has_its_code_and_closes_this_connection_alone(server, sent, code):
    async with nsq_client(server.port) as bystander, nsq_client(server.port) as client:
        client.send(sent)
        while isinstance(frame := await client.frame(), nsq.Response):
            assert frame.data in {b"OK", b"CLOSE_WAIT"}
        assert isinstance(frame, ErrorFrame)
        assert frame.code == code
        assert await client.closed()
        assert await bystander.ask(nsq.pub("alive", b"x")) == b"OK"


#: What is sent, and all that the error says. Of an MPUB no more comes than is sent.
WORDS = [
    (b"PUB t\n" + length(0), "PUB invalid message body size 0"),
    (b"PUB t\n" + length(-5), "PUB invalid message body size -5"),
    (b"PUB t\n" + length(1001), "PUB message too big 1001 > 1000"),
    (b"DPUB t 5\n" + length(0), "DPUB invalid message body size 0"),
    (b"DPUB t 5\n" + length(-1), "DPUB invalid message body size -1"),
    (b"MPUB t\n" + length(0), "MPUB invalid body size 0"),
    (b"MPUB t\n" + length(-3), "MPUB invalid body size -3"),
    (b"MPUB t\n" + length(100) + length(0), "MPUB invalid message count 0"),
    (
        b"MPUB t\n" + length(5000) + length(2) + length(1) + b"x" + length(1001),
        "MPUB message too big 1001 > 1000",
    ),
    (
        b"MPUB t\n" + length(5000) + length(2) + length(1) + b"x" + length(0),
        "MPUB invalid message(1) body size 0",
    ),
    (b"IDENTIFY\n" + length(0), "IDENTIFY invalid body size 0"),
    (b"AUTH\n" + length(-1), "AUTH invalid body size -1"),
    (identify('{"client_id": 5}'), "IDENTIFY failed to decode JSON body"),
    (b"PUB\n", "PUB insufficient number of parameters"),
    (SUB + b"FIN\n", "FIN insufficient number of params"),
    (SUB + b"REQ " + ID + b"\n", "REQ insufficient number of params"),
    (SUB + b"TOUCH\n", "TOUCH insufficient number of params"),
    (SUB + b"FIN x\n", "invalid message ID"),
    (SUB + b"RDY 2501\n", "RDY count 2501 out of range 0-2500"),
]


@walked(("sent", "text"), WORDS)
async def test_an_error_says_what_nsqd_says_and_comes_at_once(server, sent, text):
    async with nsq_client(server.port) as client:
        client.send(sent)
        while isinstance(frame := await client.frame(), nsq.Response):
            assert frame.data == b"OK"
        assert frame.text == text


async def test_an_mpub_that_comes_in_pieces_is_refused_with_its_first_bad_length(server):
    async with nsq_client(server.port) as client:
        client.send(b"MPUB t\n" + length(900_000) + length(1000))
        for _ in range(40):
            client.send(length(3) + b"abc")
        client.send(length(-1))
        client.send(b"x" * 1000)
        frame = await client.frame()
        assert frame.text == "MPUB invalid message(40) body size -1"


@pytest.mark.parametrize("sent", [nsq.fin(ID), nsq.req(ID), nsq.req(ID, 10**9), nsq.touch(ID)])
async def test_an_unknown_id_is_an_error_that_leaves_the_connection_open(server, sent):
    async with nsq_client(server.port) as client:
        await client.subscribe("t")
        client.send(sent)
        error = await client.error()
        assert error.code == f"E_{sent.split()[0].decode()}_FAILED"
        assert not error.fatal
        assert "ID not in flight" in error.text
        assert await client.ask(nsq.pub("t", b"x")) == b"OK"


async def test_another_clients_message_cannot_be_finished(server):
    async with nsq_client(server.port) as one, nsq_client(server.port) as other:
        await one.subscribe("t", ready=1)
        await other.subscribe("t")
        assert await other.ask(nsq.pub("t", b"x")) == b"OK"
        message = await one.message()
        other.send(nsq.fin(message.id))
        assert "client does not own message" in (await other.error()).text
        one.send(nsq.fin(message.id), nsq.fin(message.id))
        assert (await one.error()).code == "E_FIN_FAILED"


async def test_a_wrong_magic_is_answered_and_closed(server):
    async with nsq_client(server.port, magic=False) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n"[:4])
        assert await client.frame() == ErrorFrame("E_BAD_PROTOCOL", "")
        assert await client.closed()


async def test_what_identify_grants(server):
    async with nsq_client(server.port) as client:
        answer = json.loads(await client.identify(heartbeat_interval=2000, msg_timeout=5000))
        expected = {
            "max_rdy_count": 2500,
            "max_msg_timeout": 900_000,
            "msg_timeout": 5000,
            "tls_v1": False,
            "deflate": False,
            "deflate_level": 6,
            "max_deflate_level": 6,
            "snappy": False,
            "sample_rate": 0,
            "auth_required": False,
            "output_buffer_size": 16384,
            "output_buffer_timeout": 250,
        }
        assert {name: answer[name] for name in expected} == expected
        assert answer["version"].startswith("1.3.0")
        again = json.loads(await client.identify(output_buffer_size=-1, sample_rate=99))
        assert again["output_buffer_size"] == 1
        assert again["output_buffer_timeout"] == 0
        assert again["sample_rate"] == 99


async def test_identify_without_negotiation_is_answered_with_ok(server):
    async with nsq_client(server.port) as client:
        assert await client.ask(nsq.identify({"client_id": "x"})) == b"OK"
        assert await client.ask(b"IDENTIFY\n" + length(4) + b"null") == b"OK"


async def test_cls_ends_deliveries_and_leaves_what_is_in_flight_to_be_settled(server):
    async with nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert await client.ask(nsq.mpub("t", [b"1", b"2"])) == b"OK"
        message = await client.message()
        client.send(nsq.cls())
        assert await client.response() == b"CLOSE_WAIT"
        client.send(nsq.rdy(5), nsq.touch(message.id), nsq.fin(message.id))
        assert await client.ask(nsq.pub("t", b"3")) == b"OK"
        client.send(nsq.fin(message.id))
        assert (await client.error()).code == "E_FIN_FAILED"


async def test_what_a_leaver_gives_back_in_one_write_does_not_come_to_it_again():
    # The embedded one alone: in nsqd a push may already be under way when RDY 0 is read.
    async with nsqd_server("embedded") as server, nsq_client(server.port) as client:
        await client.subscribe("t", ready=1)
        assert await client.ask(nsq.pub("t", b"x")) == b"OK"
        message = await client.message()
        client.send(nsq.rdy(0), nsq.req(message.id, 0), nsq.cls())
        assert await client.response() == b"CLOSE_WAIT"
        async with nsq_client(server.port) as other:
            await other.subscribe("t", ready=1)
            assert (await other.message()).attempts == 2


async def test_an_mpub_with_one_bad_body_publishes_nothing(server):
    async with nsq_client(server.port) as bad, nsq_client(server.port) as client:
        data = length(2) + length(1) + b"a" + length(0)
        bad.send(b"MPUB t\n" + length(len(data)) + data)
        assert (await bad.error()).code == "E_BAD_MESSAGE"
        assert await client.ask(nsq.pub("t", b"good")) == b"OK"
        await client.subscribe("t", ready=5)
        assert (await client.message()).body == b"good"


async def test_answers_come_in_the_order_of_the_commands(server):
    async with nsq_client(server.port) as client:
        client.send(*[nsq.pub("t", b"x")] * 500, nsq.pub("t", b"x" * 1001), nsq.pub("t", b"x"))
        assert [await client.response() for _ in range(500)] == [b"OK"] * 500
        assert (await client.error()).code == "E_BAD_MESSAGE"
        assert await client.closed()


async def test_every_command_split_at_each_byte(server):
    story = nsq.sub("t", "c") + nsq.rdy(3) + nsq.pub("t", b"abc") + nsq.mpub("t", [b"d", b"e"])
    async with nsq_client(server.port) as client:
        for place in range(len(story)):
            client.send(story[place : place + 1])
            await client.writer.drain()
        frames = [await client.frame() for _ in range(6)]
        assert sorted(f.body for f in frames if isinstance(f, nsq.Message)) == [b"abc", b"d", b"e"]
        assert sum(isinstance(f, nsq.Response) for f in frames) == 3


async def test_names_of_the_longest_and_ephemeral_kind(server):
    async with nsq_client(server.port) as client:
        await client.subscribe("t" * 54 + "#ephemeral", "c" * 64, ready=1)
        assert await client.ask(nsq.pub("t" * 54 + "#ephemeral", b"x")) == b"OK"
        assert (await client.message()).body == b"x"
