"""For tests of services: what a node has handled, dead letters, what may travel, durable actors.

`actors.testing` has what tests of actors need that know no network.
"""

from __future__ import annotations

from irismq_runtime.testing.kit import DurableKit, Told
from irismq_runtime.testing.nodes import DeadMessage, dead_letters, handled, travelled

__all__ = [
    "DeadMessage",
    "DurableKit",
    "Told",
    "dead_letters",
    "handled",
    "travelled",
]
