"""Files that hold what is for nobody else on the machine: their owner alone reads them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["private_file"]


def private_file(path: Path) -> int:
    """Open or make a file that its owner alone can read; returns the descriptor.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    except PermissionError:
        # Another owner's file that we may write: it stays as it is.
        return descriptor
    return descriptor
