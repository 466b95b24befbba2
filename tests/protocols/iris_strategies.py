"""Records of the Iris protocol as Hypothesis strategies, made from the packet table itself."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from irismq_runtime.protocols.iris.packets import (
    CLIENT_MAGIC,
    PACKETS,
    RELAY_MAGIC,
    ClientInit,
    Deny,
    Field,
    Packet,
    RelayInit,
    Role,
)

varints = st.one_of(
    st.integers(0, 300),
    st.sampled_from([127, 128, 16383, 16384, 2**32, 2**63, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
texts = st.one_of(st.text(max_size=40), st.just("caf\u00e9 \U0001f33c"), st.just("x" * 200))
bodies = st.one_of(st.binary(max_size=60), st.just(b"y" * 300))

_results = st.one_of(
    bodies.map(lambda body: (body, None)),
    texts.map(lambda fault: (None, fault)),
)
_FIELDS: dict[Field, st.SearchStrategy[tuple[Any, ...]]] = {
    Field.VARINT: varints.map(lambda value: (value,)),
    Field.BINARY: bodies.map(lambda value: (value,)),
    Field.CHUNK: bodies.map(lambda value: (value,)),
    Field.NAME: texts.map(lambda value: (value,)),
    Field.TEXT: texts.map(lambda value: (value,)),
    Field.RESULT: _results,
    Field.TIMED_RESULT: st.one_of(
        st.just((True, None, None)), _results.map(lambda pair: (False, *pair))
    ),
    Field.TIMED_VARINT: st.one_of(st.just((True, None)), varints.map(lambda value: (False, value))),
}


def _records(record: type[Packet], fields: tuple[Field, ...]) -> st.SearchStrategy[Packet]:
    return st.tuples(*(_FIELDS[field] for field in fields)).map(
        lambda groups: record(*(value for group in groups for value in group))
    )


def packets_from(role: Role) -> st.SearchStrategy[Packet]:
    """Any record that `role` may send, in whatever state."""
    return st.one_of(*(_records(record, fields) for record, fields in PACKETS[role].values()))


def talk_of(role: Role) -> st.SearchStrategy[Packet]:
    """Any record that changes no state."""
    return packets_from(role).filter(
        lambda packet: (
            not isinstance(packet, ClientInit | RelayInit | Deny)
            and type(packet).__name__ not in {"ClientClose", "RelayClose"}
        )
    )


HELLO = ClientInit(CLIENT_MAGIC, "v1.0-draft2", "cluster")
WELCOME = RelayInit(RELAY_MAGIC, "v1.0-draft2")
