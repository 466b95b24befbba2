"""Rates and resident memory."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Self

#: The wall clock; with BENCHMARK_CLOCK=cpu the processor time of the process, all threads.
now = time.process_time if os.environ.get("BENCHMARK_CLOCK") == "cpu" else time.perf_counter


class Rate:
    """`with Rate(n) as rate: ...`, then `rate.per_second`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.per_second = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._began = now()
        return self

    def __exit__(self, *_: object) -> None:
        self.per_second = self.count / (now() - self._began)


def resident() -> int:
    """Bytes of resident memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
