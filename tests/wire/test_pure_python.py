"""The tests of the wire, on msgpack's build in pure Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ["test_protocol_document.py", "test_values.py", "test_typed_messages.py"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(120)
def test_codec_in_pure_python(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE / name)],
        env={**os.environ, "MSGPACK_PUREPYTHON": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
