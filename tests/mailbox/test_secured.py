"""TLS, AUTH and compression on brokers that ask for them, and clear words where they do not fit."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.errors import ConfigError, NotConnected
from irismq_runtime.mailbox import MailboxConfig
from irismq_runtime.protocols.nsq import encode_response
from tests.mailbox.on_nsqd import Collector, eventually, fresh_topic, mailbox
from tests.support.authorizer import authorization_server
from tests.support.certificates import Certificate, make_certificate
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


async def round_trip(port: int, **options: Any) -> None:
    """Publish and consume some messages of several sizes."""
    topic = fresh_topic()
    async with mailbox(port, **options) as made:
        assert made.max_body == 1024 * 1024
        sink = Collector()
        await sink.on(made, topic)
        bodies = [bytes([n % 251]) * size for n, size in enumerate((1, 1000, 60_000, 900_000))]
        for body in bodies:
            await made.publish(topic, body)
        await sink.until(lambda: sink.bodies == set(bodies))


@pytest.mark.parametrize("compression", ["none", "deflate", "snappy"])
async def test_tls_with_and_without_compression_inside(
    kind: Any, certificate: Certificate, compression: str
):
    if compression == "snappy":
        pytest.importorskip("snappy", reason="python-snappy is an extra")
        if kind == "embedded":
            pytest.skip("the embedded broker has no snappy")
    flags = [f"-tls-cert={certificate.certificate}", f"-tls-key={certificate.key}"]
    options = NsqdOptions(tls=certificate.server_context())
    async with nsqd_server(kind, options=options, flags=flags) as server:
        await round_trip(server.port, tls=certificate.client_context(), compression=compression)


async def test_tls_that_the_broker_has_not_is_no_silent_downgrade(
    kind: Any, certificate: Certificate
):
    async with nsqd_server(kind) as server:
        with pytest.raises(NotConnected, match="offers no TLS"):
            await round_trip(server.port, tls=certificate.client_context(), start_timeout=0.3)


GRANTED: dict[str, Any] = {"max_rdy_count": 2500, "tls_v1": True, "auth_required": True}


@pytest.mark.parametrize(
    "answers",
    [
        [GRANTED | {"tls_v1": False}],
        [GRANTED | {"tls_v1": None}],
        [GRANTED, b"OK"],
        [GRANTED, b"OK", b"OK", b"OK"],
    ],
)
async def test_the_secret_of_auth_is_never_sent_in_the_clear_once_tls_was_asked_for(
    certificate: Certificate, answers: list[Any]
):
    """152: an OK that came before TLS was taken for nsqd's, and AUTH went out in the clear."""
    heard = bytearray()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"IDENTIFY\n"))
        size = int.from_bytes(await reader.readexactly(4), "big")
        heard.extend(await reader.readexactly(size))
        said = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in answers]
        writer.write(b"".join(encode_response(one) for one in said))
        while piece := await reader.read(4096):
            heard.extend(piece)
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        options = {"tls": certificate.client_context(), "auth_secret": "hunter2"}
        with pytest.raises(NotConnected, match=r"no TLS|in the clear"):
            await round_trip(port, **options, start_timeout=0.3)
    assert b"hunter2" not in heard


async def test_a_certificate_that_does_not_fit_is_named(
    kind: Any, certificate: Certificate, tmp_path: Any
):
    flags = [f"-tls-cert={certificate.certificate}", f"-tls-key={certificate.key}"]
    options = NsqdOptions(tls=certificate.server_context())
    stranger = make_certificate(tmp_path)
    async with nsqd_server(kind, options=options, flags=flags) as server:
        with pytest.raises(NotConnected, match=r"(?i)certificate"):
            await round_trip(server.port, tls=stranger.client_context(), start_timeout=0.5)


async def test_snappy_that_the_broker_has_not_is_named():
    pytest.importorskip("snappy", reason="python-snappy is an extra")
    async with nsqd_server("embedded") as server:
        with pytest.raises(NotConnected, match="does not grant snappy"):
            await round_trip(server.port, compression="snappy", start_timeout=0.3)


@pytest.fixture
async def authorizer() -> AsyncIterator[str]:
    async with authorization_server() as address:
        yield address


async def test_auth_with_the_right_the_wrong_and_no_secret(kind: Any, authorizer: str):
    options = NsqdOptions(auth_http_addresses=(authorizer,))
    flags = [f"-auth-http-address={authorizer}"]
    async with nsqd_server(kind, options=options, flags=flags) as server:
        await round_trip(server.port, auth_secret="opensesame")  # noqa: S106  # the test's own
        with pytest.raises(NotConnected, match="auth_secret"):
            await round_trip(server.port, auth_secret="wrong", start_timeout=0.3)  # noqa: S106  # as above
        with pytest.raises(NotConnected, match="requires AUTH"):
            await round_trip(server.port, start_timeout=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat": 0.5},
        {"msg_timeout": 0.5},
        {"compression": "zstd"},
        {"deflate_level": 0},
        {"copies": 0},
        {"outbox_bytes": -1},
        {"max_body": 0},
    ],
)
def test_options_without_meaning_are_refused_by_name(options: Any):
    with pytest.raises(ConfigError, match=next(iter(options))):
        MailboxConfig(**options)


def test_secrets_are_not_shown():
    assert "opensesame" not in repr(MailboxConfig(auth_secret="opensesame"))  # noqa: S106  # as above


@pytest.mark.parametrize("known", [{}, {"max_body": 1024 * 1024, "max_delay": 3600.0}])
async def test_a_broker_that_requires_tls_is_not_ready_without_it(
    kind: Any, certificate: Certificate, known: Any
):
    flags = [f"-tls-cert={certificate.certificate}", f"-tls-key={certificate.key}"]
    flags += ["-tls-required=tcp-https"]
    options = NsqdOptions(tls=certificate.server_context(), tls_required=True)
    async with nsqd_server(kind, options=options, flags=flags) as server:
        with pytest.raises(NotConnected, match="TLS required") as caught:
            await round_trip(server.port, **known, start_timeout=1.0)
        assert "TLS settings" in caught.value.remedy
        await round_trip(server.port, **known, tls=certificate.client_context())


async def test_what_was_published_waits_while_a_broker_has_come_to_require_tls(
    certificate: Certificate,
):
    async with nsqd_server("embedded") as server, mailbox(server.port) as made:
        await made.publish("t", b"before")
        await server.stop()
        plain, server._options = (  # type: ignore[attr-defined]  # the embedded one's
            server._options,  # type: ignore[attr-defined]  # as above
            NsqdOptions(tls=certificate.server_context(), tls_required=True),
        )
        receipt = made.publish("t", b"meanwhile")
        await server.start()
        await eventually(lambda: "TLS required" in made.health().reason)
        await server.stop()
        server._options = plain  # type: ignore[attr-defined]  # as above
        await server.start()
        await receipt
        assert made.health().ok
