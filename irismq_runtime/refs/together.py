"""Many messages to one address at one call: all of them are taken, or none is.

Order: every message is encoded and its size looked at, then the mailbox takes all
or refuses all, in one turn of the loop. So whoever gets an error has sent nothing,
and whoever gets receipts has one for each. The error names the index of the message
that it is about.
"""

from __future__ import annotations

import concurrent.futures
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from irismq_runtime.errors import EncodeError, MessageTooLarge, NodeStopped
from irismq_runtime.messaging import MAILBOX_CHANNEL
from irismq_runtime.messaging.foreign import foreign_bytes
from irismq_runtime.refs.receipt import TellReceipt, copy_to
from irismq_runtime.refs.spans import packing
from irismq_runtime.wire import Kind, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.observe.tracing import Sending, Tracing
    from irismq_runtime.ports import Confirmation
    from irismq_runtime.refs.outbound import Outbound

__all__ = ["Within", "tell_many"]

#: Envelope id, bytes, and the span if it is traced.
_Packed: TypeAlias = "tuple[bytes, bytes, Sending | None]"
#: Gives what a function makes of a message, or of what is sent in its place.
Within: TypeAlias = "Callable[[Callable[[object], Any], object], Any]"


def tell_many(
    outbound: Outbound,
    address: str,
    topic: str,
    messages: Iterable[object],
    *,
    codec: str | None,
    foreign: Form | None = None,
    key: str = "",
    within: Within | None = None,
) -> list[TellReceipt]:
    """See `ServiceRef.tell_many`; `key`: see `Outbound.store`; `within`: around each message."""
    if outbound.stopped is not None:
        raise NodeStopped(outbound.stopped)
    given = list(messages)
    staged = outbound.staged_together(address, topic, given, codec, foreign, key, within)
    if staged is not None:
        return staged
    with ExitStack() as spans:
        pack: Callable[[object], _Packed]
        if foreign is not None:
            pack = partial(_pack_foreign, foreign)
        elif outbound.tracing is not None:
            pack = partial(
                _pack_traced, outbound, outbound.tracing, address, codec, topic, spans, key
            )
        else:
            pack = partial(_pack, outbound, codec, topic, key)
        if within is not None:
            pack = partial(within, pack)
        packed = _pack_each(pack, given)
        receipts = _store(outbound, address, topic, packed)
    for receipt, (_, _, sending) in zip(receipts, packed, strict=True):
        if sending is not None:
            receipt.when_known(sending.end)
    return receipts


def _pack_each(pack: Callable[[object], _Packed], messages: list[object]) -> list[_Packed]:
    """Pack all; what is raised says which of them it is about."""
    packed: list[_Packed] = []
    try:
        for message in messages:
            packed.append(pack(message))  # noqa: PERF401  # how many there are names the bad one
    except EncodeError as error:
        path = f"$[{len(packed)}]{error.path.removeprefix('$')}"
        raise EncodeError(path, error.reason) from error
    except MessageTooLarge as error:
        raise MessageTooLarge(
            error.size, error.limit, limit_of=error.limit_of, index=len(packed)
        ) from error
    except Exception as error:
        error.add_note(f"(the message at index {len(packed)}; none was sent)")
        raise
    return packed


def _pack(outbound: Outbound, codec: str | None, topic: str, key: str, message: object) -> _Packed:
    new = outbound.packer.new
    headers = outbound.headers_to_store(key)
    envelope_id, data, _ = new(Kind.TELL, message, headers, codec, "store", topic)
    return envelope_id, data, None


def _pack_traced(  # noqa: PLR0917  # bound but for the last
    outbound: Outbound,
    tracing: Tracing,
    address: str,
    codec: str | None,
    topic: str,
    spans: ExitStack,
    key: str,
    message: object,
) -> _Packed:
    """Its span ends with `spans`, if those fail."""
    headers = outbound.headers_to_store(key)
    sending = tracing.tell(headers, address, message, system="nsq")
    spans.enter_context(packing(sending))
    new = outbound.packer.new
    envelope_id, data, _ = new(Kind.TELL, message, headers, codec, "store", topic)
    return envelope_id, data, sending


def _pack_foreign(form: Form, message: object) -> _Packed:
    return new_id(), foreign_bytes(message, form), None


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
    ends = _ends(outbound, topic, bodies, keys)
    return [TellReceipt(packed[n][0], end, outbound) for n, end in enumerate(ends)]


def _ends(
    outbound: Outbound, topic: str, bodies: list[bytes], keys: list[str]
) -> Sequence[Confirmation | concurrent.futures.Future[None]]:
    """What each receipt waits for."""
    if outbound.on_loop:
        return _publish(outbound, topic, bodies, keys)
    return _publish_from_a_thread(outbound, topic, bodies, keys)


def _publish(
    outbound: Outbound, topic: str, bodies: list[bytes], keys: list[str]
) -> Sequence[Confirmation]:
    return outbound.mailbox.publish_all(
        topic, bodies, timeout=outbound.publish_timeout, keys=keys, channel=MAILBOX_CHANNEL
    )


def _publish_from_a_thread(
    outbound: Outbound, topic: str, bodies: list[bytes], keys: list[str]
) -> list[concurrent.futures.Future[None]]:
    """What the mailbox says on the loop is told through the futures: the thread goes on."""
    limit = outbound.mailbox.max_body
    for index, body in enumerate(bodies):
        if len(body) > limit:
            raise MessageTooLarge(len(body), limit, limit_of="the broker", index=index)
    waits = [concurrent.futures.Future[None]() for _ in bodies]

    def publish() -> None:
        try:
            confirmed = _publish(outbound, topic, bodies, keys)
        except Exception as error:
            for done in waits:
                done.set_exception(error)
            return
        for done, confirmation in zip(waits, confirmed, strict=True):
            confirmation.add_done_callback(copy_to(done))

    outbound.loop.call_soon_threadsafe(publish)
    return waits
