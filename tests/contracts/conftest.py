"""The suites of the ports run over simulated streams and disks as well, on virtual time.

What these are kinder in than real ones, tests in a simulation would miss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.loops import new_loop
from tests.support.simulated_loop import simulated_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: Files whose tests need streams, a clock and databases, and nothing else of the machine.
_SIMULATED: Final = {
    "test_address.py",
    "test_mailbox.py",
    "test_nsqd_broker.py",
    "test_nsqd_commands.py",
    "test_nsqd_times.py",
    "test_conformance.py",
    "test_state_store.py",
    "test_state_store_sql.py",
}
#: Servers that are not ours to run on any loop, and what has neither streams nor a disk.
_ELSEWHERE: Final = ("memory", "nats", "real", "postgres")


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    if item.path.name in _SIMULATED:
        return {"loop": new_loop, "simulated": simulated_loop}
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    elsewhere = [item for item in items if _is_elsewhere(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if not _is_elsewhere(item)]


def _is_elsewhere(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    if callspec is None or "simulated" not in callspec.id.split("-"):
        return False
    if any(item.get_closest_marker(name) for name in ("real_nsqd", "real_iris")):
        return True
    return any(value in _ELSEWHERE for value in callspec.params.values() if isinstance(value, str))
