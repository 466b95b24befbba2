"""The embedded relay: an Iris relay inside the process, for development and tests."""

from irismq_runtime.embedded.relay.faults import Faults
from irismq_runtime.embedded.relay.options import RelayOptions
from irismq_runtime.embedded.relay.router import (
    BackEnd,
    Host,
    InMemoryBackEnd,
    Recipient,
)
from irismq_runtime.embedded.relay.server import EmbeddedRelay
from irismq_runtime.embedded.relay.stats import RelayStats

__all__ = [
    "BackEnd",
    "EmbeddedRelay",
    "Faults",
    "Host",
    "InMemoryBackEnd",
    "Recipient",
    "RelayOptions",
    "RelayStats",
]
