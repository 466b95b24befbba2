"""What a page tells its reader to do at a shell, and the doing of it.

A block "```console title="shell 2"" is typed into that shell:

    $ irismq ask ...       a command; the lines below it are what it prints
    ^C  ^\\                 SIGINT, or SIGQUIT, to what runs in this shell

`...` in such a line stands for any text, a line of it for any lines. `irismq dev`
and `irismq run` run on, and must say the lines below them some time. A command that
looks (see `LOOKS`) is repeated until it shows what the page shows, because what
was told is handled when it is handled. Any other block with a title is a file that
the reader writes; one of Python is a file of examples/.

The servers get free ports; in what is printed they are the usual ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.integration.processes import Process, irismq, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "PATIENCE",
    "TITLED",
    "Command",
    "File",
    "Player",
    "Signal",
    "matches",
    "steps_of",
]

TITLED = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
RUNS_ON = re.compile(r"irismq (dev|run) ")
LOOKS = re.compile(r"irismq (tree|mailbox|dead|ask shop.inventory shop.stock)\b")
#: What the reader's machine has here already; and the tests of the example, which run anyway.
NOT_RUN = re.compile(r"(pip|mkdir|cd) |pytest -q shop$")
SIGNALS = {"^C": signal.SIGINT, "^\\": signal.SIGQUIT}
#: Where the servers of `irismq dev` are, in the order of its line, and what names them.
USUAL = ("127.0.0.1:4150", "127.0.0.1:4151", "127.0.0.1:55555")
VARIABLES = ("IRISMQ_NSQD_ADDRESS", "IRISMQ_NSQD_HTTP_ADDRESS", "IRISMQ_IRIS_ADDRESS")
#: What a busy machine may lead to, and after which nothing has been done.
NOT_DONE = re.compile("NoSuchService|does not answer|NotConnected")
#: Seconds until a command must have shown what the page shows.
PATIENCE = 40.0
#: What these commands are given besides: free ports, and time on a busy machine.
MORE = {
    "irismq dev": " --nsqd-port 0 --nsqd-http-port 0 --iris-port 0",
    "irismq run": " --connect-timeout 30",
    "irismq ask": " --timeout 30",
    "irismq tree": " --timeout 30",
}
#: As on a terminal of 100 columns without colours.
TERMINAL = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "PY_COLORS": "0"}
SIZE = {"COLUMNS": "100", "LINES": "50"}


@dataclass(frozen=True)
class File:
    """The reader writes this file."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """The reader types `text`, and sees `shown`."""

    shell: str
    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Signal:
    """The reader presses a key, and sees `shown`."""

    shell: str
    key: str
    shown: tuple[str, ...]


def steps_of(text: str) -> Iterator[File | Command | Signal]:
    """The steps of a page, in order."""
    for language, title, content in TITLED.findall(text):
        if language == "console":
            yield from _typed(title, content)
        else:
            yield File(title, content)


def _typed(shell: str, content: str) -> Iterator[Command | Signal]:
    for part in re.split(r"^(?=\$ |\^)", content, flags=re.MULTILINE):
        joined = part.replace("\\\n", " ") if part.startswith("$ ") else part
        first, *shown = joined.splitlines() or [""]
        if first.startswith("$ "):
            yield Command(shell, " ".join(first[2:].split()), tuple(shown))
        elif first:
            yield Signal(shell, first, tuple(shown))


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Whether `printed` is what the page shows, line by line."""
    lines = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines())
    pattern = "".join("(?:.*\n)*" if line == "..." else f"{_pattern(line)}\n" for line in shown)
    return re.fullmatch(pattern, lines) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.rstrip().split("...")))


class Player:
    """Does what a page says, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self._running: dict[str, Process] = {}
        self._environment = {"PYTHONUNBUFFERED": "1", **SIZE}
        self._usual: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill what still runs."""
        await self._stack.aclose()

    async def play(self, step: File | Command | Signal) -> None:
        """Do one step; raises `AssertionError` when it does not go as shown."""
        match step:
            case File(name, text):
                (self._folder / name).parent.mkdir(exist_ok=True)
                (self._folder / name).write_text(text)
            case Signal(shell, key, shown):
                process = self._running.pop(shell)
                process.signal(SIGNALS[key])
                await process.ends()
                self._said(process, shown)
            case Command(_, text, _) if NOT_RUN.match(text):
                pass
            case Command(shell, text, shown) if RUNS_ON.match(f"{text} "):
                await self._start(shell, text, shown)
            case Command(_, text, shown):
                await self._run(text, shown)

    async def _start(self, shell: str, text: str, shown: tuple[str, ...]) -> None:
        assert shell not in self._running, f"{shell} is busy"
        program, arguments = _split(text)
        process = await self._stack.enter_async_context(
            running(*arguments, program=program, cwd=self._folder, **self._environment)
        )
        self._running[shell] = process
        if text.startswith("irismq dev"):
            await process.says("nsqd on")
            self._learn(next(line for line in process.said if "nsqd on" in line))
        for line in shown:
            await self._says(process, line)

    def _learn(self, line: str) -> None:
        """Keep where the servers really are."""
        ports = re.findall(r"127\.0\.0\.1:\d+", line)
        self._usual = dict(zip(ports, USUAL, strict=True))
        self._environment |= dict(zip(VARIABLES, ports, strict=True))

    async def _says(self, process: Process, line: str) -> None:
        """Wait until the process says a line as shown; other lines may stand between."""
        pattern = re.compile(_pattern(line))
        while not any(pattern.fullmatch(self._as_usual(said)) for said in process.said):
            await process.says_more()

    def _said(self, process: Process, shown: tuple[str, ...]) -> None:
        said = [self._as_usual(line) for line in process.said]
        for line in shown:
            assert any(re.fullmatch(_pattern(line), each) for each in said), (line, said)

    def _as_usual(self, text: str) -> str:
        for real, usual in self._usual.items():
            text = text.replace(real, usual)
        return text.rstrip()

    async def _run(self, text: str, shown: tuple[str, ...]) -> None:
        printed = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                printed = await self._output(text)
                while _again(text, printed) and not matches(shown, printed):
                    printed = await self._output(text)
        page = "\n".join(shown)
        assert matches(shown, printed), f"$ {text}\n{printed}\nthe page shows\n{page}"

    async def _output(self, text: str) -> str:
        program, arguments = _split(text)
        environment = {**self._environment, **TERMINAL}
        _, out, err = await irismq(*arguments, program=program, cwd=self._folder, **environment)
        return self._as_usual(out + err)


def _again(text: str, printed: str) -> bool:
    """Whether a command that shows something else may be typed again."""
    return bool(LOOKS.search(text) or NOT_DONE.search(printed))


def _split(text: str) -> tuple[tuple[str, ...], list[str]]:
    """How a program is started, and its arguments."""
    more = next((more for begins, more in MORE.items() if text.startswith(begins)), "")
    name, *arguments = shlex.split(text + more)
    return (sys.executable, *PROGRAMS[name]), arguments


#: How the programs of a page are run by this Python.
PROGRAMS = {
    "irismq": ("-m", "irismq_runtime.cli"),
    "python": (),
    "pytest": ("-m", "pytest", "-p", "no:randomly"),
}
