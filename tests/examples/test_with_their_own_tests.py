"""The examples that bring tests: run as their READMEs say, each in a process of its own.

A process of its own, because a program has its message names for itself: here the
names of several programs, and of our tests, would meet.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted({path.parent.name for path in (ROOT / "examples").glob("*/test_*.py")})


def test_there_are_some():
    assert EXAMPLES == ["chat", "crawler", "devices", "shop", "web"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_own_tests_pass(name: str):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"examples/{name}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
