"""Case 129: forks in user code, and worker processes of a running loop."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from actors._forked import EXIT_FORKED
from tests.integration.processes import irismq

PROGRAM = str(Path(__file__).with_name("forking.py"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.timeout(120),  # processes that start processes, on a machine that may be slow
]


async def program(*scenarios: str) -> tuple[list[dict[str, Any]], str]:
    """What the program printed of each, and what it said; it must end by itself with 0."""
    code, out, said = await irismq(*scenarios, program=(sys.executable, PROGRAM))
    assert code == 0, said
    found = [json.loads(line) for line in out.splitlines()]
    assert len(found) == len(scenarios)
    return found, said


async def test_what_belongs_to_the_parent_is_refused_in_a_forked_child():
    for found in (await program("loop use", "thread use"))[0]:
        uses = found["found"]["uses"]
        assert uses.pop("a system of its own") == "nothing"
        assert set(uses.values()) == {"ForkedProcess"}, uses
        assert len(uses) == 11
        assert found["found"]["code"] == 0
        assert found["after"] == "pong"  # the parent works on


async def test_a_child_that_comes_back_into_the_loop_is_ended():
    found, said = await program("loop return", "loop await", "loop crash")
    assert found == [{"found": {"uses": None, "code": EXIT_FORKED}, "after": "pong"}] * 3
    assert said.count("has come back into its parent's event loop: ended") == 3


async def test_multiprocessing_in_actors():
    found, _ = await program("thread fork", "thread spawn", "pool map", "thread terminate")
    by_signal = {"uses": "waits", "code": -signal.SIGTERM}
    assert [each["found"] for each in found] == [[0, 1, 4, 9], [0, 1, 4, 9], 49, by_signal]
    assert {each["after"] for each in found} == {"pong"}
