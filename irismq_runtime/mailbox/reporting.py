"""What the mailbox says of its health, as one value."""

from __future__ import annotations

import dataclasses

__all__ = ["WELL", "Health"]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """`ok`, or the reason why not (fills `ports.TransportHealth`).

    `advisory`: not `ok` on purpose, because messages fail.
    """

    ok: bool
    reason: str = ""
    advisory: bool = False


WELL = Health(ok=True)
