"""Case 129: forks in user code, and worker processes of a running loop."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from actors._forked import EXIT_FORKED
from tests.integration.processes import irismq

PROGRAM = str(Path(__file__).with_name("forking.py"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


async def program(what: str) -> tuple[dict[str, Any], str]:
    """What the program printed, and what it said; it must end by itself with 0."""
    code, out, said = await irismq(what, program=(sys.executable, PROGRAM))
    assert code == 0, said
    return json.loads(out), said


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_case_129_what_belongs_to_the_parent_is_refused_in_a_forked_child(where):
    found, said = await program(f"{where} use")
    assert found["found"]["code"] == 0, said
    uses = found["found"]["uses"]
    assert uses.pop("a system of its own") == "nothing"
    assert set(uses.values()) == {"ForkedProcess"}, uses
    assert len(uses) == 11
    assert found["after"] == "pong"  # the parent works on


@pytest.mark.parametrize("how", ["return", "await", "crash"])
async def test_case_129_a_child_that_comes_back_into_the_loop_is_ended(how):
    found, said = await program(f"loop {how}")
    assert found == {"found": {"uses": None, "code": EXIT_FORKED}, "after": "pong"}
    assert said.count("has come back into its parent's event loop: ended") == 1


async def test_case_129_a_forked_child_dies_of_a_signal_as_any_other():
    found, _ = await program("thread terminate")
    assert found == {"found": {"uses": "waits", "code": -15}, "after": "pong"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
async def test_case_129_multiprocessing_in_a_thread_actor(method):
    found, _ = await program(f"thread {method}")
    assert found == {"found": [0, 1, 4, 9], "after": "pong"}


async def test_case_129_a_pool_of_processes_is_awaited_on_the_loop():
    found, _ = await program("pool map")
    assert found == {"found": 49, "after": "pong"}
