"""The Iris relay protocol v1.0-draft2: both roles, without I/O."""

from irismq_runtime.protocols.iris.codec import PacketDecoder
from irismq_runtime.protocols.iris.encoders import encode_packet
from irismq_runtime.protocols.iris.primitives import DEFAULT_LIMITS, IrisProtocolError, PacketLimits
from irismq_runtime.protocols.iris.states import ConnectionState, IrisProtocol, version_refusal

__all__ = [
    "DEFAULT_LIMITS",
    "ConnectionState",
    "IrisProtocol",
    "IrisProtocolError",
    "PacketDecoder",
    "PacketLimits",
    "encode_packet",
    "version_refusal",
]
