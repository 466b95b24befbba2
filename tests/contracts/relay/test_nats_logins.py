"""What is told to a NATS server, and by what way: TLS that was asked for, and any login."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from irismq_runtime.config import NatsOverlay
from irismq_runtime.embedded.relay import EmbeddedRelay
from irismq_runtime.embedded.relay.nats import NatsBackEnd, NatsOptions
from irismq_runtime.errors import ConfigError, NotConnected
from irismq_runtime.node.own_servers.nats_overlay import nats_back_end
from tests.support.certificates import Certificate, make_certificate
from tests.support.nats_cluster import nats_cluster
from tests.support.nats_stub import NatsStub, nats_stub
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = NatsOptions(connect_timeout=20.0, reconnect_pause=0.01, stop_seconds=0.2)
SECRETS = ["a/b", "a?b", "a#b", "a,b", "a@b", "a:b", "a%b", "a%41b", "?net=x", "/@:,#%?", "üé"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@asynccontextmanager
async def started(back_end: NatsBackEnd) -> AsyncIterator[EmbeddedRelay]:
    relay = EmbeddedRelay(port=0, back_end=back_end)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


def ways_to_ask(port: int, certificate: Certificate) -> dict[str, NatsBackEnd]:
    """Every way to ask for TLS, by name."""
    at = f"joe:hunter2@127.0.0.1:{port}"
    ca, key = certificate.certificate, certificate.key
    urls = {
        "tls://": f"tls://{at}",
        "a token": f"tls://hunter2@127.0.0.1:{port}",
        "tls_ca": f"nats://{at}?tls_ca={ca}",
        "tls_cert": f"nats://{at}?tls_cert={ca}&tls_key={key}",
        "one of several": f"nats://{at},tls://{at}",
    }
    made = {way: nats_back_end(NatsOverlay.parse(url), 20.0) for way, url in urls.items()}
    made["a context"] = NatsBackEnd(
        [f"nats://127.0.0.1:{port}"],
        user="joe",
        password="hunter2",  # noqa: S106  # the secret of the tests
        tls=certificate.client_context(),
        options=QUICK,
    )
    return made


@pytest.mark.parametrize(
    "way", ["tls://", "a token", "tls_ca", "tls_cert", "one of several", "a context"]
)
@pytest.mark.parametrize("offer", [{}, {"tls_required": False, "auth_required": True}])
async def test_a_server_without_tls_is_refused_before_a_byte_of_the_login_is_sent(
    certificate: Certificate, way: str, offer: dict[str, bool]
):
    """152: the server's first line, in the clear, decided whether there was TLS."""
    async with nats_stub(**offer) as stub:
        with pytest.raises(ConfigError, match="offers no TLS") as caught:
            async with started(ways_to_ask(stub.port, certificate)[way]):
                pass
    assert (stub.clear, stub.logins) == (b"", [])
    assert "hunter2" not in str(caught.value)


async def test_tls_that_a_server_offers_and_does_not_demand_is_taken(certificate: Certificate):
    context = certificate.server_context()
    async with nats_stub(context, tls_available=True, auth_required=True) as stub:
        url = f"tls://joe:hunter2@127.0.0.1:{stub.port}?tls_ca={certificate.certificate}"
        async with started(nats_back_end(NatsOverlay.parse(url), 20.0)):
            assert (stub.logins[0]["user"], stub.logins[0]["pass"]) == ("joe", "hunter2")


def secured(certificate: Certificate, *stubs: NatsStub) -> NatsBackEnd:
    urls = [f"tls://joe:hunter2@127.0.0.1:{stub.port}" for stub in stubs]
    return NatsBackEnd(urls, tls=certificate.client_context(), options=QUICK)


async def test_a_server_without_tls_beside_one_with_it_is_passed_over(certificate: Certificate):
    async with nats_stub() as bare, nats_stub(certificate.server_context(), tls_required=True) as s:
        async with started(secured(certificate, bare, s)) as relay:
            assert relay.health().ok
        assert bare.clear == b""


async def test_a_server_that_comes_back_without_tls_is_told_nothing(certificate: Certificate):
    with_tls = certificate.server_context(), {"tls_required": True}
    async with (
        nats_stub(with_tls[0], **with_tls[1]) as stub,
        started(secured(certificate, stub)) as relay,
    ):
        stub.context, stub.info = None, {}
        await stub.lose(until=lambda: "offers no TLS" in relay.health().reason)
        assert stub.clear == b""
        stub.context, stub.info = with_tls
        await until(lambda: len(stub.logins) == 2 and relay.health().ok)


async def test_a_server_that_others_told_of_needs_tls_as_well(certificate: Certificate):
    async with nats_stub() as bare, nats_stub(certificate.server_context(), tls_required=True) as s:
        s.later = {"connect_urls": [f"127.0.0.1:{bare.port}"]}
        async with started(secured(certificate, s)):
            await s.lose(until=lambda: bare.greeted > 1)
        assert bare.clear == b""


async def test_who_else_there_is_is_believed_when_it_came_by_tls(certificate: Certificate):
    """Anybody on the way can write a server's first line, and name one of his own in it."""
    context = certificate.server_context()
    async with nats_stub(context, tls_required=True) as other:
        found = {"tls_required": True, "connect_urls": [f"127.0.0.1:{other.port}"]}
        async with nats_stub(context, **found) as first, started(secured(certificate, first)):
            await first.lose(until=lambda: len(first.logins) == 5)
            assert other.greeted == 0
            first.later = found
            await first.lose(until=lambda: other.logins)
            assert other.logins[0]["user"] == "joe"


@pytest.mark.parametrize("info", [[], "x", 7, None, {"connect_urls": 7}])
async def test_a_greeting_of_another_kind_is_trouble_and_no_end(info: Any):
    async with nats_stub() as stub:
        stub.info = info
        hasty = NatsOptions(connect_timeout=0.3, stop_seconds=0.1)
        with pytest.raises(NotConnected, match="no meaning"):
            async with started(NatsBackEnd([f"nats://127.0.0.1:{stub.port}"], options=hasty)):
                pass


@pytest.mark.parametrize("secret", SECRETS)
async def test_any_password_is_a_login_at_a_real_server(secret: str):
    """183: what is percent-encoded was sent as it stood."""
    written = json.dumps(secret, ensure_ascii=False)
    extra = f"authorization {{ user: joe, password: {written} }}"
    async with nats_cluster(1, extra=extra) as cluster:
        at = cluster.urls[0].removeprefix("nats://")
        url = f"nats://joe:{quote(secret, safe='')}@{at}"
        async with started(nats_back_end(NatsOverlay.parse(url), 20.0)) as relay:
            assert relay.health().ok
            assert secret not in json.dumps(relay.back_end.stats().to_dict(), ensure_ascii=False)
        with pytest.raises(ConfigError, match="refused this relay") as caught:
            async with started(nats_back_end(NatsOverlay.parse(f"nats://joe:{'no'}@{at}"), 20.0)):
                pass
        assert secret not in str(caught.value)


async def test_each_server_is_told_its_own_login_alone():
    async with nats_stub(auth_required=True) as one, nats_stub(auth_required=True) as two:
        urls = [f"nats://ann:first@127.0.0.1:{one.port}", f"nats://127.0.0.1:{two.port}"]
        async with started(NatsBackEnd(urls, options=QUICK)):
            for _ in range(6):
                logins = len(one.logins) + len(two.logins)
                one.hang_up()
                two.hang_up()
                await until(lambda logins=logins: len(one.logins) + len(two.logins) > logins)
            assert {login.get("pass") for login in one.logins} <= {"first"}
            assert {login.get("pass") for login in two.logins} <= {None}
