"""Synchronous programs: a loop on a background thread, made on demand."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import uvloop

from actors import (
    Actor,
    ActorDeadError,
    AskTimeout,
    BlockingCall,
    System,
    ThreadActor,
    default_system,
    receives,
)
from tests.actors.people import AsyncCounter, Counter, Gate, ThreadCounter

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def system() -> Iterator[System]:
    system = System("script")
    yield system
    system.close()


@pytest.mark.parametrize("kind", [Counter, AsyncCounter, ThreadCounter])
def test_a_script_uses_actors_as_it_uses_pykka(system: System, kind: type[Counter]) -> None:
    ref = system.start(kind, 1)
    ref.tell(2)
    assert ref.ask(3).get() == 6
    assert ref.ask(4, block=True) == 10
    with pytest.raises(ValueError, match="boom"):
        ref.ask(b"boom", block=True)
    other = system.start(kind)
    assert other.stop(block=True) is True
    assert other.stop(block=True) is False
    assert not other.is_alive()
    with pytest.raises(ActorDeadError):
        other.tell(1)


def test_start_finds_one_system_for_the_process() -> None:
    ref = Counter.start()
    assert default_system() is default_system()
    assert default_system().find(ref.actor_urn) is ref
    first = default_system()
    first.close()
    first.close()
    again = Counter.start()
    assert default_system() is not first
    assert again.ask(1).get() == 1
    default_system().close()


def test_the_loop_may_be_made_by_the_caller() -> None:
    class Where(Actor):
        @receives(str)
        async def loop(self, _: str) -> str:
            import asyncio

            return type(asyncio.get_running_loop()).__module__

    system = System(loop_factory=uvloop.new_event_loop)
    assert system.start(Where).ask("x").get() == "uvloop"
    system.close()


def test_a_blocking_ask_has_a_deadline_too(system: System) -> None:
    ref = system.start(Gate)
    with pytest.raises(AskTimeout):
        ref.ask("x", timeout=0.01, block=True)
    with pytest.raises(AskTimeout):
        ref.ask("x").get(timeout=0.01)
    system.close(timeout=0)


def test_a_loop_cannot_wait_for_its_own_end(system: System) -> None:
    class Closing(Actor):
        @receives(str)
        def close(self, _: str) -> None:
            self.system.close()

    with pytest.raises(BlockingCall, match="await shutdown"):
        system.start(Closing).ask("x", block=True)


def test_asks_from_many_threads(system: System) -> None:
    ref = system.start(Counter)
    answers: list[int] = []

    def ask() -> None:
        answers.extend(ref.ask(1, block=True) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 401))


def test_actors_start_actors_from_threads(system: System) -> None:
    class Parent(ThreadActor):
        @receives(int)
        def spawn(self, number: int) -> int:
            child = Counter.start(number)
            result: int = child.ask(1, block=True)
            return result

    assert system.start(Parent).ask(41, block=True) == 42
    assert len(system) == 2


PROGRAM = """
import actors

class Polite(actors.Actor):
    def on_stop(self, reason):
        print("stopped", reason, flush=True)

ref = Polite.start()
ref.tell("x")
print("end of the program", flush=True)
"""


def test_a_program_may_simply_end() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert result.stdout.splitlines() == ["end of the program", "stopped shutdown"]


HANGING = """
import threading
import actors

class Hanging(actors.ThreadActor):
    def on_receive(self, message):
        started.set()
        threading.Event().wait()

started = threading.Event()
Hanging.start().tell("x")
started.wait()
print("end of the program", flush=True)
"""


def test_a_hanging_thread_does_not_keep_the_program_alive() -> None:
    result = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=20, check=True
    )
    assert result.stdout.splitlines() == ["end of the program"]
    assert "did not end and was abandoned: thread Hanging-1" in result.stderr
