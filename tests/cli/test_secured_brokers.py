"""Commands at brokers that want AUTH, a client's certificate or https, or that a directory knows.

163: what a node can do, every command can; what cannot be read is an error, never empty.
"""

from __future__ import annotations

import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes
from irismq_runtime.embedded.nsqd import NsqdOptions
from irismq_runtime.mailbox import MailboxConfig, NsqMailbox
from irismq_runtime.messaging import dead_topic
from tests.cli.test_dead import letter
from tests.integration.processes import irismq
from tests.mailbox.test_on_nsqd import lookupd
from tests.support.authorizer import SECRET, authorization_server
from tests.support.certificates import Certificate, make_certificate
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ADDRESS = "shop.inventory"
KINDS = ["embedded", pytest.param("real", marks=pytest.mark.real_nsqd)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


async def bury(port: int, count: int, **options: Any) -> None:
    mailbox = NsqMailbox([f"127.0.0.1:{port}"], config=MailboxConfig(**options))
    await mailbox.start()
    await mailbox.publish_many(dead_topic(ADDRESS), [letter() for _ in range(count)])
    await mailbox.close(1.0)


async def is_served(wrong: tuple[str, ...], right: tuple[str, ...], named: str) -> None:
    """With `wrong` each command fails and says why; with `right` it does its work."""
    for command in ("list", "replay"):
        code, out, said = await irismq("dead", command, ADDRESS, *all_of(command), *wrong)
        assert code == codes.UNREACHABLE, (command, out, said)
        assert named in said
        assert out == ""
    code, out, said = await irismq("check", *wrong)
    assert code == codes.UNREACHABLE
    assert named in out + said
    code, out, said = await irismq("dead", "list", ADDRESS, *right)
    assert code == codes.OK, said
    assert len(json.loads(out)) == 2
    code, out, said = await irismq("dead", "replay", ADDRESS, "--all", *right)
    assert (code, said) == (codes.OK, "2 letters replayed\n")
    code, out, said = await irismq("dead", "list", ADDRESS, *right)
    assert (code, json.loads(out)) == (codes.OK, []), said
    _, out, said = await irismq("check", *right)
    assert named not in out + said


def all_of(command: str) -> tuple[str, ...]:
    return ("--all",) if command == "replay" else ()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_secret_of_brokers_that_require_auth(kind: Any) -> None:
    async with authorization_server() as authorizer:
        options = NsqdOptions(auth_http_addresses=(authorizer,))
        flags = [f"-auth-http-address={authorizer}"]
        async with nsqd_server(kind, options=options, flags=flags) as server:
            await bury(server.port, 2, auth_secret=SECRET)
            to = at(server.port, f"127.0.0.1:{server.http_port}")
            await is_served(to, (*to, "--nsqd-auth-secret", SECRET), "AUTH")
            wrong = (*to, "--nsqd-auth-secret", "hunter2")
            code, out, said = await irismq("dead", "list", ADDRESS, *wrong)
            assert code in {codes.OK, codes.UNREACHABLE}
            assert "hunter2" not in out + said


@pytest.mark.parametrize("kind", KINDS)
async def test_the_certificate_that_brokers_want_of_a_client(kind: Any, made: Certificate) -> None:
    context = made.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(made.certificate)
    flags = [
        *(f"-tls-cert={made.certificate}", f"-tls-key={made.key}", "-tls-required=tcp-https"),
        *("-tls-client-auth-policy=require-verify", f"-tls-root-ca-file={made.certificate}"),
    ]
    options = NsqdOptions(tls=context, tls_required=True)
    async with nsqd_server(kind, options=options, flags=flags) as server:
        own = made.client_context()
        own.load_cert_chain(made.certificate, made.key)
        await bury(server.port, 2, tls=own)
        to = at(server.port, f"127.0.0.1:{server.http_port}")
        trusting = (*to, "--nsqd-tls-ca", str(made.certificate))
        with_own = (
            *trusting,
            *("--nsqd-tls-cert", str(made.certificate), "--nsqd-tls-key", str(made.key)),
        )
        await is_served(trusting, with_own, "TLS")


@pytest.mark.real_nsqd
async def test_brokers_whose_http_is_https_alone(made: Certificate) -> None:
    flags = [f"-tls-cert={made.certificate}", f"-tls-key={made.key}", "-tls-required=true"]
    async with nsqd_server("real", flags=flags) as server:
        await bury(server.port, 2, tls=made.client_context())
        trusting = ("--nsqd-tls-ca", str(made.certificate))
        plain = (*at(server.port, f"127.0.0.1:{server.http_port}"), *trusting)
        secured = f"https://127.0.0.1:{server.https_port}"  # type: ignore[attr-defined]  # the real one's
        await is_served(plain, (*at(server.port, secured), *trusting), "TLS")


@pytest.mark.real_nsqd
async def test_letters_at_brokers_that_only_a_directory_knows(tmp_path: Any) -> None:
    async with two_brokers(tmp_path) as (first, second, directory):
        await bury(second.port, 2)
        to = at(first.port, f"127.0.0.1:{first.http_port}")
        code, out, said = await irismq("dead", "list", ADDRESS, *to)
        assert code != codes.OK, "it knows nothing of that address"
        assert out == ""
        to = (*to, "--lookupd", f"127.0.0.1:{directory}")
        code, out, said = await irismq("dead", "list", ADDRESS, *to)
        assert code == codes.OK, said
        assert len(json.loads(out)) == 2
        code, out, said = await irismq("dead", "replay", ADDRESS, "--all", *to)
        assert (code, said) == (codes.OK, "2 letters replayed\n")
        gone = (*to, "--lookupd", "127.0.0.1:1")
        code, out, said = await irismq("dead", "list", ADDRESS, *gone)
        assert (code, out) == (codes.UNREACHABLE, "")


@asynccontextmanager
async def two_brokers(folder: Any) -> AsyncIterator[tuple[Any, Any, int]]:
    """Two nsqds that tell a directory of themselves, and where it answers HTTP."""
    async with lookupd(folder) as (tcp, http):
        flags = [f"-lookupd-tcp-address=127.0.0.1:{tcp}"]
        async with (
            nsqd_server("real", flags=flags) as first,
            nsqd_server("real", flags=flags) as second,
        ):
            yield first, second, http


def at(port: int, http: str) -> tuple[str, ...]:
    return ("--nsqd", f"127.0.0.1:{port}", "--nsqd-http", http)
