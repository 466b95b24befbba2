"""Many messages to one address at one call: all of them are taken, or none is.

Order: every message is encoded and its size looked at, then the mailbox takes all
or refuses all, in one turn of the loop. So whoever gets an error has sent nothing,
and whoever gets receipts has one for each. The error names the index of the message
that it is about.
"""

from __future__ import annotations

import concurrent.futures
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeAlias

from irismq_runtime.errors import EncodeError, MessageTooLarge
from irismq_runtime.messaging import MAILBOX_CHANNEL
from irismq_runtime.refs.foreign import foreign_bytes
from irismq_runtime.refs.receipt import TellReceipt, copy_to
from irismq_runtime.refs.spans import packing
from irismq_runtime.wire import Kind, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from irismq_runtime.observe.tracing import Sending
    from irismq_runtime.ports import Confirmation
    from irismq_runtime.refs.foreign import Form
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["tell_many"]

#: Envelope id, bytes, and the span if it is traced.
_Packed: TypeAlias = "tuple[bytes, bytes, Sending | None]"


def tell_many(
    outbound: Outbound,
    address: str,
    topic: str,
    messages: Iterable[object],
    *,
    codec: str | None,
    foreign: Form | None,
) -> list[TellReceipt]:
    """See `ServiceRef.tell_many`."""
    with ExitStack() as spans:
        packed: list[_Packed] = []
        for index, message in enumerate(messages):
            with _naming(index):
                if foreign is None:
                    packed.append(_pack(outbound, address, message, codec, spans))
                else:
                    packed.append((new_id(), foreign_bytes(message, foreign), None))
        limit = outbound.mailbox.max_body
        for index, (_, data, _) in enumerate(packed):
            if len(data) > limit:
                raise MessageTooLarge(len(data), limit, limit_of="the broker", index=index)
        receipts = _store(outbound, address, topic, packed)
    for receipt, (_, _, sending) in zip(receipts, packed, strict=True):
        if sending is not None:
            receipt.when_known(sending.end)
    return receipts


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Let what is raised say which of the messages it is about."""
    try:
        yield
    except EncodeError as error:
        raise EncodeError(f"$[{index}]{error.path.removeprefix('$')}", error.reason) from error
    except MessageTooLarge as error:
        raise MessageTooLarge(
            error.size, error.limit, limit_of=error.limit_of, index=index
        ) from error
    except Exception as error:
        error.add_note(f"(the message at index {index}; none was sent)")
        raise


def _pack(
    outbound: Outbound,
    address: str,
    message: object,
    codec: str | None,
    spans: ExitStack,
) -> _Packed:
    """The bytes of one message. Its span ends with `spans`, if those fail."""
    headers = outbound.headers()
    sending = None
    if outbound.tracing is not None:
        sending = outbound.tracing.tell(headers, address, message, system="nsq")
        spans.enter_context(packing(sending))
    envelope_id, data, _ = outbound.packer.new(
        Kind.TELL, message, headers, codec, "store", outbound.topic_of(address)
    )
    return envelope_id, data, sending


def _store(
    outbound: Outbound, address: str, topic: str, packed: list[_Packed]
) -> list[TellReceipt]:
    """Hand all over to the mailbox; from a thread, what it says comes by the receipts."""
    if not packed:
        return []
    keys: list[str] = []
    if outbound.events.active:
        for envelope_id, data, _ in packed:
            keys.append(key := envelope_id.hex())
            outbound.events.emit("tell.encoded", id=key, address=address, size=len(data))
    bodies = [data for _, data, _ in packed]

    def publish() -> Sequence[Confirmation]:
        return outbound.mailbox.publish_all(
            topic, bodies, timeout=outbound.publish_timeout, keys=keys, channel=MAILBOX_CHANNEL
        )

    ends: list[Confirmation | concurrent.futures.Future[None]]
    if outbound.on_loop:
        ends = [*publish()]
    else:
        waits = [concurrent.futures.Future[None]() for _ in packed]
        ends = [*waits]

        def publish_for_a_thread() -> None:
            try:
                confirmed = publish()
            except Exception as error:  # it is told through the receipts: the thread has gone on
                for done in waits:
                    done.set_exception(error)
                return
            for done, confirmation in zip(waits, confirmed, strict=True):
                confirmation.add_done_callback(copy_to(done))

        outbound.loop.call_soon_threadsafe(publish_for_a_thread)
    return [
        TellReceipt(packed[n][0], end, outbound.loop, outbound.thread) for n, end in enumerate(ends)
    ]
