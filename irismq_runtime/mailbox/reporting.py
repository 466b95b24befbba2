"""What the mailbox says of its health, as one value."""

from __future__ import annotations

import dataclasses

__all__ = ["WELL", "Health"]


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """`ok`, or the reason why not (fills `ports.TransportHealth`)."""

    ok: bool
    reason: str = ""


WELL = Health(ok=True)
