"""Completion in shells, through the variables that their scripts set."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from irismq_runtime.cli import codes, completion
from irismq_runtime.cli.http import post
from irismq_runtime.cli.options import http_of
from irismq_runtime.config import Endpoint
from irismq_runtime.embedded.nsqd import EmbeddedNsqd
from irismq_runtime.errors import ConfigError
from irismq_runtime.messaging import MAILBOX_CHANNEL
from tests.cli.fakes import black_hole, nowhere, saying
from tests.support import fork_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Commands in processes of their own start slowly where many do.
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; sys.argv[0] = 'irismq'; from irismq_runtime.cli.main import main; main()"


async def run(*command: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err == b""
    return out.decode()


async def completed(words: str, shell: str = "bash", **environment: str) -> str:
    """What is offered for the last of `words`, as the shell is told it."""
    if shell == "bash":
        told = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    else:
        told = {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    variables = {"_IRISMQ_COMPLETE": f"complete_{shell}", **PATIENT, **told, **environment}
    if not fork_server.CAN_FORK:
        return await run(sys.executable, "-c", PROGRAM, **variables)
    variables = {**os.environ, "COLUMNS": "200", **variables}
    process = await fork_server.start((), cwd=ROOT, environment=variables, name="irismq")
    out, err = await process.communicate()
    assert err == b""
    return out.decode()


#: For machines on which a broker takes longer than a person would wait.
PATIENT = {"IRISMQ_COMPLETION_SECONDS": "15"}


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[str]:
    """The HTTP address of a broker with two mailboxes, dead letters, and a topic."""
    nsqd = EmbeddedNsqd()
    await nsqd.start()
    http = f"127.0.0.1:{nsqd.http_port}"
    try:
        for topic in ("shop.inventory", "shop.orders", "shop.orders.dead", "shop.news"):
            await post(http, "/topic/create", topic=topic)
            channel = "mailbox" if topic in {"shop.inventory", "shop.orders"} else "archive"
            await post(http, "/channel/create", topic=topic, channel=channel)
        yield http
    finally:
        await nsqd.stop()


async def test_commands_and_their_subcommands() -> None:
    names, below, options = await asyncio.gather(
        *(completed(words) for words in ("irismq t", "irismq dead ", "irismq doctor --"))
    )
    assert names.split() == ["tell", "tell-all", "tree", "top", "topic", "tail"]
    assert below.split() == ["list", "show", "edit", "replay", "drop"]
    assert "--json" in options.split()


@pytest.mark.parametrize("command", ["ask", "dead list"])
async def test_addresses_are_those_with_mailboxes(command: str) -> None:
    async with broker() as http:
        shown = await completed(f"irismq {command} shop.", IRISMQ_NSQD_HTTP_ADDRESS=http)
        assert shown.split() == ["shop.inventory", "shop.orders"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
async def test_other_shells(shell: str) -> None:
    async with broker() as http:
        shown = await completed("irismq ask shop.o", shell, IRISMQ_NSQD_HTTP_ADDRESS=http)
        assert "shop.orders" in shown
        assert "shop.inventory" not in shown


async def test_tail_offers_every_topic_of_the_broker_that_is_named() -> None:
    async with broker() as http:
        host, port = http.split(":")
        nsqd = f"{host}:{int(port) - 1}"  # its HTTP port is the next one
        shown, none = await asyncio.gather(
            completed(f"irismq tail --nsqd {nsqd} shop."),
            completed(f"irismq tail --nsqd-http {http} x"),
        )
        assert shown.split() == ["shop.inventory", "shop.news", "shop.orders", "shop.orders.dead"]
        assert none.split() == []


@pytest.mark.parametrize("fault", ["nowhere", "mute", "hole", "nonsense", "no HTTP", "text"])
async def test_nothing_is_offered_and_nothing_said_when_the_broker_is_not_there(
    fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if fault == "mute":
            mute = stack.enter_context(socket.socket())
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            where = f"127.0.0.1:{mute.getsockname()[1]}"
        elif fault == "hole":
            where = stack.enter_context(black_hole())
        elif fault in {"nonsense", "no HTTP"}:
            answer = b"HTTP/1.0 200 OK\r\n\r\n[1]" if fault == "nonsense" else b"SSH-2.0\r\n"
            where = await stack.enter_async_context(saying(answer))
        else:
            where = nowhere() if fault == "nowhere" else "::::"
        assert await asyncio.to_thread(completion.topics, context(nsqd_http=[where]), "") == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", ",", "[::1", "host:port", "a b", "127.0.0.1:0", ":99999"])
def test_an_address_without_a_meaning_completes_nothing(text: str) -> None:
    assert completion.addresses(context(nsqd_http=[text]), "") == []
    assert completion.topics(context(nsqd=[text]), "") == []


@pytest.mark.parametrize(
    ("nsqd", "nsqd_http", "expected"),
    [
        (["a:1", "[::1]:7"], [], ["a:2", "[::1]:8"]),
        (["a, b:9"], [], ["a:4151", "b:10"]),
        (["a:1"], ["b", ":9"], ["b:4151", "127.0.0.1:9"]),
    ],
)
def test_http_is_where_it_is_said_or_at_the_next_port(
    nsqd: list[str], nsqd_http: list[str], expected: list[str]
) -> None:
    assert [str(endpoint) for endpoint in http_of(nsqd, nsqd_http)] == expected


def test_the_last_port_has_no_next_one() -> None:
    with pytest.raises(ConfigError, match="give --nsqd-http"):
        http_of(["a:65535"], [])
    assert http_of(["a:65535"], ["a:1"]) == (Endpoint("a", 1),)


def context(**params: object) -> Any:
    """What typer gives, as far as it is read."""
    return SimpleNamespace(params=params)


async def test_every_broker_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRISMQ_COMPLETION_SECONDS", PATIENT["IRISMQ_COMPLETION_SECONDS"])
    async with broker() as http:
        both = context(nsqd_http=[f"{nowhere()}, {http}"])
        found = await asyncio.to_thread(completion.addresses, both, "shop.i")
    assert found == ["shop.inventory"]


@pytest.mark.parametrize(("said", "limit"), [("2.5", 2.5), ("soon", 0.3), ("", 0.3)])
def test_the_limit_may_be_set(monkeypatch: pytest.MonkeyPatch, said: str, limit: float) -> None:
    monkeypatch.setenv("IRISMQ_COMPLETION_SECONDS", said)
    assert completion._limit() == limit


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_scripts_for_shells(shell: str) -> None:
    script = await run(sys.executable, "-c", PROGRAM, _IRISMQ_COMPLETE=f"source_{shell}")
    assert f"_IRISMQ_COMPLETE=complete_{shell}" in script


async def test_the_script_works_in_bash() -> None:
    program = Path(sys.executable).with_name("irismq")
    bash = shutil.which("bash")
    if bash is None or not program.exists():
        pytest.skip("there is no bash, or irismq is not installed as a program")
    script = (
        f'PATH={program.parent}:$PATH; eval "$(_IRISMQ_COMPLETE=source_bash irismq)"; '
        "COMP_WORDS=(irismq doct); COMP_CWORD=1; _irismq_completion irismq; "
        'echo "${COMPREPLY[@]}"; complete -p irismq'
    )
    shown = await run(bash, "--norc", "-c", script)
    assert shown.splitlines()[0] == "doctor"
    assert "_irismq_completion irismq" in shown.splitlines()[1]


def _home_is_a_file(folder: Path) -> str:
    (folder / "home").touch()
    return str(folder / "home")


def _home_is_below_a_file(folder: Path) -> str:
    return f"{_home_is_a_file(folder)}/below"


def _home_is_a_loop(folder: Path) -> str:
    (folder / "home").symlink_to("home")
    return str(folder / "home")


def _home_is_not_writable(folder: Path) -> str:
    return "/proc/self"


def _home_has_a_start_file_in_another_encoding(folder: Path) -> str:
    for name in (".bashrc", ".zshrc"):
        (folder / name).write_bytes(b"# caf\xe9\n")
    return str(folder)


HOMES = [
    _home_is_a_file,
    _home_is_below_a_file,
    _home_is_a_loop,
    _home_is_not_writable,
    _home_has_a_start_file_in_another_encoding,
]
#: A user of a container, whom its list of users does not name.
HOMELESS = "import os; os.environ.pop('HOME'); import pwd; pwd.getpwuid = {}.__getitem__; "


async def install(shell: str, program: str = PROGRAM, **environment: str) -> tuple[Any, str]:
    """Exit code and output of `irismq --install-completion`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "--install-completion", shell),
        cwd=ROOT,
        env={
            **os.environ,
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
            "PYTHONUTF8": "1",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("home", HOMES)
async def test_a_home_that_cannot_be_written_is_said_in_a_line(
    home: Any, shell: str, tmp_path: Path
) -> None:
    code, output = await install(shell, HOME=home(tmp_path))
    if shell == "fish" and home is _home_has_a_start_file_in_another_encoding:
        assert code == codes.OK  # fish has a folder for completions, and its start file is not read
        return
    assert code == codes.FAILED, output
    (line,) = output.splitlines()
    assert line.startswith("irismq: ")


async def test_a_user_without_a_home_is_told_so_in_a_line() -> None:
    code, output = await install("bash", HOMELESS + PROGRAM)
    assert code == codes.FAILED, output
    (line,) = output.splitlines()
    assert "completion cannot be installed" in line
    assert "home" in line


def test_the_channel_of_mailboxes_has_one_name() -> None:
    assert completion.MAILBOX == MAILBOX_CHANNEL
    assert completion.LIMIT <= 0.3
