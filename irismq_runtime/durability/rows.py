"""Rows of the outbox to the broker: after their commit, and again when they are missing.

    relayed   published; deleted when the broker has confirmed it. It may be published again when
              its sender returns from anywhere, and says so
    owned     published; deleted by the commit of its receiver

A row that the broker did not take is tried again by this process while it runs. What else
is missing is found in the store: a relayed row by the node of its sender, when it takes
the sender over and every now and then; an owned one by the node of its receiver, once the mailbox
is known to be empty. It is published under its own id, and never handed to a handler
directly. Rows are kept unsigned, and signed as they leave. Loop thread only.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from irismq_runtime.durability.origin import numbered
from irismq_runtime.errors import DecodeError, RuntimeFault, StoreUnavailable
from irismq_runtime.messaging import MAILBOX_CHANNEL, mailbox_topic
from irismq_runtime.ports.state_store import LATER, row_number
from irismq_runtime.wire.headers import ORIGIN, REPEATS, REPEATS_LONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from irismq_runtime.durability.engine import DurableEngine
    from irismq_runtime.ports.state_store import OutboxRow, StagedMessage, StateCommit

__all__ = ["RowSender"]

#: Rows that one look publishes again.
AT_ONCE: Final = 500
#: How an envelope ends that says it may repeat, as `Packer.unsigned` makes it.
_SAYS_REPEATS: Final = msgspec.msgpack.encode({REPEATS: REPEATS_LONG})[1:]
#: Seconds before what the broker did not take is given to it again.
_AGAIN: Final = 1.0


class RowSender:
    """Publishes the rows of one node's actors, and what is missing for them."""

    __slots__ = ("_again", "_confirmed", "_engine", "_forgetting")

    def __init__(self, engine: DurableEngine) -> None:
        self._engine = engine
        self._confirmed: list[bytes] = []
        self._forgetting = False
        #: Rows that the broker did not take and that are tried again.
        self._again = 0

    def send(self, commit: StateCommit, version: int) -> None:
        """Publish what a commit has staged."""
        for index, message in enumerate(commit.staged):
            if message.channel == LATER:  # it is published when it is due
                self._engine.wheel.look_by(message.delay)
                continue
            self._engine.crowding.told(commit.key.address, message)
            self._publish(message, row_number(version, index), message.delay)

    def _publish(self, row: StagedMessage | OutboxRow, number: int, delay: float) -> None:
        engine = self._engine
        due = engine.now() + delay
        topic = mailbox_topic(row.to.address) if row.owned else row.to.address
        try:
            data = self._leaving(row, number, topic)
            confirmed = engine.mailbox.publish(
                topic,
                data,
                delay=min(delay, engine.mailbox.max_delay),
                timeout=engine.publish_timeout,
                key=row.id.hex(),
                channel=MAILBOX_CHANNEL if row.owned else row.channel,
            )
        except DecodeError:  # it was written by newer code, which will send it
            return
        except RuntimeFault:
            self._not_taken(row, number, due)
            return
        if confirmed.done():
            self._known(row, number, due, confirmed)
        else:
            confirmed.add_done_callback(partial(self._known, row, number, due))

    def _leaving(self, row: StagedMessage | OutboxRow, number: int, topic: str) -> bytes:
        """The bytes of a row as they leave now. Raises `DecodeError`."""
        engine, packer, data = self._engine, self._engine.packer, row.envelope
        if not row.owned:
            if data.endswith(_SAYS_REPEATS) and not packer.signs:
                return data
            return packer.leaving(data, topic, {REPEATS: REPEATS_LONG}, without=ORIGIN)
        if not packer.signs and (complete := numbered(data, engine.blank, number)) is not None:
            return complete
        return packer.leaving(data, topic, {ORIGIN: engine.origin.text(number)}, without=REPEATS)

    def _known(
        self, row: StagedMessage | OutboxRow, number: int, due: float, confirmed: Any
    ) -> None:
        if confirmed.cancelled() or confirmed.exception() is not None:
            self._not_taken(row, number, due)
        elif not row.owned:
            self._confirmed.append(row.id)
            if not self._forgetting:
                self._forgetting = True
                self._engine.spawn(self._forget())

    def _not_taken(self, row: StagedMessage | OutboxRow, number: int, due: float) -> None:
        """Once more soon; what is too much for that is found in the store later."""
        engine = self._engine
        if self._again < AT_ONCE and not engine.closed:
            self._again += 1
            engine.clock.call_later(_AGAIN, self._send_again, row, number, due)

    def _send_again(self, row: StagedMessage | OutboxRow, number: int, due: float) -> None:
        self._again -= 1
        if not self._engine.closed:
            self._publish(row, number, max(0.0, due - self._engine.now()))

    async def _forget(self) -> None:
        """Delete the relayed rows that are confirmed."""
        try:
            while self._confirmed:
                ids, self._confirmed = self._confirmed, []
                await self._engine.store.forget(ids)
        except StoreUnavailable as fault:  # they are sent again later, which their ids tell
            self._engine.committer.fault_seen(fault)
        finally:
            self._forgetting = False

    async def send_due(self, rows: list[OutboxRow], now: float) -> None:
        """Publish rows that are due soon, each at its time. `now`: seconds since 1970."""
        await self._engine.store.release([row.id for row in rows], MAILBOX_CHANNEL)
        for row in rows:
            self._publish(row, row.number, max(0.0, row.due - now))

    async def again(self, id: bytes) -> None:  # noqa: A002  # the field's name on the wire
        """Publish a row once more, if it waits. Raises `StoreUnavailable`."""
        for row in await self._engine.store.rows([id]):
            if not row.dead:
                self._engine.numbers.sent_again += 1
                self._publish(row, row.number, 0.0)

    # What is missing ------------------------------------------------------------

    async def take_over(self, address: str) -> None:
        """The actor of `address` runs here now: send what it told and no broker confirmed."""
        await self._send_unconfirmed((address,), 0.0)

    async def look(
        self, addresses: tuple[str, ...], quiet: frozenset[str], passed: Mapping[str, int]
    ) -> int:
        """Publish what is missing again; how many rows that were.

        Args:
            addresses: Those whose durable actors run here.
            quiet: Those of which the mailbox has been empty for a while.
            passed: For each address the number of a row that was handled a while ago: an earlier
                one that is overdue is missing, though the mailbox is never empty.
        """
        found = await self._send_unconfirmed(addresses, self._engine.republish_after)
        for address, number in passed.items():
            if not number and address not in quiet:
                continue
            rows = await self._engine.store.missing(address, self._engine.republish_after, AT_ONCE)
            if address not in quiet:
                rows = [row for row in rows if row.number < number]
            found += await self._send_rows(rows)
        return found

    async def _send_unconfirmed(self, senders: tuple[str, ...], overdue: float) -> int:
        if not senders:
            return 0
        rows = await self._engine.store.unconfirmed(senders, overdue, AT_ONCE)
        return await self._send_rows(rows)

    async def _send_rows(self, rows: list[OutboxRow]) -> int:
        if rows:
            # First, so that the next look does not find them before they have arrived.
            await self._engine.store.put_off([row.id for row in rows], 0.0, tried=False)
        for row in rows:
            self._engine.numbers.sent_again += 1
            self._publish(row, row.number, 0.0)
        return len(rows)
