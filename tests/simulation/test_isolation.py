"""What would reach out of a simulation is answered from within, or refused by name."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

import pytest

from actors import ActorDeadError, System, ThreadActor, receives
from irismq_runtime.simulation import NotSimulated, Simulation
from irismq_runtime.wire import new_id


def run(main: Any, seed: int = 1) -> Any:
    with Simulation(seed) as simulation:
        return simulation.run(main)


REFUSED = {
    "time.sleep": lambda: time.sleep(1),
    "a real socket": lambda: socket.socket(),  # noqa: PLW0108  # as below
    "a database on the real disk": lambda: sqlite3.connect("shop.db"),
    "a real thread": lambda: threading.Thread(target=print).start(),
    "a process of the machine": lambda: subprocess.Popen(["true"]),
    "os.fork": lambda: os.fork(),  # noqa: PLW0108  # the name is looked up in the run
    "loop.add_reader": lambda: asyncio.get_running_loop().add_reader(0, print),
    "loop.subprocess_exec": lambda: asyncio.get_running_loop().subprocess_exec(None, "true"),
    "loop.create_datagram_endpoint": lambda: asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol
    ),
    "loop.run_until_complete": lambda: asyncio.get_running_loop().run_until_complete(None),
    "loop.add_signal_handler": lambda: asyncio.get_running_loop().add_signal_handler(15, print),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_simulated_is_refused_with_what_to_do_instead(what):
    async def main() -> None:
        REFUSED[what]()

    with pytest.raises(NotSimulated) as caught:
        run(main)
    assert caught.value.what == what
    assert len(caught.value.remedy.split()) > 3


def test_all_is_as_before_after_a_run_that_failed():
    def those() -> list[object]:
        return [
            time.time,
            time.monotonic,
            time.sleep,
            os.urandom,
            os.getpid,
            socket.gethostname,
            socket.socket.__init__,
            threading.Thread.start,
            random.getstate(),
        ]

    async def main() -> None:
        random.random()
        raise LookupError

    before = those()
    with pytest.raises(LookupError):
        run(main)
    assert those() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def _drawn() -> list[object]:
    return [
        random.random(),
        random.SystemRandom().random(),
        secrets.token_hex(8),
        uuid.uuid4(),
        os.urandom(4),
        new_id(),
    ]


def test_chance_comes_from_the_seed_wherever_it_is_asked_for():
    async def main() -> list[object]:
        return _drawn()

    assert run(main) == run(main)
    assert not set(run(main, seed=1)) & set(run(main, seed=2))
    assert not set(run(main)) & set(_drawn())


def test_a_module_that_is_first_imported_in_a_run_does_not_change_it(tmp_path, monkeypatch):
    (tmp_path / "draws_at_import.py").write_text(
        "import random, uuid\nDRAWN = random.random(), uuid.uuid4()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main() -> list[object]:
        import draws_at_import  # noqa: F401  # it is imported by the first run alone

        return _drawn()

    try:
        assert run(main) == run(main)
    finally:
        sys.modules.pop("draws_at_import", None)


def test_clocks_names_and_numbers_are_those_of_the_host_that_asks():
    async def facts() -> tuple[float, float, str, int]:
        await asyncio.sleep(1)
        return time.time(), time.monotonic(), socket.gethostname(), os.getpid()

    async def main(simulation: Simulation) -> None:
        found = {}
        for name in ("a", "b"):
            host = simulation.host(name)
            host.start(asyncio.sleep, 0)
            found[name] = await host.call(facts)
        assert found["a"][2] == "a"
        assert found["b"][2] == "b"
        assert found["a"][3] != found["b"][3]
        assert 1_767_225_600 < found["a"][0] < found["b"][0] < 1_767_225_610
        assert abs(found["a"][1] - found["b"][1]) > 10

    with Simulation(1) as simulation:
        simulation.run(main, simulation)


@pytest.mark.blocking_ok
def test_other_threads_have_the_machine_s_clock_meanwhile():
    seen: list[float] = []
    told, may_end = threading.Event(), threading.Event()

    def other() -> None:
        told.wait(60)
        seen.append(time.time())
        may_end.set()

    thread = threading.Thread(target=other)
    thread.start()

    async def main() -> float:
        told.set()
        may_end.wait(60)
        return time.time()

    simulated = run(main)
    thread.join()
    assert abs(seen[0] - simulated) > 3600


class OnAThread(ThreadActor):
    @receives(int)
    def double(self, number: int) -> int:
        return 2 * number


def test_a_thread_actor_is_refused_by_name_and_does_not_hang():
    """Case 188."""

    async def main() -> int:
        return await System().start(OnAThread).ask(1)

    with pytest.raises(
        ActorDeadError,
        match=r"a real thread is not simulated; use .* plain Actor stand in for a ThreadActor",
    ):
        run(main)
