"""The advice for an address where no server answers, one text for each kind of server.

What `irismq dev` runs it can stand in for; of NATS it has nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OR_EMBEDDED", "START_DEV", "START_NATS"]

#: For a broker, a relay, a directory.
START_DEV: Final = "start one with `irismq dev`, or give another address"
#: The same for a node, which can have its own.
OR_EMBEDDED: Final = "start one with `irismq dev`, or pass --embedded"
START_NATS: Final = "start nats-server there, or give the address of one that runs"
