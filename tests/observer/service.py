"""The trees that the tests of the page run as nodes of their own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors import Actor, message, receives
from irismq_runtime import current_node
from supervisors import Supervisor, child


@message("seen.begin")
@dataclass(frozen=True)
class Begin:
    pass


@message("seen.work")
@dataclass(frozen=True)
class Work:
    number: int = 0


@message("seen.hostile")
@dataclass(frozen=True)
class Hostile:
    text: str = "<img src=x onerror=\"document.title='owned'\">"


#: The name of an actor that is no markup, however it looks.
MARKUP = "<img src=x onerror=\"document.title='owned'\">"


class Beat:
    """Another moment has passed."""


class Flaky(Actor):
    """Once it is told to begin it crashes again and again, whatever its supervisor does."""

    address = "seen.flaky"
    crashing = False

    def on_start(self) -> None:
        if Flaky.crashing:
            self.send_after(0.2, Beat())

    @receives(Begin)
    def begin(self, begin: Begin) -> None:
        Flaky.crashing = True
        self.send_after(0.01, Beat())

    @receives(Beat)
    def beat(self, beat: Beat) -> None:
        raise ValueError("the till is <b>jammed</b>")


class Slow(Actor):
    """Takes one message, and no other ever."""

    address = "seen.slow"

    @receives(Work)
    async def work(self, work: Work) -> None:
        await asyncio.Event().wait()


class Filler(Actor):
    """Once it is told to begin it gives the slow one more than that takes.

    The inbox takes 256 and then stands, so they come slowly: it must be seen to grow by
    whoever can look at it only now and then.
    """

    address = "seen.filler"

    @receives(Begin)
    def begin(self, begin: Begin) -> None:
        self.send_every(0.1, Beat())

    @receives(Beat)
    def beat(self, beat: Beat) -> None:
        slow = current_node().ref("seen.slow")
        for number in range(4):
            slow.tell(Work(number))


class Desk(Actor):
    """Works, and crashes at what is hostile."""

    address = "seen.desk"

    @receives(Work)
    def work(self, work: Work) -> int:
        return work.number

    @receives(Hostile)
    def hostile(self, hostile: Hostile) -> None:
        raise RuntimeError(hostile.text)


class Looping(Supervisor):
    max_restarts = 100_000
    children = (child(Flaky, name="flaky"), child(Desk, name="desk"))


class Growing(Supervisor):
    children = (child(Slow, name="slow"), child(Filler, name="filler"))


class Steady(Supervisor):
    children = (child(Desk, name="desk"), child(Desk, name=MARKUP))
