"""A relay's back end that routes over a NATS cluster, so that relays form one network."""

from irismq_runtime.embedded.relay.nats.back_end import NatsBackEnd
from irismq_runtime.embedded.relay.nats.options import NatsOptions, NatsStats

__all__ = ["NatsBackEnd", "NatsOptions", "NatsStats"]
