"""The health of a node, from what its parts say of themselves.

Ready means: the broker and the relay are reached, and by a relay of this process the servers
it routes over; the store, if there is one, does what it is asked; the shards of entities
that it has are its own; every bound actor is a
member and its consumers get messages; presence is heard. What fails because of its own
messages is shown and is not a failure of the node: a consumer that backs off, one whose actor
restarts. The transport's own stall detector says when messages are held and nothing happens
to them, or none are asked for. A directory (nsqlookupd) at fault is shown and is not a
failure: brokers known are kept. A handler that takes very long is a failure while messages
wait for its actor.
Live means: no root of the tree has given up, and the loop turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.runtime import slot_of
from irismq_runtime.dispatch.consumer_pause import FULL
from irismq_runtime.node.assembly import ownership_in
from irismq_runtime.node.binding.binder import DOWN
from irismq_runtime.observe.health import Check, Health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Exit
    from irismq_runtime.dispatch.stored import StoredDispatch
    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.node.binding.binder import Binding
    from irismq_runtime.node.own_servers.servers import Servers
    from irismq_runtime.ports import TransportHealth

__all__ = ["health_of"]

#: Pauses of an address that say nothing of what else the node does. Whether the handlers behind
#: a full inbox get anything done is a check of its own.
_OF_ITS_MESSAGES: Final = frozenset({DOWN, FULL})


def health_of(
    parts: Parts,
    servers: Servers,
    *,
    gave_up: Exit | None,
    draining: str,
    failures_only: bool = False,
) -> Health:
    """Return the health now. `gave_up`: how a root ended; `draining`: why, or "".

    `failures_only`: leave out what is well of each address, which is most of it.
    """
    checks = [
        Check(
            "tree",
            gave_up is None,
            "" if gave_up is None else f"a root supervisor gave up: {gave_up}",
            vital=True,
        ),
        _of("mailbox", parts.mailbox.health()),
        _relay(parts),
        *servers.checks(),
        _presence(parts),
    ]
    checks.append(_handlers(parts))
    if parts.durable is not None:
        fault = parts.durable.committer.fault
        checks.append(Check("store", fault is None, "" if fault is None else str(fault)))
    ownership = ownership_in(parts.durable)
    if ownership is not None:
        checks.append(Check("entities", not ownership.complaint, ownership.complaint))
    if draining:
        checks.append(Check("draining", ok=False, reason=draining))
    if parts.config.lookupd:
        checks.append(_directory(parts))
    for binding in parts.binder:
        checks += _binding_checks(binding, failures_only=failures_only)
    return Health(tuple(checks))


def _presence(parts: Parts) -> Check:
    complaint = parts.presence.complaint()
    return Check("presence", not complaint, complaint)


def _relay(parts: Parts) -> Check:
    said = _of("relay", parts.addresses.health())
    waiting = parts.dispatch.acknowledging
    if not said.ok or not waiting.full:
        return said
    reason = (
        f"{waiting.count:,} answers to asks of everybody wait to be acknowledged; more are lost"
    )
    return Check("relay", ok=False, reason=reason)


def _handlers(parts: Parts) -> Check:
    """Handlers that have been running for very long while messages wait for them."""
    stuck = [
        f"{slow.ref.name} has been handling {slow.message_type} for {slow.seconds:.0f} s, "
        f"{waiting} wait"
        for slow in parts.system.slow.now()
        if (waiting := len(slot_of(slow.ref).inbox))
    ]
    return Check("handlers", not stuck, "; ".join(stuck[:3]))


def _directory(parts: Parts) -> Check:
    """What nsqlookupd is at fault for; the brokers known are consumed from all the same."""
    remarks = {
        remark: None
        for binding in parts.binder
        for _, consumption in binding.stored
        if (remark := consumption.remark())
    }
    return Check("directory", not remarks, "; ".join([*remarks][:3]), advisory=True)


def _of(name: str, said: TransportHealth) -> Check:
    return Check(name, said.ok, "" if said.ok else said.reason, advisory=said.advisory)


def _binding_checks(binding: Binding, *, failures_only: bool) -> Iterator[Check]:
    if binding.member is not None:
        said = binding.member.health()
        if not (failures_only and said.ok):
            yield _of(f"member {binding.address}", said)
    for dispatch, consumption in binding.stored:
        if dispatch.pause.reasons:
            yield _paused(dispatch)
        elif not (said := consumption.health()).ok or not failures_only:
            yield _of(f"consumer {dispatch.address}", said)


def _paused(dispatch: StoredDispatch) -> Check:
    reasons = dispatch.pause.reasons
    reason = f"paused: {', '.join(sorted(reasons))}"
    ours = reasons <= _OF_ITS_MESSAGES
    return Check(f"consumer {dispatch.address}", ok=False, reason=reason, advisory=ours)
