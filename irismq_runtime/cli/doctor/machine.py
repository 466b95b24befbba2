"""Facts of this machine and this Python, gathered without judging them.

Imports nothing of ours, not even `actors`: that name may be somebody else's here,
and this is what finds it out. Reads files and the interpreter, opens no socket.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OURS", "Machine", "look_at_machine", "look_at_names"]

#: Our packages, whose names others use as well.
OURS: Final = ("actors", "supervisors", "irismq_runtime")
#: The distribution that they come in.
DISTRIBUTION: Final = "irismq-runtime"
#: A package of PyPI that has nothing to do with our `irismq_runtime.pyiris`.
STRANGERS: Final = ("pyiris",)
#: Distributions whose version matters: extras, and what makes it fast.
PARTS: Final = ("uvloop", "msgpack", "nats-py", "prometheus-client", "textual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was found. Paths are texts; a name that leads nowhere has None."""

    python: str = ""
    #: The folder that holds our packages.
    home: str = ""
    #: Package of ours -> the file that an import of it gives.
    origins: Mapping[str, str | None] = field(default_factory=dict)
    #: Top-level name -> the distributions besides ours that install it.
    claimed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Files or folders of the current folder that have the names of our packages.
    local: tuple[str, ...] = ()
    #: Distribution -> version, of those that are installed.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: The module of the event loop that a node would run on.
    loop: str = ""
    #: The module of msgpack's packer.
    msgpack: str = ""
    #: How many files a process may have open (soft, hard); None where there is no limit to ask.
    open_files: tuple[int, int] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


_NAMES: Final = (*OURS, *STRANGERS)
#: A package or module of one of these names, at the beginning of a line of a RECORD.
_RECORDED: Final = re.compile(rf"^({'|'.join(_NAMES)})(?:/|\.py,)", re.MULTILINE)


def look_at_names(folder: Path | None = None) -> Machine:
    """Gather what tells who has our packages' names; the rest is left out."""
    return Machine(
        home=str(_home()),
        origins={name: _origin(name) for name in OURS},
        claimed=_claimed(),
        local=_local(folder or Path()),
    )


def look_at_machine(folder: Path | None = None) -> Machine:
    """Gather everything. Makes one event loop, and closes it."""
    names = look_at_names(folder)
    return Machine(
        python=platform.python_version(),
        home=names.home,
        origins=names.origins,
        claimed=names.claimed,
        local=names.local,
        versions={name: version for name in PARTS if (version := _version(name))},
        loop=_loop(),
        msgpack=_msgpack(),
        open_files=_open_files(),
        environment={name: text for name, text in os.environ.items() if name.startswith("IRISMQ_")},
    )


def _home() -> Path:
    return Path(__file__).resolve().parents[3]


def _origin(name: str) -> str | None:
    """Return the file that `import name` takes, without importing it."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    places = [found.origin, *(found.submodule_search_locations or ())]
    return next((str(Path(place).resolve()) for place in places if place), None)


def _claimed() -> dict[str, tuple[str, ...]]:
    """Which other distributions have a package of one of these names.

    As `importlib.metadata.packages_distributions` finds it, but without an object for each
    file of each distribution, which takes half a second where many are installed.
    """
    owners: dict[str, set[str]] = {}
    for found in importlib.metadata.distributions():
        declared = (found.read_text("top_level.txt") or "").split()
        for name in declared or _RECORDED.findall(found.read_text("RECORD") or ""):
            if name in _NAMES and (owner := found.metadata["Name"]) != DISTRIBUTION:
                owners.setdefault(name, set()).add(owner)
    return {name: tuple(sorted(owners[name])) for name in _NAMES if name in owners}


def _local(folder: Path) -> tuple[str, ...]:
    """Return what of `folder` a program that starts there would import instead of ours."""
    try:
        folder = folder.absolute()
    except OSError:  # the folder that we are in was removed: nothing is imported from it
        return ()
    if folder.resolve() == _home():
        return ()
    found: list[str] = []
    for name in OURS:
        with contextlib.suppress(OSError):
            candidates = (folder / f"{name}.py", folder / name / "__init__.py")
            there = [path.resolve() for path in candidates if path.is_file()]
            found += [str(path) for path in there if not path.is_relative_to(_home())]
    return tuple(found)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _loop() -> str:
    try:
        runtime = importlib.import_module("irismq_runtime.loop")
    except ImportError as error:
        return f"none: {error}"
    loop = runtime.new_event_loop()
    loop.close()
    return type(loop).__module__


def _msgpack() -> str:
    try:
        return str(importlib.import_module("msgpack").Packer.__module__)
    except (ImportError, AttributeError) as error:
        return f"none: {error}"


def _open_files() -> tuple[int, int] | None:
    try:
        import resource
    except ImportError:  # no such limit on this platform
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)
