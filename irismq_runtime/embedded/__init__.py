"""The servers of a fresh machine: a broker and a relay of ours, on loopback.

They speak the protocols of nsqd and of an Iris relay on real sockets, so that
everything above runs with one command and no client needs a second path. Single
node by design: more machines mean real nsqd, and real Iris nodes or this relay
with another back end (NATS).
"""

from irismq_runtime.embedded.nsqd import EmbeddedNsqd, NsqdFaults, NsqdOptions
from irismq_runtime.embedded.relay import EmbeddedRelay, Faults, RelayOptions

__all__ = ["EmbeddedNsqd", "EmbeddedRelay", "Faults", "NsqdFaults", "NsqdOptions", "RelayOptions"]
