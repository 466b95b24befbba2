"""Ours over a real Iris node, which runs beside us in a private network namespace."""

from __future__ import annotations

import os
from typing import Any

from contestants import remote_ours


def measure(scale: float) -> dict[str, Any]:
    if not os.environ.get("IRISMQ_IRIS"):
        raise RuntimeError("IRISMQ_IRIS names no Iris binary")
    os.environ["BENCHMARK_RELAY"] = "real"
    return remote_ours.measure(scale)
