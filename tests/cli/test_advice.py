"""What a command advises where a server does not answer, or another one does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from actors import StartFailed
from actors.texts import line_of
from irismq_runtime.cli import codes
from irismq_runtime.cli.advice import OR_EMBEDDED, START_DEV, START_NATS
from irismq_runtime.cli.console import verdict
from irismq_runtime.cli.server_identification import ServerIdentity, ServerKind, judge, sentence
from irismq_runtime.errors import NotConnected, StoreUnavailable
from supervisors import ChildStartFailed
from tests.cli.fakes import nowhere, saying, web
from tests.integration.processes import irismq
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
TREE = "tests.integration.service:Shop"


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[str]:
    async with nsqd_server("embedded") as nsqd:
        yield f"{nsqd.host}:{nsqd.port}"


def refusing(role: ServerKind, where: str, start: str = START_DEV) -> str:
    """What is said of an address where a `role` should be and nothing is."""
    return judge(
        role, where, ServerIdentity(ServerKind.NOTHING, "Connection refused"), start=start
    ).line


def caused_by(*errors: BaseException) -> BaseException:
    """The first of them, each with the next one as its cause."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (StoreUnavailable("postgresql://db", "away", "refused"), codes.UNREACHABLE),
        (StoreUnavailable("postgresql://db", "went back", "restored"), codes.FAILED),
        (NotConnected("nsqd a:1", "refused"), codes.UNREACHABLE),
        (KeyError("shelf"), codes.FAILED),
    ],
)
def test_a_tree_that_does_not_start_says_whether_a_server_is_away(cause, code) -> None:
    """Whoever starts it again (systemd, Kubernetes) then knows that waiting helps."""
    child = StartFailed("urn:1", cause)
    error = caused_by(ChildStartFailed("Shop", "Stock", "start_failed", None), child, cause)
    text, found = verdict(error)
    assert found == code
    assert line_of(cause) in text


def test_a_store_that_goes_away_under_a_command_is_a_server_that_does_not_answer() -> None:
    assert verdict(StoreUnavailable("sqlite:///x", "away", "gone"))[1] == codes.UNREACHABLE
    assert verdict(StoreUnavailable("sqlite:///x", "full", "no room"))[1] == codes.FAILED


def test_an_error_that_is_its_own_cause_is_told_and_that_is_all() -> None:
    error = StartFailed("urn:1", ValueError("x"))
    error.__cause__ = error
    text, code = verdict(error)
    assert text.startswith(str(error))
    assert code == codes.FAILED


@pytest.mark.parametrize(
    "role",
    [ServerKind.NSQD, ServerKind.NSQD_HTTP, ServerKind.IRIS, ServerKind.LOOKUPD, ServerKind.NATS],
)
def test_dev_is_advised_for_what_it_runs(role: ServerKind) -> None:
    said = refusing(role, "a:1", OR_EMBEDDED)
    assert said.endswith(START_NATS if role is ServerKind.NATS else OR_EMBEDDED)


def test_an_advice_for_several_is_given_once() -> None:
    nothing = ServerIdentity(ServerKind.NOTHING, "refused")
    found = [
        judge(ServerKind.NSQD, "a:1", nothing),
        judge(ServerKind.NATS, "b:2", nothing),
        judge(ServerKind.IRIS, "c:3", nothing),
        judge(ServerKind.NSQD, "d:4", ServerIdentity(ServerKind.NSQD)),
    ]
    assert sentence(found) == (
        "a:1 should be nsqd, but there is nothing: refused; "
        f"c:3 should be an Iris relay, but there is nothing: refused; {START_DEV}; "
        f"b:2 should be a NATS server, but there is nothing: refused; {START_NATS}; "
        "d:4: nsqd"
    )
    assert sentence([]) == ""


async def test_run_advises_what_fits_each_server() -> None:
    nsqd, nats = nowhere(), nowhere()
    over = ("--iris", f"nats://{nats}", "--connect-timeout", "0.3")
    both, embedded, plain = await asyncio.gather(
        irismq("run", TREE, "--nsqd", nsqd, *over),
        irismq("run", TREE, "--embedded", *over),
        irismq("run", TREE, "--nsqd", nsqd, "--iris", nats, "--connect-timeout", "0.3"),
    )
    absent = refusing(ServerKind.NATS, nats)
    broken = refusing(ServerKind.NSQD, nsqd, OR_EMBEDDED)
    assert both == (codes.UNREACHABLE, "", f"irismq: {broken}; {absent}\n")
    assert embedded == (codes.UNREACHABLE, "", f"irismq: {absent}\n")
    assert plain[2].count(OR_EMBEDDED) == 1
    assert plain[2].strip().endswith(OR_EMBEDDED)


@pytest.mark.parametrize("command", ["doctor", "check"])
async def test_who_looks_at_servers_advises_what_fits_each(command: str) -> None:
    nsqd, nats = nowhere(), nowhere()
    flags = ("--nsqd", nsqd, "--nsqd-http", nsqd, "--iris", f"nats://{nats}")
    code, out, _ = await irismq(command, *flags)
    assert code == codes.UNREACHABLE
    assert refusing(ServerKind.NATS, nats) in out
    assert refusing(ServerKind.NSQD, nsqd) in out


@pytest.mark.parametrize("command", [("ask", "shop"), ("tree",), ("observe",), ("top", "--once")])
async def test_commands_that_ask_nodes_advise_for_nats(command: tuple[str, ...]) -> None:
    nats = nowhere()
    async with broker() as nsqd:
        code, _, said = await irismq(*command, "--nsqd", nsqd, "--iris", f"nats://{nats}")
    assert code == codes.UNREACHABLE
    assert said.startswith(f"irismq: NATS at {nats} does not answer: ")
    assert said.endswith(f"; {START_NATS}\n")


async def test_a_relay_names_what_is_in_the_place_of_nats() -> None:
    nats = nowhere()
    async with broker() as nsqd:
        flags = ("--port", "0", "--connect-timeout", "0.3")
        absent, other = await asyncio.gather(
            irismq("relay", "--nats", f"nats://{nats}", *flags),
            irismq("relay", "--nats", f"nats://{nsqd}", *flags),
        )
    assert absent == (codes.UNREACHABLE, "", f"irismq: {refusing(ServerKind.NATS, nats)}\n")
    line = f"{nsqd} should be a NATS server, but there is nsqd; give another address"
    assert other == (codes.UNREACHABLE, "", f"irismq: {line}\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\0\0\0\x12\0\0\0\1E_BAD_PROTOCOL\r\n", "what it says is not HTTP"),
        (b"", "it hangs up on HTTP"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nshort", "what it says is not HTTP"),
        (web({}), "it answers 404"),
        (None, "Connection refused"),
    ],
)
async def test_what_is_no_http_is_one_line_with_advice(answer: bytes | None, reason: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        where = nowhere()
        if answer is not None:
            where = await stack.enter_async_context(saying(answer))
        code, out, said = await irismq("mailbox", "shop", "--nsqd-http", where)
    assert (code, out) == (codes.UNREACHABLE, "")
    assert said == (
        f"irismq: nsqd HTTP {where} does not answer: {reason}; give nsqd's HTTP address "
        "with --nsqd-http (4151 by default), or start `irismq dev`\n"
    )


async def test_no_proxy_stands_between_a_command_and_nsqd() -> None:
    async with nsqd_server("embedded") as nsqd:
        where = f"{nsqd.host}:{nsqd.http_port}"
        assert await irismq("mailbox", "--nsqd-http", where) == (
            codes.OK,
            "[]\n",
            "no broker has a topic\n",
        )
        code, _, said = await irismq(
            "mailbox", "shop", "--nsqd-http", where, http_proxy=f"http://{nowhere()}", no_proxy=""
        )
    assert code == codes.FAILED
    assert "nothing was ever told to it" in said


async def test_tail_names_the_wrong_server_also_where_no_http_is_beside_it() -> None:
    async with nsqd_server("embedded") as nsqd:
        where = f"{nsqd.host}:{nsqd.http_port}"
        code, _, said = await irismq("tail", "shop", "--nsqd", where, "--nsqd-http", nowhere())
    assert code == codes.UNREACHABLE
    assert said == (
        f"irismq: {where} should be nsqd, but there is nsqd's HTTP; "
        "give nsqd's TCP port here (4150 by default)\n"
    )
