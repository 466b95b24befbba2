"""Follows a message, a crash or a stop through the files of the product.

Each scenario runs once to warm up, so that what is only made at the first time (a
connection, a channel, a handler's table) is there, and once more while every call of
a Python function of the product is noted. The embedded servers run in the same
process and stand in for real ones: their files are not followed.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors import Actor, message, receives
from irismq_runtime import Node, RemoteError
from supervisors import Supervisor, child
from tests.support.iris_relay import iris_relay
from tests.support.nsqd_server import nsqd_server
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from types import FrameType

__all__ = ["WAYS", "files_on_the_way"]

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("actors", "supervisors", "irismq_runtime")
SERVERS = "irismq_runtime/embedded/"


@message("map.note")
@dataclass(frozen=True)
class Note:
    text: str


@message("map.crash")
@dataclass(frozen=True)
class Crash:
    pass


class Desk(Actor):
    address = "map.desk"

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def on_start(self) -> None:
        self.seen.append("started")

    @receives(Note)
    def note(self, message: Note) -> str:
        self.seen.append(message.text)
        return message.text

    @receives(Crash)
    def crash(self, message: Crash) -> None:
        raise ValueError("as the map says")

    def on_stop(self) -> None:
        self.seen.append("stopped")


@contextlib.contextmanager
def noting(into: list[str]) -> Iterator[None]:
    """Note each file of the product when the first of its functions is called."""
    names: dict[str, str | None] = {}

    def called(frame: FrameType, event: str, argument: Any) -> None:  # sys.setprofile's signature
        if event != "call":
            return
        path = frame.f_code.co_filename
        if path not in names:
            names[path] = _product(path)
            if (name := names[path]) is not None:
                into.append(name)

    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(None)


def _product(path: str) -> str | None:
    with contextlib.suppress(ValueError):
        name = pathlib.Path(path).relative_to(ROOT).as_posix()
        if name.split("/")[0] in PACKAGES and not name.startswith(SERVERS):
            return name
    return None


@dataclass
class Scene:
    """A node that serves, one that calls, the broker, and what the actor has seen."""

    away: Node
    tree: Any
    nsqd: Any
    seen: list[str]

    def is_settled(self) -> bool:
        """Whether the broker has nothing of the actor's mailbox, waiting or in flight."""
        channels = self.nsqd.nsqd.stats()["topics"][0]["channels"]
        return all(not channel["depth"] + channel["in_flight_count"] for channel in channels)


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    # Nothing is announced or beaten meanwhile, and nobody waits for others any more: only the
    # way itself is walked.
    options: dict[str, Any] = {"presence_period": 30.0, "drain": 5.0}
    async with nsqd_server("embedded") as nsqd, iris_relay("embedded") as relay:
        at = {"nsqd": f"{nsqd.host}:{nsqd.port}", "iris": f"{relay.host}:{relay.port}"}
        async with (
            Node(name="here", **at, **options) as here,
            Node(name="away", **at, **options) as away,
        ):
            seen: list[str] = []
            tree = await here.start(Supervisor.of(child(Desk, seen)))
            for node in (here, away):
                await node.settled()
            yield Scene(away, tree, nsqd, seen)


async def tell(scene: Scene) -> None:
    before = len(scene.seen)
    await scene.away.ref("map.desk").tell(Note("told"))
    await until(lambda: len(scene.seen) > before, "the handler")
    await until(scene.is_settled, "the FIN")


async def ask(scene: Scene) -> None:
    await scene.away.ref("map.desk").ask(Note("asked"))


async def crash(scene: Scene) -> None:
    before = scene.seen.count("started")
    with contextlib.suppress(RemoteError):
        await scene.away.ref("map.desk").ask(Crash())
    await until(lambda: scene.seen.count("started") > before, "the restart")
    await scene.away.ref("map.desk").ask(Note("again"))


async def stop(scene: Scene) -> None:
    await scene.tree.stop()


WAYS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "tell": tell,
    "ask": ask,
    "crash": crash,
    "stop": stop,
}


async def files_on_the_way(way: str) -> list[str]:
    """The files of the product in the order in which `way` comes to them first."""
    walked: list[str] = []
    async with scene() as made:
        if way != "stop":
            await WAYS[way](made)
        with noting(walked):
            await WAYS[way](made)
    return walked
