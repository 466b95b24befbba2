"""What leaves a node whose durable actors stage what they tell: `Outbound`, in order.

    in the handler of a durable actor   a tell, or a durable event, becomes a row of its unit
                                        an ask, a broadcast, a live event, and what is said
                                        `outside()`, waits for what the actor did before
    in its other code                   a tell is an error: it would belong to no commit
    everywhere else                     as ever

Rows are encoded at the call and kept unsigned. Any thread, but for what has to wait, which
is handed to the loop.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from irismq_runtime.durability.errors import ReceiptNotDone
from irismq_runtime.durability.local_refs import hold_refs
from irismq_runtime.durability.unit import (
    Unit,
    UnitState,
    address_in_force,
    current_unit,
    engine_in_force,
    unit_in_force,
)
from irismq_runtime.durability.waiting import activation_behind, when_committed
from irismq_runtime.errors import MessageTooLarge, Overloaded
from irismq_runtime.messaging.foreign import foreign_bytes
from irismq_runtime.ports.state_store import StagedMessage, StateKey
from irismq_runtime.refs import Outbound, TellReceipt
from irismq_runtime.refs.spans import packing
from irismq_runtime.wire import Kind, new_id

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from actors import Future
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.refs.outbound import Asking
    from irismq_runtime.refs.together import Within

__all__ = ["MOST_STAGED", "StagingOutbound", "begin_staging"]

#: Messages that one handler may tell.
MOST_STAGED: Final = 10_000
_TELL: Final = "a tell"


class StagingOutbound(Outbound):
    """The sending half of a node that has durable actors.

    A node's outbound becomes one when the first of them starts (`begin_staging`): until then
    a node with a store sends as fast as one without, and its refs have the outbound already.
    """

    __slots__ = ()

    # Tells --------------------------------------------------------------------

    def store(
        self,
        address: str,
        topic: str,
        kind: Kind,
        message: object,
        *,
        delay: float = 0.0,
        expires: float | None = None,
        codec: str | None = None,
        channel: str = "",
        key: str = "",
    ) -> TellReceipt:
        """As `Outbound.store`; in a handler of a durable actor into its unit."""
        unit = unit_in_force(_TELL)
        if unit is None:
            return super().store(
                address,
                topic,
                kind,
                message,
                delay=delay,
                expires=expires,
                codec=codec,
                channel=channel,
                key=key,
            )
        headers = self.headers_to_store(key, delay, expires)
        sending = None
        if self.tracing is not None:
            sending = self.tracing.tell(headers, address, message, system="nsq")
        # Whether an address that is not known is durable is looked up before the commit.
        owned = kind is Kind.TELL
        to = StateKey(address, key) if owned else StateKey(topic)
        last = engine_in_force().ending_of(to, owned=owned)
        if sending is None:
            envelope_id, data = self.packer.unsigned(kind, message, headers, codec, last)
        else:
            with packing(sending):
                envelope_id, data = self.packer.unsigned(kind, message, headers, codec, last)
        row = StagedMessage(envelope_id, to, data, owned, channel, delay, expires)
        receipt = self._stage(unit, row, address)
        if sending is not None:
            receipt.when_known(sending.end)
        return receipt

    def store_once(self, *args: Any, **options: Any) -> TellReceipt:
        """As `Outbound.store_once`. Raises `ValueError` in a handler of a durable actor."""
        if unit_in_force(_TELL) is not None:
            raise ValueError(
                "what the handler of a durable actor tells leaves with its commit, once: leave "
                "`id` out"
            )
        return super().store_once(*args, **options)

    def store_foreign(  # noqa: PLR0917  # as `Outbound.store_foreign`
        self,
        address: str,
        topic: str,
        message: object,
        form: Form,
        delay: float,
        channel: str = "",
    ) -> TellReceipt:
        """As `Outbound.store_foreign`; in a handler of a durable actor into its unit."""
        unit = unit_in_force(_TELL)
        if unit is None:
            return super().store_foreign(address, topic, message, form, delay, channel)
        self.check_foreign_delay(delay)
        row = StagedMessage(
            new_id(),
            StateKey(topic),
            foreign_bytes(message, form),
            owned=False,
            channel=channel,
            delay=delay,
            ordered=False,
        )
        return self._stage(unit, row, address)

    def _stage(self, unit: Unit, row: StagedMessage, address: str) -> StagedReceipt:
        crowding = engine_in_force().crowding
        if crowding.full:
            crowding.check(address_in_force(), row.to.address)
        size = len(row.envelope)
        if size > self.mailbox.max_body:
            raise MessageTooLarge(size, self.mailbox.max_body, limit_of="the broker")
        if len(unit.staged) >= MOST_STAGED:
            raise Overloaded(
                f"a handler told {MOST_STAGED:,} messages already; tell the actor itself to go on, "
                "and send the rest from there"
            )
        unit.staged.append(row)
        if self.events.active:
            self.events.emit("tell.encoded", id=row.id.hex(), address=address, size=size)
        return StagedReceipt(row.id, unit, self)

    def staged_together(  # noqa: PLR0917  # as `Outbound.staged_together`
        self,
        address: str,
        topic: str,
        messages: list[object],
        codec: str | None,
        form: Form | None,
        key: str,
        within: Within | None,
    ) -> list[TellReceipt] | None:
        """Stage all of them or none; None: the caller is in no unit."""
        unit = unit_in_force(_TELL)
        if unit is None:
            return None
        before = len(unit.staged)
        receipts: list[TellReceipt] = []
        stage = partial(self._staged_one, address, topic, codec, form, key)
        if within is not None:
            stage = partial(within, stage)
        try:
            for message in messages:
                one = stage(message)
                receipts.append(one)  # how many there are names the bad one
        except BaseException as error:
            del unit.staged[before:]
            error.add_note(f"(the message at index {len(receipts)}; none was staged)")
            raise
        return receipts

    def _staged_one(  # noqa: PLR0917  # as above
        self,
        address: str,
        topic: str,
        codec: str | None,
        form: Form | None,
        key: str,
        message: object,
    ) -> TellReceipt:
        if form is not None:
            return self.store_foreign(address, topic, message, form, 0.0, "mailbox")
        return self.store(
            address, topic, Kind.TELL, message, codec=codec, channel="mailbox", key=key
        )

    def store_bytes(  # noqa: PLR0917  # as `Outbound.store_bytes`
        self, address: str, topic: str, envelope_id: bytes, data: bytes, delay: float, channel: str
    ) -> TellReceipt:
        """As `Outbound.store_bytes`: here comes what is of no unit, or said `outside()`."""
        activation = activation_behind()
        if activation is None:
            return super().store_bytes(address, topic, envelope_id, data, delay, channel)
        told: asyncio.Future[None] = self.loop.create_future()
        told.add_done_callback(_looked_at)
        plain = partial(super().store_bytes, address, topic, envelope_id, data, delay, channel)

        def store() -> None:
            try:
                receipt = plain()
            except Exception as error:  # it is told through the receipt: the handler has gone on
                told.set_exception(error)
            else:
                receipt.when_known(partial(_finish, told))

        when_committed(activation, store, partial(_finish, told))
        return TellReceipt(envelope_id, told, self)

    def asking(self, target: str, message: object, timeout: float | None) -> Asking:
        """As `Outbound.asking`. Raises RuntimeError while the handler holds a transaction."""
        unit = current_unit.get()
        if isinstance(unit, Unit) and unit.transaction is not None:
            raise RuntimeError(
                f"an ask of {target!r} while this handler holds locks of the database; ask before "
                "the first `async with self.sql()`, or tell"
            )
        return super().asking(target, message, timeout)

    # What waits for what was before ---------------------------------------------

    def call_in_order(self, callback: Callable[..., Any], *args: Any) -> bool:
        """As `Outbound.call`; after what the actor did before."""
        activation = activation_behind()
        if activation is None:
            return self.system.call_on_loop(callback, *args)
        when_committed(activation, partial(callback, *args))
        return True

    def broadcast(self, cluster: str, data: bytes) -> None:
        """As `Outbound.broadcast`; after what the actor did before."""
        activation = activation_behind()
        if activation is None:
            super().broadcast(cluster, data)
        else:
            when_committed(activation, partial(super().broadcast, cluster, data))

    def publish_live(
        self, topic: str, message: object, codec: str | None, foreign: Form | None = None
    ) -> None:
        """As `Outbound.publish_live`; after what the actor did before."""
        activation = activation_behind()
        if activation is None:
            super().publish_live(topic, message, codec, foreign)
        else:
            publish = super().publish_live
            when_committed(activation, partial(publish, topic, message, codec, foreign))


def begin_staging(outbound: Outbound) -> None:
    """Let `outbound` be one that stages, from now on and for all who hold it. Loop thread."""
    if type(outbound) is Outbound:
        hold_refs(outbound.system)
        outbound.__class__ = StagingOutbound
        outbound.call = StagingOutbound.call_in_order.__get__(outbound)


def _finish(told: asyncio.Future[None], error: BaseException | None) -> None:
    if told.done():
        return
    if error is None:
        told.set_result(None)
    else:
        told.set_exception(error)


def _looked_at(told: asyncio.Future[None]) -> None:
    """A receipt may be left alone: its error is no complaint of the loop."""
    if not told.cancelled():
        told.exception()


class StagedReceipt(TellReceipt):
    """What becomes of a tell that leaves with a commit. Awaiting it in its own handler raises.

    Most are left alone: the future is made for who asks.
    """

    __slots__ = ("_made", "_unit")

    def __init__(  # the base's would make the future
        self,
        id: bytes,  # noqa: A002  # the field's name on the wire
        unit: Unit,
        outbound: Outbound,
    ) -> None:
        self.id = id
        self._outbound = outbound
        self._unit = unit
        self._made: asyncio.Future[None] | None = None

    @property
    def _future(self) -> asyncio.Future[None]:  # type: ignore[override]  # a slot of the base
        """The end of the unit. Any thread: whoever comes later finds it ended already."""
        future = self._made
        if future is None:
            future = self._made = self._outbound.loop.create_future()
            future.add_done_callback(_looked_at)
            known = partial(_finish, future)
            self._unit.after.append(known)
            if self._unit.ended is not None:
                known(*self._unit.ended)
        return future

    def __await__(self) -> Generator[Any, None, None]:
        self._check()
        return super().__await__()

    def wait(self, timeout: float | None = None) -> None:
        """As `TellReceipt.wait`; in its own handler it raises `ReceiptNotDone`."""
        self._check()
        super().wait(timeout)

    def result(self, *, timeout: float | None = None) -> Future[Any]:
        """As `TellReceipt.result`; in its own handler it raises `ReceiptNotDone`."""
        self._check()
        return super().result(timeout=timeout)

    def _check(self) -> None:
        """Raise `ReceiptNotDone` where waiting would be for ever."""
        if current_unit.get() is self._unit and self._unit.life is UnitState.OPEN:
            raise ReceiptNotDone(self.id)
