"""A program whose actors fork: `python forking.py SCENARIO ...` prints a line of JSON for each.

What a child saw comes through a pipe; the parent adds whether it still works.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from actors import Actor, System, ThreadActor, message, receives
from irismq_runtime import Node, current_node
from irismq_runtime.loop import run
from supervisors import Supervisor, child

# From Python 3.12 on a fork beside threads warns; here it is what is tried.
warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)


@message("forks.do")
@dataclass(frozen=True)
class Do:
    what: str = ""


def tried(call: Any) -> str:
    """The name of what `call` raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def uses(ref: Any) -> dict[str, str]:
    """What a child is told that uses the node and the actors of its parent."""
    node = current_node()
    return {
        "tell": tried(lambda: ref.tell(Do())),
        "tell another": tried(lambda: OTHER[0].tell(Do())),
        "ask": tried(lambda: OTHER[0].ask(Do())),
        "start": tried(lambda: node.system.start(Quiet)),
        "node.start": tried(lambda: asyncio.new_event_loop().run_until_complete(node.start(Quiet))),
        "service tell": tried(lambda: SERVICE[0].tell(Do())),
        "service ask": tried(lambda: SERVICE[0].ask(Do())),
        "service tell_all": tried(lambda: SERVICE[0].tell_all(Do())),
        "node.publish": tried(lambda: node.publish("forks.topic", Do())),
        "node.ref": tried(lambda: node.ref("forks.other")),
        "node.health": tried(node.health),
        "a system of its own": tried(own_system),
    }


def own_system() -> None:
    """Fails unless the child can have actors of its own."""
    system = System("child")
    try:
        assert system.start(Quiet).ask("twice", timeout=60.0).get() == "twice"
    finally:
        system.close()


class Quiet(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class Forks(Actor):
    """Forks in a handler on the loop."""

    address = "forks.loop"

    @receives(Do)
    async def do(self, do: Do) -> Any:
        if do.what == "ping":
            return "pong"
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            return await answer(pid, read)
        if do.what == "use":
            os.write(write, json.dumps(uses(self.actor_ref)).encode())
            os._exit(0)
        if do.what == "await":
            await asyncio.sleep(0)
        if do.what == "crash":
            raise ValueError(do.what)
        return None  # a child that comes back


async def answer(pid: int, read: int) -> dict[str, Any]:
    """What the child wrote, and how it ended."""
    loop = asyncio.get_running_loop()

    def wait() -> dict[str, Any]:
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(pid, 0)
        return {"uses": json.loads(data or b"null"), "code": os.waitstatus_to_exitcode(status)}

    return await loop.run_in_executor(None, wait)


def square(number: int) -> int:
    return number * number


def child_uses(pipe: Any, ref: Any) -> None:
    pipe.send(uses(ref))
    pipe.close()


def child_waits(pipe: Any) -> None:
    pipe.send("waits")
    signal.pause()


class Works(ThreadActor):
    """Has its work done by processes, as a thread may: it blocks nobody."""

    address = "forks.thread"

    @receives(Do)
    def do(self, do: Do) -> Any:
        if do.what in {"spawn", "fork"}:
            with multiprocessing.get_context(do.what).Pool(1) as pool:
                return pool.map(square, range(4))
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        if do.what == "use":
            process = context.Process(target=child_uses, args=(theirs, self.actor_ref))
        else:
            process = context.Process(target=child_waits, args=(theirs,))
        process.start()
        theirs.close()
        said = ours.recv()
        if do.what == "terminate":
            process.terminate()
        process.join()
        return {"uses": said, "code": process.exitcode}


class Pools(Actor):
    """Awaits a pool of processes on the loop."""

    address = "forks.pool"

    @receives(Do)
    async def do(self, do: Do) -> Any:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, square, 7)


SERVICE: list[Any] = []
OTHER: list[Any] = []


async def until_signal(scenarios: list[str]) -> None:
    """The node runs as `irismq run` runs it, and has its say before it ends."""

    class Asks(Actor):
        async def on_start(self) -> None:
            self.actor_ref.tell("go")

        async def on_receive(self, message: Any) -> None:
            node = current_node()
            await node.settled()
            SERVICE.append(node.ref("forks.nobody"))
            OTHER.append(node.system.start(Quiet))
            for scenario in scenarios:
                address, _, what = scenario.partition(" ")
                found = await node.ref(f"forks.{address}").ask(Do(what), timeout=60.0)
                after = await node.ref("forks.loop").ask(Do("ping"), timeout=60.0)
                await node.ref("forks.loop").tell(Do("ping"))
                print(json.dumps({"found": found, "after": after}), flush=True)  # noqa: T201  # the test reads it
            os.kill(os.getpid(), signal.SIGTERM)

    node = Node.embedded(name="forks", drain=1.0)
    tree = Supervisor.of(child(Forks), child(Works), child(Pools), child(Asks))
    raise SystemExit(await node.run(tree))


if __name__ == "__main__":
    run(until_signal(sys.argv[1:]))
