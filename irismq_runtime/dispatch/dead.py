"""The record of a stored message that is given up, for `<address>.dead`; and saying so.

It holds the message byte for byte as it came, so that a replay puts back exactly
what was told, and beside it what a person needs: reason, deliveries, the error
with its traceback, when and where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.texts import class_name, trace_of
from irismq_runtime.observe.logs import shorten
from irismq_runtime.safe_text import safe
from irismq_runtime.wire import DeadRecord

if TYPE_CHECKING:
    from irismq_runtime.dispatch.context import DispatchContext
    from irismq_runtime.ports import StoredMessage
    from irismq_runtime.wire import Envelope

__all__ = ["dead_record", "said_dead"]

_MAX_TEXT: Final = 4_000


def dead_record(
    context: DispatchContext,
    address: str,
    stored: StoredMessage,
    envelope: Envelope | None,
    *,
    reason: str,
    error: BaseException | None,
    channel: str = "",
) -> bytes:
    """Return the bytes to store. Raises nothing. `channel`: see `DeadRecord`."""
    record = DeadRecord(
        body=stored.body,
        address=address,
        id=b"" if envelope is None else envelope.id,
        attempts=stored.attempts,
        reason=safe(reason, "\n\t"),
        error="" if error is None else f"{class_name(error)}: {shorten(error)}",
        traceback="" if error is None else _trace(error),
        time=context.clock.time(),
        node=context.packer.node_id,
        channel=channel,
    )
    return context.packer.dead(record)


def said_dead(  # noqa: PLR0917  # what a line about it says, in its order
    context: DispatchContext,
    address: str,
    stored: StoredMessage,
    envelope: Envelope | None,
    topic: str,
    reason: str,
) -> None:
    """Count a message that went to the dead-letter `topic`, and say so."""
    kind = envelope.type if envelope is not None else ""
    context.counters.buried += 1
    context.log.fault(
        "buried",
        "%s: %s went to %s after %d attempts: %s",
        address,
        f"a message of type {kind}" if kind else "a message",
        topic,
        stored.attempts,
        reason,
        like=(address, kind, reason),
    )
    if context.events.active:
        context.events.emit(
            "settlement.buried",
            id=envelope.id.hex() if envelope is not None else "",
            address=address,
            reason=reason,
        )


def _trace(error: BaseException) -> str:
    return safe(trace_of(error, limit=-20), "\n\t")[-_MAX_TEXT:]
