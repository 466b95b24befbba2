"""The parent of `irismq run --processes`, with processes that do nothing but what is tested."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from actors import System
from actors.testing import ManualClock, settle
from irismq_runtime.cli import codes
from irismq_runtime.cli.runner import _tell
from irismq_runtime.cli.workers import reload
from irismq_runtime.cli.workers.asked import WorkerOf, Workers, asked_of, worker_of
from irismq_runtime.cli.workers.command import Parent
from irismq_runtime.cli.workers.notices import Notice, parse_untrusted
from irismq_runtime.cli.workers.process import (
    Launch,
    WorkerProcess,
    WorkerState,
    environment_of,
    why,
)
from irismq_runtime.cli.workers.reload import changed, times_of
from irismq_runtime.errors import ConfigError
from irismq_runtime.observe import JsonLines
from supervisors import Supervisor, child, start, which_children
from tests.support.until import until

SCRIPT = str(Path(__file__).with_name("worker_script.py"))


def command(*kind: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", SCRIPT, *kind)


def into(said):
    """What writes down each line that people are told."""
    return lambda text, *args: said.append(text % args)


def test_what_is_told_is_a_record_with_a_template_of_its_own(caplog):
    """186: an error tracker puts all records of one template into one group."""
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level(logging.INFO, "irismq.node")
    _tell("workers", "%s has changed", "shop.py", phase="reload")
    (record,) = caplog.records
    assert (record.msg, record.getMessage()) == ("%s has changed", "shop.py has changed")
    assert (record.node, record.phase) == ("workers", "reload")


def test_what_a_worker_says_is_read_whatever_it_is():
    assert {
        text: parse_untrusted(text)
        for text in (b"READY=1\nSTATUS=ready", b"READY=0", b"", b"\xff=\n\0\nSTATUS", b"WATCHDOG=1")
    } == {
        b"READY=1\nSTATUS=ready": Notice(ready=True, status="ready"),
        b"READY=0": Notice(),
        b"": Notice(),
        b"\xff=\n\0\nSTATUS": Notice(status=""),
        b"WATCHDOG=1": Notice(),
    }
    assert parse_untrusted(b"STATUS=\x1b[2J").status == "\\x1b[2J"
    assert len(parse_untrusted(b"STATUS=" + b"x" * 9999).status) == 300


def test_a_worker_is_told_who_it_is_and_its_children_are_none(tmp_path):
    mine = {"WATCHDOG_PID": "1", "NOTIFY_SOCKET": "/systemd", "HOME": "/"}
    told = environment_of(mine, tmp_path, 2, 7, 30.0)
    assert told == {
        "HOME": "/",
        "NOTIFY_SOCKET": str(tmp_path),
        "WATCHDOG_USEC": "30000000",
        "IRISMQ_WORKER": "2:7",
    }
    worker = worker_of(told)
    assert worker == WorkerOf(2, 7)
    assert worker_of(told) is None
    assert worker.status_of("127.0.0.1:8150") == "127.0.0.1:8152"
    assert worker.status_of("") == ""
    with pytest.raises(ConfigError, match="IRISMQ_WORKER"):
        worker_of({"IRISMQ_WORKER": "x"})


def test_what_is_no_time_is_refused_by_its_option():
    for option, given in (("--silence", (0.0, 1.0, 1.0)), ("--connect-timeout", (1.0, -1.0, 1.0)),
                          ("--drain", (1.0, 1.0, float("nan")))):  # fmt: skip
        with pytest.raises(ConfigError, match=option):
            asked_of(2, *given, None, reload=False)
    assert asked_of(2, 1.0, 1.0, 0.0, None, reload=False).stop > 0.0  # an end without a drain


def test_an_end_is_said_in_words():
    assert (why(3), why(-9), why(-99)) == (
        "ended with code 3",
        "was ended by SIGKILL",
        "was ended by signal 99",
    )


def test_the_file_that_has_changed_is_found(tmp_path):
    for name in (
        "a.py",
        "b.txt",
        "pack/c.py",
        ".hidden/d.py",
        "venv/lib/e.py",
        "x/__pycache__/f.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    before = times_of(tmp_path)
    assert sorted(before) == ["a.py", "pack/c.py"]
    assert changed(before, times_of(tmp_path)) == ""
    os.utime(tmp_path / "pack/c.py", (1.0, 1.0))
    assert changed(before, times_of(tmp_path)) == "pack/c.py"
    (tmp_path / "a.py").unlink()
    assert changed(before, times_of(tmp_path)) == "a.py"


@pytest.fixture
async def kept(tmp_path):
    """Starts two workers of a kind under a supervisor whose clock the test moves."""
    clock = ManualClock()
    system = System("workers", clock=clock)
    system.attach()
    workers = [WorkerState(1), WorkerState(2)]

    async def started(*kind, silence=5.0, max_memory=None):
        launch = Launch(command(*kind), tmp_path, silence, 60.0, 0.2, max_memory)
        tree = (child(WorkerProcess, launch, each, name=str(each.number)) for each in workers)
        root = start(Supervisor.of(*tree), system)
        await root.started()
        return root

    async def pass_time(until_true):
        def passed():
            clock.advance(1.0)
            return until_true()

        await until(passed)

    yield started, workers, pass_time, system
    await system.shutdown(5.0)


async def test_a_killed_worker_costs_itself_alone(kept):
    started, (first, second), _, _ = kept
    root = await started("well")
    before = first.pid, second.pid
    assert (first.ready, first.status) == (True, "ready")
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: first.starts == 2 and first.ready)
    assert first.pid not in {None, before[0]}
    assert (second.pid, second.starts) == (before[1], 1)
    assert [each.restarts for each in which_children(root)] == [1, 0]


async def test_a_silent_worker_is_killed_and_what_the_parent_slept_is_not_held_against_it(kept):
    started, (first, _), pass_time, system = kept
    await started("well")
    pid = first.pid
    system.clock.advance(1000.0)  # one look, however long the parent itself stood still
    await settle(system)
    assert first.pid == pid
    await pass_time(lambda: first.starts == 2)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_that_holds_too_much_is_started_anew(kept):
    started, (first, second), pass_time, _ = kept
    await started("grown", silence=1e6, max_memory=32 << 20)
    await pass_time(lambda: first.starts == 2)
    assert second.starts == 1


async def test_a_worker_that_does_not_obey_is_killed_in_the_end(kept):
    started, (first, _), _, _ = kept
    root = await started("stubborn")
    pid = first.pid
    await root.stop()
    assert first.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_is_never_ready_does_not_start(tmp_path):
    asked = Workers(2, silence=5.0, start=0.05, stop=5.0)
    said = []
    assert await Parent(asked, command("never-ready"), tmp_path).run(into(said)) == codes.FAILED
    assert said == ["not started: worker 1 was not ready in 0.05 s"]


async def test_a_parent_ends_with_the_code_of_what_did_not_start(tmp_path, caplog):
    """What is wrong the worker has said itself: its parent adds two lines, and no traceback."""
    said = []
    asked = Workers(2, silence=5.0, start=60.0, stop=5.0)
    assert await Parent(asked, command("broken"), tmp_path).run(into(said)) == 3
    assert said == ["not started: worker 1 ended with code 3"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "worker 1 ended with code 3" in record.getMessage()
    assert record.exc_info is None
    assert not any(handler.filters for handler in logging.getLogger().handlers)


async def test_a_hangup_restarts_each_in_its_turn_and_a_broken_one_ends_that(tmp_path):
    broken, said = tmp_path / "broken", []
    asked = Workers(2, silence=60.0, start=60.0, stop=5.0)
    parent = Parent(asked, command("broken-later", str(broken)), tmp_path)
    assert not parent.health().ready
    running = asyncio.create_task(parent.run(into(said)))
    await until(lambda: "processes: 2" in said)
    assert parent.health().ready
    assert 'irismq_worker_ready{worker="2"} 1.0' in parent.metrics()
    pids = [each.pid for each in parent._workers]
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "rolling restart: done" in said)
    assert [each.starts for each in parent._workers] == [2, 2]
    assert not set(pids) & {each.pid for each in parent._workers}
    broken.touch()
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "did not come back" in said[-1])
    assert [each.ready for each in parent._workers] == [False, True]
    assert parent.health().reasons == ("worker 1: not running",)
    broken.unlink()
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: said.count("rolling restart: done") == 2)
    assert parent.health().ready
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == codes.OK
    assert said[-1] == "SIGTERM: the processes drain"
    assert [each.pid for each in parent._workers] == [None, None]


async def test_a_changed_file_restarts_them(tmp_path, tmp_path_factory, monkeypatch):
    sockets = tmp_path_factory.mktemp("sockets")
    said = []
    asked = Workers(1, silence=60.0, start=60.0, stop=5.0, reload=tmp_path)
    looks = []
    monkeypatch.setattr(reload, "PERIOD", 0.001)
    monkeypatch.setattr(reload, "times_of", lambda folder: looks.append(1) or times_of(folder))
    running = asyncio.create_task(Parent(asked, command("well"), sockets).run(into(said)))
    await until(lambda: len(looks) > 1)
    await asyncio.to_thread((tmp_path / "service.py").write_text, "")
    await until(lambda: "rolling restart: done" in said)
    assert "service.py has changed" in said
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == codes.OK
