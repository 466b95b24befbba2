"""Our `Actor` passes Pykka's own test suite, as one more runtime.

The suite of the installed version comes with Pykka's source distribution on the
package registry. It is unpacked into a temporary folder and run there, in a
process of its own, with pykka_adapter.py beside its conftest.py. Nothing of it
is kept. Without the registry the test is skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ADAPTER = "\nfrom pykka_adapter import pytest_collection_modifyitems, runtime\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The unpacked source distribution of the Pykka that is installed."""
    wanted = f"pykka=={metadata.version('pykka')}"
    fetched = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            "pykka",  # and not what its build needs, which would be built from source as well
            "--retries",
            "1",
            wanted,
            "-d",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    archives = list(tmp_path.glob("pykka-*.tar.gz"))
    if fetched.returncode or not archives:
        last = (fetched.stderr.strip().splitlines() or ["no answer"])[-1]
        pytest.skip(f"the package registry does not give the source of {wanted}: {last}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    return next(path for path in tmp_path.iterdir() if path.is_dir())


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_pykkas_own_suite_passes(suite: Path) -> None:
    conftest = suite / "tests" / "conftest.py"
    conftest.write_text(conftest.read_text() + ADAPTER)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "tests",
            "-q",
            "-n",
            "2",  # many of its tests wait; each process costs seconds
            "--timeout",
            "30",
            "-p",
            "no:randomly",
            "-p",
            "no:cacheprovider",
        ],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-8000:]
    summary = re.search(r"(\d+) passed.*?(\d+) xfailed", result.stdout)
    assert summary is not None, result.stdout[-2000:]
    passed, different = int(summary[1]), int(summary[2])
    assert passed >= 135
    assert different <= 14
