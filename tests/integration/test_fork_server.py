"""A command that was forked is as one of a fresh interpreter: the suite relies on it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.processes import IRISMQ, ROOT, irismq, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
#: The same program, which is not known to be `irismq`: it gets an interpreter of its own.
FRESH = (sys.executable, "-X", "utf8", *IRISMQ[1:])
TELLS = """
import json, os, random, sys
from irismq_runtime.wire import new_id
told = [os.getpid(), new_id().hex(), random.random()]
print(json.dumps([told, os.getcwd(), os.environ["SHOP_NAME"], sys.argv[1:], sys.path[:2]]))
sys.stderr.write("more\\n")
raise SystemExit(7)
"""


@pytest.mark.parametrize(
    "command", [("--version",), ("tell", "shop", "t.job", "{"), ("mailbox", "", "--json")]
)
async def test_it_says_and_ends_with_what_a_fresh_one_does(command: tuple[str, ...]) -> None:
    assert await irismq(*command) == await irismq(*command, program=FRESH)


async def test_it_has_a_life_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    where = {"cwd": tmp_path, "PYTHONPATH": str(ROOT)}
    ended = [await irismq("run", "tells:Tree", SHOP_NAME=name, **where) for name in "abc"]
    assert {(code, err) for code, _, err in ended} == {(7, "more\n")}
    told = [json.loads(out) for _, out, _ in ended]
    for each in zip(*(own for own, *_ in told), strict=True):
        assert len(set(each)) == 3, each
    rest = [str(tmp_path), "a", ["run", "tells:Tree"], [str(tmp_path), str(ROOT)]]
    assert told[0][1:] == rest
    assert [name for _, _, name, *_ in told] == ["a", "b", "c"]


async def test_a_signal_ends_it_and_is_its_code() -> None:
    relay = ("relay", "--port", "0")
    async with asyncio.timeout(100), running(*relay) as killed, running(*relay) as ended:
        for process, number in ((killed, signal.SIGKILL), (ended, signal.SIGTERM)):
            await process.says("iris on")
            process.signal(number)
        assert (await killed.ends(), await ended.ends()) == (-signal.SIGKILL, 0)
