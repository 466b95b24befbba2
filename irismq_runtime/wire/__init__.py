"""Bytes on the wire: envelopes, bodies, limits, signatures (docs/protocol.md)."""

from __future__ import annotations

from irismq_runtime.wire.codecs import Codec, MsgpackCodec
from irismq_runtime.wire.dead_letters import DeadRecord, decode_dead_untrusted, encode_dead
from irismq_runtime.wire.envelope import (
    Envelope,
    Foreign,
    Kind,
    check_headers,
    decode_envelope_untrusted,
    encode_checked,
    encode_envelope,
    encode_sealed,
    verify_sealed_untrusted,
    without_signature,
)
from irismq_runtime.wire.faults import (
    FaultBody,
    FaultKind,
    decode_fault_untrusted,
    encode_fault,
    is_unread,
)
from irismq_runtime.wire.headers import is_signed
from irismq_runtime.wire.ids import ID_SIZE, named_id, new_id
from irismq_runtime.wire.json_codec import (
    JsonCodec,
    decode_plain_json_untrusted,
    encode_plain_json,
)
from irismq_runtime.wire.limits import DEFAULT_LIMITS, WireLimits
from irismq_runtime.wire.registry import Registry
from irismq_runtime.wire.serializer import EncodedMessage, Serializer
from irismq_runtime.wire.signing import Key, KeyRing, Place, Verb
from irismq_runtime.wire.values import Tagged

__all__ = [
    "DEFAULT_LIMITS",
    "ID_SIZE",
    "Codec",
    "DeadRecord",
    "EncodedMessage",
    "Envelope",
    "FaultBody",
    "FaultKind",
    "Foreign",
    "JsonCodec",
    "Key",
    "KeyRing",
    "Kind",
    "MsgpackCodec",
    "Place",
    "Registry",
    "Serializer",
    "Tagged",
    "Verb",
    "WireLimits",
    "check_headers",
    "decode_dead_untrusted",
    "decode_envelope_untrusted",
    "decode_fault_untrusted",
    "decode_plain_json_untrusted",
    "encode_checked",
    "encode_dead",
    "encode_envelope",
    "encode_fault",
    "encode_plain_json",
    "encode_sealed",
    "is_signed",
    "is_unread",
    "named_id",
    "new_id",
    "verify_sealed_untrusted",
    "without_signature",
]
