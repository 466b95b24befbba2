"""What the command line does with wrong input, odd streams and odd terminals: a line each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor, receives
from actors.errors import ActorCrashed
from irismq_runtime import Node
from irismq_runtime.cli import codes
from irismq_runtime.cli.messages import ask, tell, tell_all
from supervisors import Supervisor, child
from tests.cli.terminals import at_terminal
from tests.integration.processes import IRISMQ, ROOT, irismq, running, start
from tests.support.nsqd_server import nsqd_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
#: Text that is markup to Rich, an order to a terminal, and no UTF-8.
ODD = "[/] [bold] \x1b[31m \udc80"
FULL = Path("/dev/full")
SHOP = "tests.integration.service:Shop"


class Odd(Actor):
    """Breaks with an odd text."""

    address = "odd"

    @receives(str)
    def hear(self, word: str) -> None:
        raise ValueError(ODD)


def one_line(said: str) -> str:
    (line,) = said.splitlines()
    assert line.startswith("irismq: ")
    return line.removeprefix("irismq: ")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            "nosuch",
            "TREE: 'nosuch' cannot be imported: No module named 'nosuch'; write MODULE:TREE",
        ),
        ("nosuch:Tree", "TREE: 'nosuch' cannot be imported"),
        ("shop/service.py", "TREE: 'shop/service.py' is a file; write MODULE:TREE"),
        ("service.py:Tree", "TREE: 'service.py:Tree' is a file; write MODULE:TREE"),
        ("here:needy", "TREE: here:needy() failed: TypeError: "),
        ("here:broken", "TREE: here:broken() failed: ZeroDivisionError: "),
        ("here:later", "TREE: here:later is async; name a plain function"),
        ("here:nothing", "TREE: here has no nothing; it has broken, later, needy"),
        (":Tree", "TREE: ':Tree' names no module; write MODULE:TREE"),
    ],
)
async def test_what_is_no_tree_is_said_in_one_line(
    tmp_path: Path, tree: str, expected: str
) -> None:
    (tmp_path / "here.py").write_text(
        "def needy(one): pass\ndef broken(): return 1 / 0\nasync def later(): pass\n"
    )
    code, out, said = await irismq("run", tree, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (code, out) == (codes.USAGE, "")
    assert one_line(said).startswith(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dev", "--nsqd-port", "65536"),
        ("dev", "--nsqd-http-port", "-1"),
        ("dev", "--iris-port", "99999"),
        ("relay", "--port", "80000"),
        ("observe", "--port", "80000"),
        ("run", SHOP, "--embedded", "--observe", "80000"),
        ("tell", "shop", "--delay", "-1"),
        ("tell", "shop", "--delay", "nan"),
        ("tell", "shop", "--delay", "inf"),
        ("ask", "shop", "--timeout", "0"),
        ("ask", "shop", "--timeout", "nan"),
        ("tree", "--timeout", "-1"),
        ("check", "--timeout", "inf"),
        ("relay", "--connect-timeout", "nan"),
    ],
)
async def test_a_number_out_of_range_is_refused_with_the_name_of_its_option(
    arguments: tuple[str, ...],
) -> None:
    code, out, said = await irismq(*arguments)
    assert (code, out) == (codes.USAGE, "")
    assert f"Invalid value for '{arguments[-2]}'" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("tail", ""), "address: it is empty"),
        (("tail", "shop", "--channel", "***"), "--channel: channel name '***' is not valid"),
        (("mailbox", ""), "address: it is empty"),
        (("dead", "list", ""), "address: it is empty"),
        (("observe", "--nsqd-http", "a:b"), "nsqd-http: 'b' is not a port"),
        (("top", "--once", "--nsqd-http", "a:b"), "nsqd-http: 'b' is not a port"),
        (("mailbox", "shop", "--nsqd-http", "a:b"), "nsqd-http: 'b' is not a port"),
        (("run", SHOP, "--observe", "0", "--nsqd-http", "a:b"), "nsqd-http: 'b' is not a port"),
        (("run", SHOP, "--data", "x"), "--data: it is for the broker inside; add --embedded"),
    ],
)
async def test_what_has_no_meaning_is_said_before_anything_is_connected(
    arguments: tuple[str, ...], expected: str
) -> None:
    code, out, said = await irismq(*arguments)
    assert (code, out) == (codes.USAGE, "")
    assert expected in one_line(said)


@pytest.mark.parametrize("command", [("dev",), ("run", SHOP, "--embedded")])
async def test_a_folder_that_cannot_be_used_is_one_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    ports = ("--nsqd-port", "0", "--nsqd-http-port", "0", "--iris-port", "0")
    flags = ports if command == ("dev",) else ()
    code, _, said = await irismq(*command, "--data", str(file), *flags)
    assert code == codes.USAGE
    assert one_line(said) == (
        f"data: cannot keep data in {file}: Not a directory; give a folder that can be written"
    )


async def test_a_port_that_is_taken_is_named() -> None:
    async with nsqd_server("embedded") as nsqd:
        taken = f"{nsqd.host}:{nsqd.port}"
        flags = ("--nsqd-http-port", "0", "--iris-port", "0")
        dev, status = await asyncio.gather(
            irismq("dev", "--nsqd-port", str(nsqd.port), *flags),
            irismq("run", SHOP, "--embedded", "--status", taken),
        )
    assert dev[0] == codes.UNREACHABLE
    assert one_line(dev[2]).startswith(f"cannot listen: {taken}: Address already in use; ")
    assert status[0] == codes.USAGE
    assert one_line(status[2]) == (
        f"--status: cannot listen at {taken}: Address already in use; give another HOST:PORT"
    )


async def test_the_version_and_the_short_help() -> None:
    version, top, below, dead = await asyncio.gather(
        irismq("--version"), irismq("-h"), irismq("tree", "-h"), irismq("dead")
    )
    assert version[0] == codes.OK
    assert version[1].startswith("irismq ")
    assert "Usage" in top[1]
    assert "--node" in below[1]
    assert "replay" in dead[1] + dead[2]


# Streams ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def odd_node() -> AsyncIterator[tuple[Node, list[str]]]:
    """A node with an actor that has crashed with an odd text; the flags to reach it."""
    async with Node.embedded(name="odd", drain=1.0) as node:
        await node.start(Supervisor.of(child(Odd, name="[/]odd"), max_restarts=100, name="top"))
        with pytest.raises(ActorCrashed):
            await node.ref("odd").ask("anything", timeout=60.0)
        where = node.endpoints
        yield node, ["--nsqd", where["nsqd"], "--iris", where["iris"]]


@pytest.mark.parametrize("command", ["tree", "check", "doctor"])
async def test_a_reader_that_is_gone_ends_a_command_quietly(command: str) -> None:
    async with odd_node() as (node, flags):
        if command != "tree":
            flags += ["--nsqd-http", node.endpoints["nsqd_http"]]
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            process = await start(command, *flags, stdout=theirs)
            _, said = await process.communicate()
        finally:
            os.close(theirs)
    assert (process.returncode, said) == (codes.OK, b"")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
async def test_an_output_that_cannot_be_written_is_one_line() -> None:
    for arguments in (("--help",), ("doctor", "--timeout", "0.1")):
        with FULL.open("wb") as full:
            process = await start(*arguments, stdout=full.fileno())
            _, said = await process.communicate()
        assert process.returncode == codes.FAILED
        assert one_line(said.decode()) == ("the output cannot be written: No space left on device")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_streams_that_the_caller_has_closed_are_no_reason_to_fail(closed: str) -> None:
    async with odd_node() as (_, flags):
        script = f'exec "$@" {closed}'
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, "sh", *IRISMQ, "tree", *flags, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, said = await process.communicate()
    assert (process.returncode, said) == (codes.OK, b"")
    assert (out == b"") == (">&-" in closed.replace("2>&-", ""))


async def test_a_node_goes_on_when_nobody_reads_what_it_says() -> None:
    async with running("run", SHOP, "--embedded") as node:
        await node.says(" is connected")
        assert node.process.stderr is not None
        node.process.stderr._transport.close()
        node.process.terminate()
        assert await node.process.wait() == codes.OK


#: Writes to a standard error whose reader is gone, and leaves what was not taken in its buffer.
UNHEARD = """
import contextlib, os, sys
from irismq_runtime.cli.streams import settle_stderr
reader, writer = os.pipe()
os.dup2(writer, 2)
os.close(reader)
os.close(writer)
with contextlib.suppress(BrokenPipeError):
    sys.stderr.write("nobody hears this\\n")
"""


@pytest.mark.parametrize(("last", "code"), [("", 120), ("settle_stderr()", 0)])
async def test_words_that_nobody_took_do_not_change_the_exit_code(last: str, code: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UNHEARD + last, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": ""}
    )
    assert await process.wait() == code


async def test_an_encoding_that_lacks_a_letter_gets_it_escaped() -> None:
    async with odd_node() as (_, flags):
        code, out, said = await irismq("tree", *flags, PYTHONIOENCODING="ascii")
    assert (code, said) == (codes.OK, "")
    (report,) = json.loads(out)
    assert report["trees"][0]["children"][0]["last_exit"]["text"] == "[/] [bold] \\x1b[31m \\udc80"


@pytest.mark.parametrize("command", [ask, tell, tell_all])
def test_ctrl_c_ends_a_command_that_waits_for_its_message(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a loop the first one would only cancel a task, which does not run meanwhile."""
    loops: list[object] = []

    def read() -> str:
        with contextlib.suppress(RuntimeError):
            loops.append(asyncio.get_running_loop())
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(read=read))
    with pytest.raises(KeyboardInterrupt):
        command("shop", "-", "-")
    assert loops == []


async def test_dev_draws_no_table_where_there_is_no_room() -> None:
    ports = ("--nsqd-port", "0", "--nsqd-http-port", "0", "--iris-port", "0")
    for columns, term, drawn in ((40, "xterm", False), (120, "dumb", False), (120, "xterm", True)):
        code, shown = await at_terminal(
            "dev", *ports, columns=columns, TERM=term, until="Ctrl-C stops"
        )
        assert code == codes.OK
        assert ("irismq dev" in shown) == drawn


# What others say, at a terminal -----------------------------------------------


@pytest.mark.parametrize("columns", [40, 200])
async def test_what_others_say_is_shown_as_text_at_any_terminal(columns: int) -> None:
    async with odd_node() as (node, flags):
        http = ("--nsqd-http", node.endpoints["nsqd_http"])
        tree, mailbox, asked = await asyncio.gather(
            at_terminal("tree", *flags, columns=columns, NO_COLOR="1"),
            at_terminal("mailbox", "odd", *http, columns=columns),
            at_terminal("ask", "odd", "-", '"x"', *flags, columns=columns),
        )
    assert (tree[0], mailbox[0], asked[0]) == (codes.OK, codes.OK, codes.FAILED)
    for shown in (tree[1], asked[1]):
        assert "\x1b[31m " not in shown
        assert r"\x1b[31m" in shown
        assert "[/]" in shown
    assert node.id in mailbox[1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", mailbox[1])
    assert max(map(len, plain.splitlines())) <= columns


async def test_a_report_is_sent_whatever_an_error_says() -> None:
    async with odd_node() as (_, flags):
        code, out, said = await irismq("tree", *flags)
    assert (code, said) == (codes.OK, "")
    (report,) = json.loads(out)
    assert "error" not in report
