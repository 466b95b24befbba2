"""How large a message may be: one set of numbers for both directions.

A sender checks them before it packs, a receiver before it builds, and both
count alike, so what one node may send every node with the same limits takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from irismq_runtime.errors import ConfigError

__all__ = ["DEFAULT_LIMITS", "MAX_DEPTH", "WireLimits"]

#: Deeper values would need more C stack in msgpack's packer than a thread with a
#: small stack has (measured: 128 levels fit in 64 KiB, 500 do not fit in 256 KiB).
MAX_DEPTH: Final = 128


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Limits of one envelope.

    `size`: bytes of the whole envelope. The default leaves 8 KiB below nsqd's
    1 MiB, so that a dead-letter record around the largest envelope still fits.
    `depth`: containers inside containers (a scalar has depth 0, `[]` has 1).
    `items`: elements of all containers of a body together, a map entry being
    two; it bounds what a small body can make a receiver allocate.
    Raises `ConfigError` for limits that cannot be kept.
    """

    size: int = 1_040_384
    depth: int = MAX_DEPTH
    items: int = 262_144

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ConfigError("limits.depth", f"{self.depth} is not in 1..{MAX_DEPTH}")
        if self.size < 1024:
            raise ConfigError("limits.size", f"{self.size} bytes leave no room for a message")
        if self.items < 1:
            raise ConfigError("limits.items", f"{self.items} allows no message at all")

    @property
    def body(self) -> int:
        """Bytes that a body may have; what headers and names take is less."""
        return self.size


#: What nodes use unless told otherwise.
DEFAULT_LIMITS: Final = WireLimits()
