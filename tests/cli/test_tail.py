"""`irismq tail` in real pipes, against an nsqd on real sockets (case 128)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from irismq_runtime.cli import codes
from irismq_runtime.cli.http import get_json, post
from irismq_runtime.cli.tail import tail
from irismq_runtime.mailbox import NsqMailbox
from irismq_runtime.wire import Envelope, Kind, Serializer, encode_envelope
from tests.cli.fakes import nowhere
from tests.integration.processes import IRISMQ, Process, irismq, running
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
TOPIC = "shop.inventory"


class Broker:
    """An nsqd, and what the tests tell it and ask it."""

    def __init__(self, server: Any, mailbox: NsqMailbox) -> None:
        self.flags = ("--nsqd", f"127.0.0.1:{server.port}")
        self.http = f"127.0.0.1:{server.http_port}"
        self.mailbox = mailbox

    async def publish(self, *bodies: bytes) -> None:
        await asyncio.gather(*(self.mailbox.publish(TOPIC, body) for body in bodies))

    async def channel(self, name: str) -> None:
        await post(self.http, "/topic/create", topic=TOPIC)
        await post(self.http, "/channel/create", topic=TOPIC, channel=name)

    async def channels(self, topic: str = TOPIC) -> dict[str, Any]:
        stats = await get_json(self.http, "/stats", topic=topic)
        found = [entry for entry in stats["topics"] or () if entry["topic_name"] == topic]
        listed = found[0]["channels"] or () if found else ()
        return {channel["channel_name"]: channel for channel in listed}

    async def waiting(self, name: str) -> int:
        """What is in a channel that nobody consumes, once nsqd knows that."""
        while (found := (await self.channels())[name])["in_flight_count"] or found["client_count"]:
            await asyncio.sleep(0)
        return int(found["depth"] + found["deferred_count"])


@pytest.fixture(
    params=["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)],
)
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with nsqd_server(request.param) as server:
        mailbox = NsqMailbox([f"127.0.0.1:{server.port}"])
        await mailbox.start()
        yield Broker(server, mailbox)
        await mailbox.close(1.0)


@contextlib.asynccontextmanager
async def tailing(
    broker: Broker,
    *arguments: str,
    address: str = TOPIC,
    then: str = "",
    stdout: int = asyncio.subprocess.PIPE,
) -> AsyncIterator[Process]:
    """`irismq tail`, ready; `then`: what a shell does with it, in which "$@" is the command."""
    command = ["tail", address, *broker.flags, "--nsqd-http", broker.http, *arguments]
    if not then and stdout == asyncio.subprocess.PIPE:
        async with running(*command) as process:
            await process.says(f"tailing {address} ")
            yield process
        return
    shell = ["sh", "-c", then, "sh"] if then else []
    started = await asyncio.create_subprocess_exec(
        *(*shell, *IRISMQ, *command),
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    process = Process(started)
    try:
        await process.says(f"tailing {address} ")
        yield process
    finally:
        if started.returncode is None:
            started.kill()
        await process.ends()


async def everything(process: Process) -> bytes:
    assert process.process.stdout is not None
    return await process.process.stdout.read()


async def line(process: Process) -> bytes:
    assert process.process.stdout is not None
    return await process.process.stdout.readline()


async def test_head_ends_it_after_one_whole_line(broker: Broker) -> None:
    then = '("$@"; echo "code $?" >&2) | head -1'
    async with tailing(broker, "--raw", then=then) as process:
        await broker.publish(b"first\nof\0two")
        assert await everything(process) == b"first\\nof\\x00two\n"
        await process.says("code ")  # without another message that would find out
        assert process.said[-1] == f"code {codes.OK}\n"
        assert await process.ends() == 0


async def test_each_line_is_there_as_soon_as_the_message(broker: Broker) -> None:
    async with tailing(broker) as process:
        for number in range(3):
            _, body, _ = Serializer().dump({"n": number, "text": "a\nb\0\x1b"})
            envelope = Envelope(Kind.TELL, bytes(16), "shop.put", body)
            await broker.publish(encode_envelope(envelope))
            shown = await line(process)
            expected = f'shop.put {{"n": {number}, "text": "a\\nb\\u0000\\u001b"}}\n'
            assert shown.endswith(expected.encode())
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK


async def test_frames_carry_any_bytes(broker: Broker) -> None:
    bodies = [b"a\nb", b"\0", bytes(range(256)), b"x" * 100_000]
    async with tailing(broker, "--frame", "--count", "4") as process:
        await broker.publish(*bodies)
        data = await everything(process)
        assert await process.ends() == codes.OK
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    assert sorted(found) == sorted(bodies)


async def test_count_ends_it_and_json_says_all(broker: Broker) -> None:
    async with tailing(broker, "--json", "-n", "2") as process:
        await broker.publish(*(b"{}" for _ in range(5)))
        shown = [json.loads(one) for one in (await everything(process)).splitlines()]
        assert await process.ends() == codes.OK
    assert [one["text"] for one in shown] == ["{}", "{}"]
    assert {one["attempts"] for one in shown} == {1}


async def test_what_was_not_printed_is_not_acknowledged(broker: Broker) -> None:
    """A reader that takes one line and is killed: the rest is read by the next command."""
    await broker.channel("audit")
    bodies = [b"%03d" % number + b"." * 10_000 for number in range(60)]
    receiving, sending = os.pipe()
    async with tailing(broker, "--raw", "--channel", "audit", stdout=sending) as process:
        os.close(sending)
        await broker.publish(*bodies)
        read = await asyncio.to_thread(os.read, receiving, 10_004)
        os.close(receiving)
        assert await process.ends() == codes.OK
    left = await broker.waiting("audit")
    # No more are gone than a pipe of Linux holds (64 KiB), and what was read.
    assert 0 <= len(bodies) - left <= (65_536 + len(read)) // 10_004
    async with tailing(broker, "--raw", "--channel", "audit", "-n", str(left)) as process:
        again = (await everything(process)).splitlines()
        assert await process.ends() == codes.OK
    assert len(set(again)) == left
    assert set(again) <= set(bodies)
    assert await broker.waiting("audit") == 0


async def test_a_signal_ends_it_while_nobody_reads(broker: Broker) -> None:
    receiving, sending = os.pipe()
    async with tailing(broker, "--raw", stdout=sending) as process:
        os.close(sending)
        await broker.publish(*(b"." * 20_000 for _ in range(10)))
        await asyncio.to_thread(os.read, receiving, 1)  # it has begun to write
        process.signal(signal.SIGTERM)
        assert await process.ends() == codes.OK
    os.close(receiving)


async def test_nothing_is_stolen_from_a_mailbox_that_nobody_has_opened_yet(broker: Broker) -> None:
    await broker.publish(b"before")
    async with tailing(broker, "--raw", "-n", "1") as process:
        assert "made its channel mailbox" in "".join(process.said)
        await broker.publish(b"after")
        shown = await line(process)
        assert await process.ends() == codes.OK
    assert shown in {b"before\n", b"after\n"}
    while (await broker.channels())["mailbox"]["depth"] != 2:
        await asyncio.sleep(0)
    await _only(broker, "mailbox")


async def test_dead_letters_are_kept_for_those_who_replay_them(broker: Broker) -> None:
    letters = f"{TOPIC}.dead"
    await broker.mailbox.publish(letters, b"a letter")
    flags = (*broker.flags, "--nsqd-http", broker.http)
    code, _, said = await irismq("tail", letters, *flags, "--channel", "dead")
    assert (code, "its members'" in said) == (codes.USAGE, True)
    async with tailing(broker, "--raw", address=letters) as process:
        await broker.mailbox.publish(letters, b"another")
        assert await line(process) in {b"a letter\n", b"another\n"}
        while (await broker.channels(letters))["dead"]["depth"] != 2:
            await asyncio.sleep(0)


async def test_a_channel_that_somebody_consumes_is_left_to_him(broker: Broker) -> None:
    await broker.channel("board")
    async with tailing(broker, "--channel", "audit"):
        flags = (*broker.flags, "--nsqd-http", broker.http)
        code, _, said = await irismq("tail", TOPIC, *flags, "--channel", "audit")
        assert (code, "somebody consumes channel audit" in said) == (codes.USAGE, True)


async def test_a_topic_with_a_channel_gets_no_other(broker: Broker) -> None:
    await broker.channel("archive")
    async with tailing(broker, "--raw", "-n", "1") as process:
        assert len(process.said) == 1
        await broker.publish(b"x")
        assert await line(process) == b"x\n"
        assert await process.ends() == codes.OK
    await _only(broker, "archive")


async def _only(broker: Broker, name: str) -> None:
    """Wait until nsqd has forgotten the ephemeral channel."""
    while set(await broker.channels()) != {name}:
        await asyncio.sleep(0)


async def test_no_http_is_said_and_take_does_without(broker: Broker) -> None:
    closed = nowhere()
    code, _, said = await irismq("tail", TOPIC, *broker.flags, "--nsqd-http", closed)
    assert code == codes.UNREACHABLE
    assert "--nsqd-http, or --take" in said
    assert len(said.splitlines()) == 1
    await broker.publish(b"kept in the topic")
    code, out, _ = await irismq(
        "tail", TOPIC, *broker.flags, "--nsqd-http", closed, "--take", "--raw", "-n", "1"
    )
    assert (code, out) == (codes.OK, "kept in the topic\n")


async def test_the_wrong_server_is_named(broker: Broker) -> None:
    code, _, said = await irismq("tail", TOPIC, "--nsqd", broker.http, "--take")
    assert code == codes.UNREACHABLE
    assert "should be nsqd, but there is nsqd's HTTP" in said
    assert len(said.splitlines()) == 1


def test_forms_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        tail(TOPIC, as_lines_of_json=True, raw=True)
    assert ended.value.exit_code == codes.USAGE
    assert capsys.readouterr().err == "irismq: --json, --raw and --frame exclude each other\n"
