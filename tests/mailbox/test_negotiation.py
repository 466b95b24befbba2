"""A broker with tighter limits than nsqd's: what it allows is taken, and said once (164)."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from irismq_runtime.errors import NotConnected
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.protocols.nsq.records import Identify
from tests.mailbox.fake import ScriptedBrokers
from tests.mailbox.on_nsqd import Collector, fresh_topic, mailbox
from tests.support.certificates import make_certificate
from tests.support.nsqd_server import nsqd_server

TIGHT = {
    "heartbeat": ("-max-heartbeat-interval=2s",),
    "short_beats": ("-max-heartbeat-interval=1s",),
    "buffer_size": ("-max-output-buffer-size=1024",),
    "buffer_timeout": ("-min-output-buffer-timeout=100ms",),
    "lease": ("-max-msg-timeout=3s", "-msg-timeout=2s"),
    "everything": (
        "-max-heartbeat-interval=2s",
        "-max-output-buffer-size=1024",
        "-min-output-buffer-timeout=100ms",
        "-max-msg-timeout=3s",
        "-msg-timeout=2s",
    ),
}


@pytest.mark.real_nsqd
@pytest.mark.parametrize("flags", TIGHT.values(), ids=TIGHT)
async def test_what_the_broker_allows_is_taken(flags, caplog):
    caplog.set_level(logging.WARNING, "irismq.mailbox")
    async with nsqd_server("real", flags=flags) as nsqd, mailbox(nsqd.port) as box:
        topic, collector = fresh_topic(), Collector()
        await collector.on(box, topic)
        await box.publish(topic, b"taken")
        await collector.until(lambda: collector.bodies == {b"taken"})
    allowed = [text for text in caplog.messages if "does not allow" in text]
    assert len(allowed) == len(set(allowed)), "it is said once"


async def refusal(port: int, **options: object) -> NotConnected:
    box = NsqMailbox([f"127.0.0.1:{port}"], config=MailboxConfig(start_timeout=1.0, **options))
    with pytest.raises(NotConnected) as caught:
        await box.start()
    return caught.value


@pytest.mark.real_nsqd
async def test_a_broker_that_requires_tls_is_not_answered_by_starting_another(tmp_path):
    certificate = make_certificate(tmp_path)
    flags = (
        "-tls-required",
        f"-tls-cert={certificate.certificate}",
        f"-tls-key={certificate.key}",
    )
    async with nsqd_server("real", flags=flags) as nsqd:
        error = await refusal(nsqd.port)
    assert "TLS" in error.reason
    assert "TLS" in error.remedy
    assert "irismq dev" not in str(error)


@pytest.mark.real_nsqd
async def test_a_broker_that_requires_auth_is_not_answered_by_starting_another():
    async with nsqd_server("real", flags=("-auth-http-address=127.0.0.1:9",)) as nsqd:
        for options in ({}, {"auth_secret": "wrong"}):
            error = await refusal(nsqd.port, **options)
            assert "AUTH" in error.reason
            assert "secret" in error.remedy
            assert "irismq dev" not in str(error)
            assert "wrong" not in str(error)


@pytest.mark.parametrize("heartbeat", [1.0, 5.0, 60.0])
async def test_a_heartbeat_is_lowered_until_it_is_allowed_and_then_left_to_the_broker(heartbeat):
    world = ScriptedBrokers(heartbeat=heartbeat, msg_timeout=60.0)
    world.network.refuse_identify = "IDENTIFY heartbeat interval (5000) is invalid"
    starting = asyncio.ensure_future(world.mailbox.start())
    await world.pass_time(1.0)
    await starting
    asked = [
        json.loads(command.body).get("heartbeat_interval")
        for peer in world.network.peers
        for command in peer.of(Identify)
    ]
    assert asked[0] == heartbeat * 1000
    assert list(dict.fromkeys(asked))[-2:] == [1000, None]
    await world.close()
