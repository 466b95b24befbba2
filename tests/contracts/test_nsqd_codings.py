"""TLS in the middle of the stream, deflate, and AUTH: ours and nsqd 1.3.0 alike."""

from __future__ import annotations

import asyncio
import json
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.embedded.nsqd.codings import CodingError, DeflateCoding
from irismq_runtime.protocols import nsq
from tests.support.certificates import Certificate, make_certificate
from tests.support.nsq_client import NsqClient, nsq_client
from tests.support.nsqd_http import channel_stats
from tests.support.nsqd_server import NsqdServer, nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=KINDS)
async def server(
    request: pytest.FixtureRequest, certificate: Certificate
) -> AsyncIterator[NsqdServer]:
    options = NsqdOptions(tls=certificate.server_context())
    flags = [f"-tls-cert={certificate.certificate}", f"-tls-key={certificate.key}"]
    flags += ["-snappy=false", "-https-address=127.0.0.1:0"]
    async with nsqd_server(request.param, options=options, flags=flags) as running:
        yield running


async def to_tls(client: NsqClient, certificate: Certificate, **fields: Any) -> dict[str, Any]:
    """IDENTIFY with tls_v1, the handshake, and the OK that follows it."""
    answer: dict[str, Any] = json.loads(await client.identify(tls_v1=True, **fields))
    assert answer["tls_v1"] is True
    await client.writer.start_tls(certificate.client_context(), server_hostname="127.0.0.1")
    if not answer["deflate"]:
        assert await client.response() == b"OK"
    return answer


class Deflated:
    """A client's side of deflate, under the bare client."""

    def __init__(self, client: NsqClient) -> None:
        self._packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        self._read, self._write = client.reader.read, client.writer.write
        self._rest = client.decoder.take_rest()
        client.reader.read = self.read  # type: ignore[method-assign]  # the coding sits here
        client.writer.write = self.write  # type: ignore[method-assign]  # as above

    async def read(self, size: int = -1) -> bytes:
        while True:
            data, self._rest = self._rest or await self._read(size), b""
            plain = self._unpacker.decompress(data)
            if plain or not data:
                return plain

    def write(self, data: bytes) -> None:
        self._write(self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH))


async def round_trip(client: NsqClient, bodies: list[bytes]) -> None:
    await client.subscribe("t", ready=2500)
    for body in bodies:
        client.send(nsq.pub("t", body))
    got, oks = [], 0
    while len(got) < len(bodies) or oks < len(bodies):
        frame = await client.frame()
        if isinstance(frame, nsq.Message):
            got.append(frame.body)
            client.send(nsq.fin(frame.id))
        else:
            oks += frame == nsq.Response(b"OK")
    assert sorted(got) == sorted(bodies)


BODIES = [b"lone", b"x" * 1000, bytes(range(256)) * 240, b"y" * 900_000]


async def test_tls_begins_in_the_middle_of_the_stream(server, certificate):
    async with nsq_client(server.port) as client:
        await to_tls(client, certificate)
        await round_trip(client, BODIES)
        facts = (await channel_stats(server, "t", "ch"))["clients"][0]
        assert facts["tls"] is True
        assert facts["tls_version"] in {"TLS1.3", "TLS1.2"}
        assert facts["tls_cipher_suite"]


async def test_deflate(server):
    async with nsq_client(server.port) as client:
        client.most = 1
        answer = json.loads(await client.identify(deflate=True, deflate_level=9))
        assert (answer["deflate"], answer["deflate_level"]) == (True, 6)
        Deflated(client)
        assert await client.response() == b"OK"
        await round_trip(client, BODIES)
        assert (await channel_stats(server, "t", "ch"))["clients"][0]["deflate"] is True


async def test_a_lone_deflated_message_waits_for_nothing(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as publisher:
        client.most = 1
        await client.identify(deflate=True, heartbeat_interval=60_000)
        Deflated(client)
        assert await client.response() == b"OK"
        await client.subscribe("t", ready=10)
        for number in range(5):
            assert await publisher.ask(nsq.pub("t", b"%d" % number)) == b"OK"
            assert (await client.message()).body == b"%d" % number
        assert client.heartbeats == 0


async def test_snappy_is_answered_with_no(server):
    async with nsq_client(server.port) as client:
        assert json.loads(await client.identify(snappy=True))["snappy"] is False
        assert await client.ask(nsq.pub("t", b"x")) == b"OK"


async def test_garbage_instead_of_a_handshake_harms_this_client_alone(server):
    async with nsq_client(server.port) as client, nsq_client(server.port) as bystander:
        await client.identify(tls_v1=True)
        client.send(b"GET / HTTP/1.1\r\n\r\n" * 10)
        while True:
            try:
                if not await client.reader.read(1000):
                    break
            except ConnectionError:
                break
        assert await bystander.ask(nsq.pub("t", b"x")) == b"OK"


async def test_tls_and_deflate_inside_it_on_the_embedded_server(certificate):
    options = NsqdOptions(tls=certificate.server_context())
    async with (
        nsqd_server("embedded", options=options) as server,
        nsq_client(server.port) as client,
    ):
        client.most = 1
        answer = await to_tls(client, certificate, deflate=True)
        assert answer["deflate"] is True
        # The first OK is in TLS alone, the second one deflated inside it.
        assert await client.response() == b"OK"
        Deflated(client)
        assert await client.response() == b"OK"
        await round_trip(client, BODIES)


@pytest.fixture(params=KINDS)
async def strict(
    request: pytest.FixtureRequest, certificate: Certificate
) -> AsyncIterator[NsqdServer]:
    """One that requires TLS."""
    options = NsqdOptions(tls=certificate.server_context(), tls_required=True)
    flags = [f"-tls-cert={certificate.certificate}", f"-tls-key={certificate.key}"]
    flags += ["-tls-required=tcp-https"]
    async with nsqd_server(request.param, options=options, flags=flags) as running:
        yield running


@pytest.mark.parametrize("asks", [False, True], ids=["unasked", "after-identify"])
@pytest.mark.parametrize(
    "command",
    [
        *("AUTH", "CLS", "DPUB t 1", "FIN", "FIN 0123456789abcdef", "MPUB t", "NOP", "PUB t"),
        *("PUB", "PUB $bad", "RDY 1", "REQ", "SUB", "SUB t c", "TOUCH x", "WHAT", "identify"),
    ],
)
async def test_what_requires_tls_refuses_every_command_without_it(strict, command, asks):
    async with nsq_client(strict.port) as client:
        if asks:
            await client.identify()
        client.send(command.encode() + b"\n")
        refusal = await client.error()
        verb = command.split(" ")[0]
        assert refusal.code == "E_INVALID"
        assert refusal.text == f"cannot {verb} in current state (TLS required)"
        assert await client.closed()


async def test_what_requires_tls_takes_every_command_within_it(strict, certificate):
    async with nsq_client(strict.port) as client:
        await to_tls(client, certificate)
        await round_trip(client, [b"x"])


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=10), st.integers(1, 9))
def test_deflate_undoes_itself(pieces, level):
    one, other = DeflateCoding(level), DeflateCoding(level)
    for piece in pieces:
        assert b"".join(other.decode_untrusted(one.encode(piece))) == piece


@given(st.binary(min_size=1, max_size=300))
def test_undeflating_garbage_raises_the_one_error(data):
    coding = DeflateCoding(6)
    try:
        plain = sum(map(len, coding.decode_untrusted(data)))
    except CodingError:
        plain = 0
    assert plain <= 1032 * len(data) + 258


def test_a_deflate_bomb_comes_in_bounded_pieces():
    bomb = zlib.compress(b"\0" * 50_000_000, 9, wbits=-15)
    pieces = DeflateCoding(6).decode_untrusted(bomb)
    assert max(len(piece) for piece in pieces) <= 256 * 1024


# -- AUTH ---------------------------------------------------------------------------


class AuthServer:
    """An authorization server that answers from a script and notes who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: dict[str, Any] = {
            "ttl": 3600,
            "identity": "mike",
            "identity_url": "http://x",
            "authorizations": [
                {
                    "permissions": ["subscribe", "publish"],
                    "topic": "^mine",
                    "channels": [".*"],
                }
            ],
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(request.split()[1].decode())
        body = json.dumps(self.answer).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"X-NSQ-Content-Type: nsq; version=1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def authorized_server(kind: Any) -> AsyncIterator[tuple[NsqdServer, AuthServer]]:
    script = AuthServer()
    listener = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    options = NsqdOptions(auth_http_addresses=(address,))
    async with (
        listener,
        nsqd_server(kind, options=options, flags=[f"-auth-http-address={address}"]) as server,
    ):
        yield server, script


@pytest.mark.parametrize("kind", KINDS)
async def test_auth_grants_what_the_server_says(kind):
    async with authorized_server(kind) as (server, script), nsq_client(server.port) as client:
        assert json.loads(await client.identify())["auth_required"] is True
        answer = json.loads(await client.ask(nsq.auth("s3cret")))
        assert answer == {"identity": "mike", "identity_url": "http://x", "permission_count": 1}
        assert "secret=s3cret" in script.asked[0]
        assert "remote_ip=127.0.0.1" in script.asked[0]
        assert "tls=false" in script.asked[0]
        await client.subscribe("mine", ready=1)
        client.send(nsq.pub("mine", b"x"))
        frames = [await client.frame(), await client.frame()]
        assert sum(isinstance(frame, nsq.Message) for frame in frames) == 1
        assert (await channel_stats(server, "mine", "ch"))["clients"][0]["auth_identity"] == "mike"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (nsq.pub("mine", b"x"), "E_AUTH_FIRST"),
        (nsq.sub("mine", "c"), "E_AUTH_FIRST"),
        (nsq.auth("s") + nsq.pub("other", b"x"), "E_UNAUTHORIZED"),
        (nsq.auth("s") + nsq.mpub("other", [b"x"]), "E_UNAUTHORIZED"),
        (nsq.auth("s") + nsq.dpub("other", 1, b"x"), "E_UNAUTHORIZED"),
        (nsq.auth("s") + nsq.sub("other", "c"), "E_UNAUTHORIZED"),
        (nsq.auth("s") + nsq.auth("s"), "E_INVALID"),
    ],
)
async def test_auth_refuses_the_rest(kind, sent, code):
    async with authorized_server(kind) as (server, _), nsq_client(server.port) as client:
        client.send(sent)
        while isinstance(frame := await client.frame(), nsq.Response):
            assert json.loads(frame.data)["identity"] == "mike"
        assert isinstance(frame, nsq.ErrorFrame)
        assert frame.code == code
        assert await client.closed()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"authorizations": []}, "E_UNAUTHORIZED"),
        ({"ttl": 0}, "E_AUTH_FAILED"),
        (
            {"authorizations": [{"permissions": ["rule"], "topic": "", "channels": []}]},
            "E_AUTH_FAILED",
        ),
        ({"authorizations": [{"permissions": [], "topic": "(", "channels": []}]}, "E_AUTH_FAILED"),
    ],
)
async def test_an_unusable_authorization_grants_nothing(kind, changes, code):
    async with authorized_server(kind) as (server, script), nsq_client(server.port) as client:
        script.answer |= changes
        client.send(nsq.auth("s"))
        assert (await client.error()).code == code
        assert await client.closed()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_expired_authorization_is_asked_for_again(kind):
    async with authorized_server(kind) as (server, script), nsq_client(server.port) as client:
        script.answer["ttl"] = 1
        await client.ask(nsq.auth("s"))
        while len(script.asked) < 2:
            assert await client.ask(nsq.pub("mine", b"x")) == b"OK"
        script.answer["authorizations"][0]["topic"] = "^other"
        while (frame := await client.frame_after(nsq.pub("mine", b"x"))) == nsq.Response(b"OK"):
            continue
        assert isinstance(frame, nsq.ErrorFrame)
        assert frame.code == "E_UNAUTHORIZED"
