"""What `irismq run --processes` was asked for, at both sides: the parent's, and a worker's.

It is imported by every `irismq run`, so it imports little. A worker is the same command in
another process, told by its environment which one it is.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors.rules import POSITIVE_SECONDS, SECONDS
from irismq_runtime.config import parse_endpoint
from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["WORKER", "WorkerOf", "Workers", "asked_of", "worker_of"]

#: Tells a process that it is a worker: its number, and the descriptor of a pipe.
WORKER: Final = "IRISMQ_WORKER"
#: Seconds beyond what the servers may take, for a tree to start; beyond its drains, to end.
_MARGIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Workers:
    """What is asked for.

    Args:
        processes: How many, 1 or more.
        silence: Seconds without a sign of life after which one is killed.
        start: Seconds that one may take until it is ready.
        stop: Seconds between SIGTERM and SIGKILL.
        max_memory: MiB above which one is started anew; None: any.
        reload: A folder whose Python files are watched; None: none.
    """

    processes: int
    silence: float
    start: float
    stop: float
    max_memory: int | None = None
    reload: Path | None = None


def asked_of(
    processes: int,
    silence: float,
    connect_timeout: float,
    drain: float,
    max_memory: int | None,
    *,
    reload: bool,
) -> Workers:
    """Put the options of the command together. Raises `ConfigError`."""
    for option, rule, value in (
        ("--silence", POSITIVE_SECONDS, silence),
        ("--connect-timeout", POSITIVE_SECONDS, connect_timeout),
        ("--drain", SECONDS, drain),
    ):
        if complaint := rule.complaint(value):
            raise ConfigError(option, complaint)
    return Workers(
        processes,
        silence,
        connect_timeout + _MARGIN,
        3 * drain + _MARGIN,  # as long as the phases of its end may take together
        max_memory,
        Path.cwd() if reload else None,
    )


@dataclass(frozen=True, slots=True)
class WorkerOf:
    """Which worker this process is. `pipe`: it ends when the parent is gone."""

    number: int
    pipe: int

    def status_of(self, status: str) -> str:
        """Where this one answers: so many ports above its parent. Raises `ConfigError`."""
        if not status:
            return ""
        where = parse_endpoint(status, option="--status", default_port=8150)
        return f"{where.host}:{where.port + self.number}"

    def end_with_parent(self) -> None:
        """See to it that this process ends in order when its parent is gone. Loop thread."""
        asyncio.get_running_loop().add_reader(self.pipe, self._parent_is_gone)

    def _parent_is_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self.pipe)
        os.kill(os.getpid(), signal.SIGTERM)


def worker_of(environment: MutableMapping[str, str]) -> WorkerOf | None:
    """Which worker this process is, if it is one; its own children are none any more.

    Raises `ConfigError` for what no parent has said.
    """
    text = environment.pop(WORKER, "")
    if not text:
        return None
    number, _, pipe = text.partition(":")
    try:
        return WorkerOf(int(number), int(pipe))
    except ValueError:
        raise ConfigError(WORKER, f"{text!r} is no worker", "unset it") from None
