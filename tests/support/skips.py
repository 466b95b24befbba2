"""Why a test may be skipped: a closed list, counted at the end of each run.

A reason that stands in no kind below fails the run, so that a test cannot leave
the suite unnoticed. `IRISMQ_NO_SKIPS` names kinds, separated by spaces, that must
not occur either: CI names what it has installed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KINDS", "Ledger", "kind_of", "tally"]

#: The name of a kind, and what its reasons look like.
KINDS = {
    "nsqd": r"no real nsqd: |no \w+ on PATH or beside IRISMQ_NSQD$|no nsqlookupd on PATH",
    "iris": r"no real relay: |IRISMQ_IRIS names no relay|a real relay scans the networks",
    "namespaces": r"no network namespaces can be made here|no PID namespaces for this user"
    r"|tunnels of a real node need an interface beside loopback",
    "chromium": r"no Chromium: |playwright is not installed",
    "go": r"no go on PATH|no Go here",
    "go-modules": r"go-nsq cannot be fetched|the module proxy does not serve"
    r"|the binding does not build here|port \d+, the only one that the binding's tests know",
    "pynsq-suite": r"pynsq's suite ",
    "pykka-suite": r"the package registry does not give the source of ",
    "postgres": r"no PostgreSQL: ",
    "extras": r"python-snappy is an extra|the group docs is not installed|no NATS server: ",
    "platform": r"pipes of Linux|it reads /proc|reads /proc|needs Linux's /proc"
    r"|this system has no fork|there is no bash|there is no /dev/full",
    # What a variant of a parametrised test does not have, by design.
    "variant": r"the embedded broker has no snappy|this broker has no HTTP port yet"
    r"|the transport in memory has no limit of its own",
}


def kind_of(reason: str) -> str | None:
    """The kind that a reason belongs to, or None for a new one."""
    for kind, pattern in KINDS.items():
        if re.match(pattern, reason):
            return kind
    return None


@dataclass(frozen=True)
class Ledger:
    """The skips of one run."""

    counts: dict[str, int]
    unknown: tuple[str, ...]
    forbidden: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every skip is of a known kind that may occur here."""
        return not self.unknown and not self.forbidden

    def lines(self) -> list[str]:
        """What a person reads at the end of the run."""
        said = [f"{count} skipped for want of: {kind}" for kind, count in self.counts.items()]
        said += [f"skipped for a reason of no known kind: {reason}" for reason in self.unknown]
        said += [f"IRISMQ_NO_SKIPS forbids: {reason}" for reason in self.forbidden]
        return said


def tally(reasons: Iterable[str], must_run: str = "") -> Ledger:
    """Count reasons by kind; `must_run` names the kinds that may not occur."""
    forbidden_kinds = set(must_run.split())
    if strange := forbidden_kinds - set(KINDS):
        raise ValueError(f"IRISMQ_NO_SKIPS: not kinds of skips: {', '.join(sorted(strange))}")
    counts: Counter[str] = Counter()
    unknown: set[str] = set()
    forbidden: set[str] = set()
    for reason in reasons:
        kind = kind_of(reason)
        if kind is None:
            unknown.add(reason)
            continue
        counts[kind] += 1
        if kind in forbidden_kinds:
            forbidden.add(f"{kind}: {reason}")
    return Ledger(dict(sorted(counts.items())), tuple(sorted(unknown)), tuple(sorted(forbidden)))
