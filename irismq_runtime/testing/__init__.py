"""For tests of services: what was handled, dead letters, what travels, faults, durable actors.

`actors.testing` has what tests of actors need that know no network.
"""

from __future__ import annotations

from irismq_runtime.testing.faults import all_travel, faulty
from irismq_runtime.testing.kit import DurableKit, Told
from irismq_runtime.testing.nodes import DeadMessage, dead_letters, handled, travelled

__all__ = [
    "DeadMessage",
    "DurableKit",
    "Told",
    "all_travel",
    "dead_letters",
    "faulty",
    "handled",
    "travelled",
]
