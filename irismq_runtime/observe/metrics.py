"""Numbers of a node in the text format that Prometheus reads.

Pure: samples in, text out. No client library is needed, and none is loaded; the
numbers are read when somebody asks and cost nothing otherwise. Names follow
Prometheus' rules: base units, `_total` for what only grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Sample", "prometheus_text"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `name` without the prefix "irismq_"."""

    name: str
    value: float
    kind: Literal["counter", "gauge"] = "gauge"
    help: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def prometheus_text(samples: Iterable[Sample]) -> str:
    """Return the samples in the exposition format, version 0.0.4."""
    lines: list[str] = []
    described: set[str] = set()
    for sample in sorted(samples, key=lambda s: s.name):
        name = f"irismq_{sample.name}"
        if name not in described:
            described.add(name)
            if sample.help:
                lines.append(f"# HELP {name} {_escaped(sample.help, quotes=False)}")
            lines.append(f"# TYPE {name} {sample.kind}")
        lines.append(f"{name}{_labels(sample.labels)} {sample.value:.17g}")
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items()) + "}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
