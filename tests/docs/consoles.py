"""What a page tells its reader to do at a shell, and the doing of it.

A block "```console title="shell 2"" is typed into that shell:

    $ irismq ask ...       a command; the lines below it are what it prints
    ^C  ^\\                 SIGINT, or SIGQUIT, to what runs in this shell

`...` in such a line stands for any text, a line of it for any lines. `irismq dev`
and `irismq run` run on, and must say the lines below them some time. A command that
looks (see `LOOKS`) is repeated until it shows what the page shows, because what
was told is handled when it is handled. Any other block with a title is a file that
the reader writes; its content may be a file of examples/, included.

The servers get free ports; in what is printed they are the usual ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "INCLUDED",
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
INCLUDED = re.compile(r'^--8<-- "([^":]+)"$', re.MULTILINE)
ROOT = Path(__file__).parents[2]
RUNS_ON = re.compile(r"irismq (dev|run) ")
LOOKS = re.compile(r"irismq (tree|mailbox|dead|ask shop.inventory shop.stock)\b")
NOT_RUN = re.compile(r"(pip|mkdir|cd) ")
SIGNALS = {"^C": signal.SIGINT, "^\\": signal.SIGQUIT}
USUAL = {"nsqd": "127.0.0.1:4150", "http": "127.0.0.1:4151", "iris": "127.0.0.1:55555"}
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
            included = INCLUDED.fullmatch(content.rstrip("\n"))
            yield File(title, (ROOT / included.group(1)).read_text() if included else content)


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
        self._running: dict[str, Process] = {}
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **SIZE}
        self._usual: dict[str, str] = {}

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

    async def end(self) -> None:
        """Kill what still runs."""
        for process in self._running.values():
            if process.process.returncode is None:
                process.process.kill()
            await process.ends()

    async def _start(self, shell: str, text: str, shown: tuple[str, ...]) -> None:
        assert shell not in self._running, f"{shell} is busy"
        text += next(more for begins, more in MORE.items() if text.startswith(begins))
        process = Process(await self._spawn(text, error=asyncio.subprocess.PIPE))
        self._running[shell] = process
        if text.startswith("irismq dev"):
            await process.says("nsqd on")
            self._learn(next(line for line in process.said if "nsqd on" in line))
        for line in shown:
            await self._says(process, line)

    def _learn(self, line: str) -> None:
        """Keep where the servers really are."""
        ports = re.findall(r"127\.0\.0\.1:\d+", line)
        self._usual = dict(zip(ports, USUAL.values(), strict=True))
        names = ("IRISMQ_NSQD_ADDRESS", "IRISMQ_NSQD_HTTP_ADDRESS", "IRISMQ_IRIS_ADDRESS")
        self._environment |= dict(zip(names, ports, strict=True))

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
        return text.rstrip("\n").rstrip()

    async def _run(self, text: str, shown: tuple[str, ...]) -> None:
        printed = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                printed = await self._output(text)
                while LOOKS.search(text) and not matches(shown, printed):
                    printed = await self._output(text)
        page = "\n".join(shown)
        assert matches(shown, printed), f"$ {text}\n{printed}\nthe page shows\n{page}"

    async def _output(self, text: str) -> str:
        text += next((more for begins, more in MORE.items() if text.startswith(begins)), "")
        process = await self._spawn(text, output=asyncio.subprocess.PIPE, **TERMINAL)
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        return self._as_usual(out.decode())

    async def _spawn(
        self,
        text: str,
        *,
        output: int = asyncio.subprocess.DEVNULL,
        error: int = asyncio.subprocess.STDOUT,
        **environment: str,
    ) -> asyncio.subprocess.Process:
        program, *arguments = shlex.split(text)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *PROGRAMS[program],
            *arguments,
            cwd=self._folder,
            env={**self._environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=error,
        )


#: How the programs of a page are run by this Python.
PROGRAMS = {
    "irismq": ("-m", "irismq_runtime.cli"),
    "python": (),
    "pytest": ("-m", "pytest", "-p", "no:randomly"),
}
