"""Actors that many tests use: each does one thing that a test wants to see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from actors import Actor, Refused, ThreadActor, receives

if TYPE_CHECKING:
    import threading


class Counter(Actor):
    """Adds integers; answers with the sum. Crashes on bytes, refuses strings."""

    def __init__(self, total: int = 0) -> None:
        super().__init__()
        self.total = total
        self.seen: list[Any] = []

    @receives(int)
    def add(self, number: int) -> int:
        self.total += number
        self.seen.append(number)
        return self.total

    @receives(bytes)
    def crash(self, text: bytes) -> None:
        raise ValueError(text.decode())

    @receives(str)
    def refuse(self, text: str) -> None:
        raise Refused(text)

    @receives(type(None))
    def history(self, _: None) -> list[Any]:
        return self.seen


class AsyncCounter(Counter):
    """The same with async handlers that let others run."""

    async def add(self, number: int) -> int:
        await asyncio.sleep(0)
        return super().add(number)

    async def crash(self, text: bytes) -> None:
        await asyncio.sleep(0)
        super().crash(text)

    async def refuse(self, text: str) -> None:
        await asyncio.sleep(0)
        super().refuse(text)


class ThreadCounter(ThreadActor):
    """The same on a thread."""

    def __init__(self, total: int = 0) -> None:
        super().__init__()
        self.total = total
        self.seen: list[Any] = []

    add = Counter.add
    crash = Counter.crash
    refuse = Counter.refuse
    history = Counter.history


class Gate(Actor):
    """Each message waits at the gate until the test opens it."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.handled: list[Any] = []
        self.cancelled = 0

    async def on_receive(self, message: Any) -> Any:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.handled.append(message)
        return message


class ThreadGate(ThreadActor):
    """The same on a thread: it hangs there until the test opens the gate."""

    def __init__(self, entered: threading.Event, gate: threading.Event) -> None:
        super().__init__()
        self.entered = entered
        self.gate = gate

    def on_receive(self, message: Any) -> Any:
        self.entered.set()
        self.gate.wait()
        return message
