"""Our wheel in an environment of its own: what somebody has who installed it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

__all__ = ["installed_from_a_wheel"]

ROOT = Path(__file__).parents[2]


def installed_from_a_wheel(folder: Path) -> Path:
    """The programs of a new environment with our wheel, without the clone on its path.

    What we depend on is that of this environment. Nothing is fetched.
    """
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheels = folder / "wheels"
    build = ["wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    home = folder / "environment"
    venv.create(home, symlinks=True)
    (wheel,) = wheels.iterdir()
    python = str(home / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", *offline, str(wheel)], check=True)
    names = {"base": str(home), "platbase": str(home)}
    ours = Path(sysconfig.get_path("purelib", vars=names))
    # A path named in a .pth file: the .pth files there, such as that of the clone, are not read.
    (ours / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"
