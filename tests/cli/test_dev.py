"""`irismq dev` with TLS and AUTH, so that a node's settings can be tried on one machine."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from irismq_runtime.cli import codes
from tests.integration.processes import irismq, running
from tests.support.authorizer import SECRET, authorization_server
from tests.support.certificates import Certificate, make_certificate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
PORTS = ("--nsqd-port", "0", "--nsqd-http-port", "0", "--iris-port", "0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def places(line: str) -> tuple[str, str, str]:
    """The addresses of nsqd, of its HTTP port and of iris in what it says when it runs."""
    words = line.replace("(", "").replace("),", " ").replace(";", "").split()
    return words[2], words[4], words[7]


async def test_a_broker_with_tls_and_auth_serves_who_has_both(made: Certificate):
    tls = ("--tls-cert", str(made.certificate), "--tls-key", str(made.key), "--tls-required")
    async with (
        authorization_server() as authority,
        running("dev", *PORTS, *tls, "--auth-http-address", authority) as dev,
    ):
        await dev.says("Ctrl-C stops")
        nsqd, http, iris = places(next(line for line in dev.said if "Ctrl-C stops" in line))
        where = ("--nsqd", nsqd, "--nsqd-http", http, "--iris", iris)
        code, out, said = await irismq("check", *where)
        assert code == codes.UNREACHABLE
        assert "nsqd requires AUTH" in out + said
        secret = ("--nsqd-auth-secret", SECRET)
        code, out, said = await irismq("check", *where, *secret)
        assert code == codes.UNREACHABLE
        assert "TLS required" in out + said
        trusted = ("--nsqd-tls-ca", str(made.certificate))
        code, out, said = await irismq("check", *where, *trusted, *secret)
        assert code == codes.OK, out + said
        dev.signal(signal.SIGTERM)
        assert await dev.ends() == codes.OK


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--tls-cert", "nothing.pem"), "a certificate and its key go together"),
        (("--tls-cert", "nothing.pem", "--tls-key", "nothing.pem"), "No such file"),
        (("--tls-required",), "the broker has no certificate"),
        (("--auth-http-address", "h:x"), "'x' is not a port"),
    ],
)
async def test_what_has_no_meaning_is_a_line_and_nothing_listens(
    given: tuple[str, ...], named: str, tmp_path: Path
):
    code, _, said = await irismq("dev", *PORTS, *given, cwd=tmp_path)
    assert code == codes.USAGE
    assert named in said
    assert "Ctrl-C stops" not in said
