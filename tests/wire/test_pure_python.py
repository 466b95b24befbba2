"""The tests of the wire, on msgpack's build in pure Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ["test_protocol_document.py", "test_values.py", "test_typed_messages.py"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_codec_in_pure_python() -> None:
    files = [str(HERE / name) for name in FILES]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        env={**os.environ, "MSGPACK_PUREPYTHON": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
