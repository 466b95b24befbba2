"""Trees that make the end of `irismq run` hard; each says on standard error where it is."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from actors import Actor, ThreadActor
from supervisors import Supervisor, child


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Starts(Actor):
    """Sends itself the one message when it has started."""

    def on_start(self) -> None:
        self.actor_ref.tell("go")


class Awaits(Starts):
    async def on_receive(self, message: Any) -> None:
        say("awaits")
        await asyncio.get_running_loop().create_future()


class Blocks(Starts):
    """Blocks the loop for ten minutes."""

    def on_receive(self, message: Any) -> None:
        say("blocks")
        threading.Event().wait(600.0)


class ThreadBlocks(ThreadActor):
    def on_start(self) -> None:
        self.actor_ref.tell("go")

    def on_receive(self, message: Any) -> None:
        say("thread blocks")
        threading.Event().wait(600.0)


class LeavesThread(Starts):
    """Has an executor's thread hang, as a resolver does whose name server is silent."""

    def on_receive(self, message: Any) -> None:
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 600.0)
        say("left a thread")


class OwnsProcess(Actor):
    """Has a process work for it, and crashes when that dies."""

    async def on_start(self) -> None:
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=quiet
        )
        self.watching = asyncio.create_task(self._watch())
        say(f"works for me: {self.process.pid}")

    async def _watch(self) -> None:
        self.actor_ref.tell(await self.process.wait())

    def on_receive(self, code: Any) -> None:
        raise RuntimeError(f"the worker ended with {code}")


class StopsForever(Actor):
    def on_start(self) -> None:
        say("up")

    async def on_stop(self, reason: str) -> None:
        say("stopping")
        await asyncio.get_running_loop().create_future()


def tree(kind: type, **options: Any) -> Any:
    return Supervisor.of(child(kind, shutdown="infinity", **options))


def awaits() -> Any:
    return tree(Awaits)


def blocks() -> Any:
    return tree(Blocks)


def thread_blocks() -> Any:
    return Supervisor.of(child(ThreadBlocks, shutdown=0.2))


def leaves_thread() -> Any:
    return tree(LeavesThread)


def owns_process() -> Any:
    return Supervisor.of(child(OwnsProcess), max_restarts=0)


def stops_forever() -> Any:
    return tree(StopsForever)
