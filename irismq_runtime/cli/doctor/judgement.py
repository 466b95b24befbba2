"""Judges a machine: facts in, findings out. Pure.

One line a finding, with what to do in it. `BAD` is what keeps a node from working,
`WARN` what will hurt, `NOTE` what is good to know.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from irismq_runtime.cli.server_identification import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from irismq_runtime.cli.doctor.machine import Machine

__all__ = ["judge_machine", "judge_names"]


def judge_machine(machine: Machine, *, nats: bool = False) -> list[Finding]:
    """Everything about this machine. `nats`: the relay is to be one over NATS."""
    found = [Finding(Level.OK, "python", f"Python {machine.python}")]
    found += judge_names(machine)
    found.append(_loop(machine))
    found.append(_msgpack(machine))
    if machine.open_files is not None:
        found.append(_open_files(*machine.open_files))
    if nats:
        found.append(_nats(machine))
    found += _environment(machine)
    return found


def judge_names(machine: Machine) -> list[Finding]:
    """Who has the names of our packages."""
    found = [*_shadowed(machine), *_claimed(machine), *_local(machine)]
    return found or [Finding(Level.OK, "names", f"the packages are ours, in {machine.home}")]


def _shadowed(machine: Machine) -> Iterator[Finding]:
    for name, origin in machine.origins.items():
        if origin is None:
            text = f"the package {name} cannot be found"
            yield Finding(Level.BAD, name, text, "install irismq-runtime again")
        elif not PurePath(origin).is_relative_to(machine.home):
            text = f"`import {name}` gives {origin}, which is not ours"
            yield Finding(Level.BAD, name, text, "rename it, or take it off the path")


def _claimed(machine: Machine) -> Iterator[Finding]:
    for name, others in machine.claimed.items():
        who = " and ".join(others)
        if name in machine.origins:
            text = f"the package {name} is also installed by {who}, which is unrelated"
            advice = f"pip uninstall {' '.join(others)}, then install irismq-runtime again"
            yield Finding(Level.BAD, name, text, advice)
        else:
            text = f"`import {name}` gives {who} of PyPI, which is unrelated"
            yield Finding(Level.NOTE, name, text, f"ours is irismq_runtime.{name}")


def _local(machine: Machine) -> Iterator[Finding]:
    shadowed = {str(origin) for origin in machine.origins.values()}
    for path in machine.local:
        if path in shadowed:  # said already
            continue
        name = PurePath(path).stem
        name = PurePath(path).parent.name if name == "__init__" else name
        text = f"{path} hides our package {name} from programs that start in this folder"
        yield Finding(Level.WARN, name, text, "rename it")


def _loop(machine: Machine) -> Finding:
    version = machine.versions.get("uvloop", "")
    if machine.loop.startswith("uvloop"):
        return Finding(Level.OK, "uvloop", f"uvloop {version} runs the event loop")
    if version:
        text = f"uvloop {version} is installed, but the event loop is {machine.loop}"
        return Finding(Level.WARN, "uvloop", text, "see why `import uvloop` fails")
    text = f"uvloop is not installed, the event loop is {machine.loop}"
    return Finding(Level.WARN, "uvloop", text, "pip install uvloop, which is faster")


def _msgpack(machine: Machine) -> Finding:
    version = machine.versions.get("msgpack", "")
    if machine.msgpack.startswith("msgpack._cmsgpack"):
        return Finding(Level.OK, "msgpack", f"msgpack {version} has its C part")
    text = f"msgpack {version} runs without its C part ({machine.msgpack})"
    advice = "unset MSGPACK_PUREPYTHON, or install a wheel of msgpack for this Python"
    return Finding(Level.WARN, "msgpack", text, advice)


#: One connection to the relay and one to each broker for an actor with an address.
_FEW_FILES: Final = 1024
_MANY_FILES: Final = 4096


def _open_files(soft: int, hard: int) -> Finding:
    text = f"a process may have {soft:,} files open"
    if soft < 0 or soft >= _MANY_FILES:  # -1: no limit
        return Finding(Level.OK, "files", text if soft >= 0 else "open files are not limited")
    each = f"enough for some {max(0, soft - 64) // 2:,} actors with addresses"
    room = f"ulimit -n {_MANY_FILES}" if hard < 0 or hard >= _MANY_FILES else "raise the hard limit"
    level = Level.WARN if soft < _FEW_FILES else Level.NOTE
    return Finding(level, "files", f"{text}, {each}", f"{room}, or LimitNOFILE= of systemd")


def _nats(machine: Machine) -> Finding:
    version = machine.versions.get("nats-py", "")
    if version:
        return Finding(Level.OK, "nats-py", f"nats-py {version} is installed")
    text = "a relay over NATS is asked for, but nats-py is not installed"
    return Finding(Level.BAD, "nats-py", text, "pip install 'irismq-runtime[nats]'")


_HOST_PORT: Final = re.compile(r"[^/]+:\d{1,5}\Z|nats://")
_MEANT: Final = {"IRISMQ_NSQD": "IRISMQ_NSQD_ADDRESS", "IRISMQ_IRIS": "IRISMQ_IRIS_ADDRESS"}


def _environment(machine: Machine) -> Iterator[Finding]:
    """Variables that name a program of the tests, set to an address."""
    for name, meant in _MEANT.items():
        if _HOST_PORT.match(machine.environment.get(name, "")):
            text = f"{name} is set to an address, and is not read: it names a program for tests"
            yield Finding(Level.WARN, name, text, f"set {meant}")
