"""The sending half of a node: what every ref of it calls.

Knows the two ports, the packer and the directory; knows no actor's inside. Bytes
are made on the caller's thread, so that what cannot be encoded raises there, and
are handed to a transport on the node's loop. Order of a durable tell: encode ->
check the size -> outbox of the transport -> receipt.
"""

from __future__ import annotations

import concurrent.futures
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from actors.errors import AskCycle, AskTimeout
from actors.rules import check_seconds
from actors.runtime import current_slot
from irismq_runtime.errors import ConfigError, MessageTooLarge, NodeStopped
from irismq_runtime.messaging import mailbox_topic, peer_name
from irismq_runtime.messaging.foreign import foreign_bytes
from irismq_runtime.refs.carried import CARRIED, add, go_on
from irismq_runtime.refs.receipt import TellReceipt, copy_to
from irismq_runtime.refs.spans import packing, spanning
from irismq_runtime.wire import Kind, named_id, new_id
from irismq_runtime.wire.headers import ENTITY, FLOWS, REPEATS, REPEATS_LONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Future, System
    from irismq_runtime.messaging import Packer
    from irismq_runtime.messaging.foreign import Form
    from irismq_runtime.observe.meter import Meter
    from irismq_runtime.observe.tracing import Sending, Tracing
    from irismq_runtime.ports import AddressTransport, MailboxTransport
    from irismq_runtime.refs.directory import ServiceDirectory, Watching
    from irismq_runtime.refs.gather import Gather
    from irismq_runtime.refs.middleware import SendMiddleware
    from irismq_runtime.refs.together import Within
    from irismq_runtime.wire import Verb

__all__ = ["Asking", "Outbound"]

_EVENT, _TELL = Kind.EVENT, Kind.TELL
#: Makes the future of the result of a message: its id, and seconds.
WaitForResult: TypeAlias = "Callable[[bytes, float], Future[Any]]"
#: What an ask takes over from the handler that makes it: headers (sender and
#: chain), and seconds of timeout, never beyond the deadline of the message in hand.
Asking: TypeAlias = tuple[dict[str, object], float]


class Outbound:
    """Everything that refs send goes through here. Made by the node, on its loop."""

    __slots__ = (
        "addresses",
        "ask_timeout",
        "call",
        "clock",
        "directory",
        "events",
        "gathers",
        "late",
        "loop",
        "mailbox",
        "meter",
        "packer",
        "publish_timeout",
        "results",
        "send_middleware",
        "shards",
        "stopped",
        "system",
        "thread",
        "tracing",
        "watching",
    )

    def __init__(
        self,
        *,
        packer: Packer,
        mailbox: MailboxTransport,
        addresses: AddressTransport,
        directory: ServiceDirectory,
        watching: Watching,
        system: System,
        meter: Meter,
        tracing: Tracing | None,
        ask_timeout: float = 5.0,
        publish_timeout: float = 30.0,
        send_middleware: tuple[SendMiddleware, ...] = (),
    ) -> None:
        self.packer = packer
        self.mailbox = mailbox
        self.addresses = addresses
        self.directory = directory
        self.watching = watching
        self.system = system
        #: Calls a function on the loop: now when it runs on this thread, else soon; False
        #: when it is closed.
        self.call = system.call_on_loop
        self.clock = system.clock
        self.events = system.events
        self.meter = meter
        #: None unless the program has set up tracing.
        self.tracing = tracing
        self.ask_timeout = ask_timeout
        self.publish_timeout = publish_timeout
        #: Waits for the results of stored messages; None: the node has no store.
        self.results: WaitForResult | None = None
        #: What stands around the sends of the program.
        self.send_middleware = send_middleware
        #: Into how many shards the entities of an address are divided, where that is known.
        self.shards: dict[str, int] = {}
        #: The name of the node once that has stopped.
        self.stopped: str | None = None
        self.loop = system.loop
        #: The thread of the loop.
        self.thread = system.thread_id
        #: Asks to everybody that wait for answers, by envelope id.
        self.gathers: dict[bytes, Gather[Any]] = {}
        #: Answers that came after their ask had ended.
        self.late = 0

    @property
    def on_loop(self) -> bool:
        """Whether the caller is on the thread of the node's loop, and that runs."""
        return threading.get_ident() == self.thread and self.loop.is_running()

    def forked(self, gone: Any) -> None:
        """This is a forked child: `gone`, which raises, stands for what the parent has."""
        self.thread = -1
        self.loop = self.mailbox = self.addresses = self.directory = gone

    def loop_closed(self) -> NodeStopped:
        """Return the error of what is sent through a node whose loop has been closed."""
        return NodeStopped(self.stopped or self.packer.node_id)

    # What the sender is -------------------------------------------------------

    def headers(self) -> dict[str, object]:
        """Return new headers that name the actor whose code calls, if one does.

        Raises `NodeStopped`.
        """
        if self.stopped is not None:
            raise NodeStopped(self.stopped)
        slot, given = current_slot.get(), CARRIED.get()
        if slot is None:
            return {} if given is None else dict(given)
        headers: dict[str, object] = {"s": peer_name(self.packer.node_id, slot.urn)}
        if slot.actor is not None:
            if (trace := slot.message_header("tp")) is not None:
                headers["tp"] = trace
            # A task of an earlier message works for that, and not for the one in hand.
            if slot.message_header(FLOWS) is not None and slot.asking_chain():
                go_on(headers, slot.actor.context.headers)
        if given is not None:
            add(headers, given)
        return headers

    def asking(self, target: str, message: object, timeout: float | None) -> Asking:
        """Return what an ask of `target` carries.

        Raises `AskCycle` when `target` already waits for the asker, and
        `AskTimeout` when the deadline of the message in hand is over, and `NodeStopped`.
        """
        headers = self.headers()
        timeout = self.ask_timeout if timeout is None else check_seconds("timeout", timeout)
        slot = current_slot.get()
        if slot is None:
            return headers, timeout
        chain = slot.asking_chain()
        actor = slot.actor
        if chain and actor is not None:
            own = actor.__asked_as__ or getattr(actor, "address", None)
            if own:
                chain = (*chain, own)
            if target in chain:
                raise AskCycle(target, chain)
            deadline = actor.context.deadline
            if deadline is not None:
                left = deadline - self.clock.monotonic()
                if left <= 0:
                    raise AskTimeout(
                        target, type(message).__name__, 0.0, "the asker's own deadline is over"
                    )
                timeout = min(timeout, left)
            headers["a"] = list(chain)
        return headers, timeout

    def pack_ask(
        self,
        target: str,
        message: object,
        headers: dict[str, object],
        *,
        kind: Kind = Kind.ASK,
        codec: str | None = None,
        verb: Verb = "request",
        cluster: str = "",
    ) -> tuple[bytes, bytes, str, Sending | None]:
        """Pack what waits for an answer; returns (id, bytes, type name, its span if traced).

        Raises as `Packer.new`.
        """
        sending = None
        if self.tracing is not None:
            sending = self.tracing.ask(headers, target, message)
        if sending is None:
            return (*self.packer.new(kind, message, headers, codec, verb, cluster or target), None)
        with packing(sending):
            packed = self.packer.new(kind, message, headers, codec, verb, cluster or target)
            return (*packed, sending)

    # Storing ------------------------------------------------------------------

    def set_times(self, headers: dict[str, object], delay: float, expires: float | None) -> None:
        """Say when a message is due, and when of no use any more: seconds from now."""
        if delay != 0.0:
            headers["t"] = int((self.clock.time() + check_seconds("delay", delay)) * 1000)
        if expires is not None:
            headers["x"] = int((self.clock.time() + check_seconds("expires", expires)) * 1000)

    def headers_to_store(
        self, key: str = "", delay: float = 0.0, expires: float | None = None
    ) -> dict[str, object]:
        """As `headers`, for a stored message of that key and those times; see `store`."""
        headers = self.headers()
        if key:
            headers[ENTITY] = key
        if delay != 0.0 or expires is not None:
            self.set_times(headers, delay, expires)
        return headers

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
        """Encode `message` and store it in `topic`; see `ServiceRef.tell`.

        `channel`: whose consumers it is meant for, also those that never ran yet. `key`: of
        the entity, where `address` is that of its shard.
        """
        headers = self.headers_to_store(key, delay, expires)
        sending = None
        if self.tracing is not None:
            sending = self.tracing.tell(headers, address, message, system="nsq")
        if sending is None:
            envelope_id, data, _ = self.packer.new(kind, message, headers, codec, "store", topic)
            return self.store_bytes(address, topic, envelope_id, data, delay, channel)
        with packing(sending):
            envelope_id, data, _ = self.packer.new(kind, message, headers, codec, "store", topic)
            receipt = self.store_bytes(address, topic, envelope_id, data, delay, channel)
        receipt.when_known(sending.end)
        return receipt

    def store_once(
        self,
        address: str,
        topic: str,
        message: object,
        name: str,
        within: float,
        *,
        delay: float,
        expires: float | None,
        codec: str | None,
        channel: str,
    ) -> TellReceipt:
        """As `store`, under the id that `name` is at this address; see `ServiceRef.tell`."""
        headers = self.headers_to_store("", delay, expires)
        repeats = int(check_seconds("within", within) + delay)
        if repeats > REPEATS_LONG:
            raise ValueError(
                f"within={within:g}: ids are kept for {REPEATS_LONG} s at most, the delay included"
            )
        headers[REPEATS] = repeats
        sending = None
        if self.tracing is not None:
            sending = self.tracing.tell(headers, address, message, system="nsq")
        envelope_id = named_id(address, name)
        with nullcontext() if sending is None else packing(sending):
            data = self.packer.named(envelope_id, _TELL, message, headers, codec, topic)
            receipt = self.store_bytes(address, topic, envelope_id, data, delay, channel)
        if sending is not None:
            receipt.when_known(sending.end)
        return receipt

    def store_event(
        self,
        topic: str,
        event: object,
        *,
        delay: float = 0.0,
        codec: str | None = None,
        foreign: Form | None = None,
    ) -> TellReceipt:
        """Store an event for every channel of `topic`; see `Node.publish`."""
        stored_in = mailbox_topic(topic)
        if foreign is None:
            return self.store(topic, stored_in, Kind.EVENT, event, delay=delay, codec=codec)
        return self.store_foreign(topic, stored_in, event, foreign, delay)

    def store_foreign(  # noqa: PLR0917  # as `store_bytes`
        self,
        address: str,
        topic: str,
        message: object,
        form: Form,
        delay: float,
        channel: str = "",
    ) -> TellReceipt:
        """Store `message` without an envelope. Raises `EncodeError`, `ValueError`.

        Bare bytes cannot say when they are due, so what the broker cannot defer at
        once is refused here.
        """
        data = foreign_bytes(message, form)
        self.check_foreign_delay(delay)
        return self.store_bytes(address, topic, new_id(), data, delay, channel)

    def check_foreign_delay(self, delay: float) -> None:
        """Raise `ValueError` for a delay that a message without an envelope cannot have."""
        longest = self.mailbox.max_delay
        if check_seconds("delay", delay) > longest:
            raise ValueError(
                f"delay={delay:g}: the broker defers at most {longest:g} s, and a foreign "
                f"message carries no due time with which it could be deferred again"
            )

    def staged_together(  # noqa: PLR0917  # given on as they came
        self,
        address: str,  # noqa: ARG002  # of an outbound that stages
        topic: str,  # noqa: ARG002  # as above
        messages: list[object],  # noqa: ARG002  # as above
        codec: str | None,  # noqa: ARG002  # as above
        form: Form | None,  # noqa: ARG002  # as above
        key: str,  # noqa: ARG002  # as above
        within: Within | None,  # noqa: ARG002  # as above
    ) -> list[TellReceipt] | None:
        """The receipts of messages that were kept for a commit; None: nothing is kept here."""
        return None

    def store_bytes(  # noqa: PLR0917  # called for every message: keywords cost
        self,
        address: str,
        topic: str,
        envelope_id: bytes,
        data: bytes,
        delay: float,
        channel: str,
    ) -> TellReceipt:
        """Store bytes as they are under the label `envelope_id`."""
        key = ""
        if self.events.active:
            key = envelope_id.hex()
            self.events.emit("tell.encoded", id=key, address=address, size=len(data))
        if self.stopped is not None:
            raise NodeStopped(self.stopped)
        if delay:
            delay = min(delay, self.mailbox.max_delay)
        if threading.get_ident() == self.thread and self.loop.is_running():
            confirmed = self.mailbox.publish(
                topic, data, delay=delay, timeout=self.publish_timeout, key=key, channel=channel
            )
            return TellReceipt(envelope_id, confirmed, self)
        if len(data) > self.mailbox.max_body:
            raise MessageTooLarge(len(data), self.mailbox.max_body, limit_of="the broker")
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        if not self.call(self._publish_for, done, topic, data, delay, key, channel):
            raise self.loop_closed()
        return TellReceipt(envelope_id, done, self)

    def _publish_for(  # noqa: PLR0917  # as `store_bytes`
        self,
        done: concurrent.futures.Future[None],
        topic: str,
        data: bytes,
        delay: float,
        key: str,
        channel: str,
    ) -> None:
        try:
            confirmed = self.mailbox.publish(
                topic, data, delay=delay, timeout=self.publish_timeout, key=key, channel=channel
            )
        except Exception as error:  # it is told through the receipt: the thread has gone on
            done.set_exception(error)
            return
        confirmed.add_done_callback(copy_to(done))

    def topic_of(self, address: str) -> str:
        """Return the topic in which `address` keeps its mailbox."""
        return mailbox_topic(address)

    # What came of it ----------------------------------------------------------

    def result(
        self,
        id: bytes,  # noqa: A002  # the field's name on the wire
        timeout: float | None,
        receipt: TellReceipt | None = None,
    ) -> Future[Any]:
        """Wait for the result of a stored message; see `TellReceipt.result`."""
        if self.stopped is not None:
            raise NodeStopped(self.stopped)
        seconds = self.ask_timeout if timeout is None else check_seconds("timeout", timeout)
        if self.results is None:
            remedy = "give it that of the node where the message is handled: Node(store=...)"
            raise ConfigError("store", "this node has none, and results are kept in one", remedy)
        future = self.results(id, seconds)
        if receipt is not None:
            self.call(receipt.when_known, partial(_failed_before, future))
        return future

    # Sending to who is alive --------------------------------------------------

    def broadcast(self, cluster: str, data: bytes) -> None:
        """Send to every member now. Raises `ConnectionLost`, `MessageTooLarge`."""
        if (error := self.too_large(data)) is not None:
            raise error
        self.system.run_on_loop(self.addresses.broadcast, cluster, data)

    def too_large(self, data: bytes) -> MessageTooLarge | None:
        """The error of what the relay does not carry; None: it does."""
        limit = self.addresses.max_body
        if len(data) <= limit:
            return None
        return MessageTooLarge(len(data), limit, limit_of="the relay")

    def publish_live(
        self, topic: str, message: object, codec: str | None, foreign: Form | None = None
    ) -> None:
        """Send an event to who listens now. Raises as `broadcast`."""
        headers = self.headers()
        if self.tracing is None:
            self._publish(topic, message, headers, codec, foreign)
        else:
            with spanning(self.tracing.tell(headers, topic, message, system="iris")):
                self._publish(topic, message, headers, codec, foreign)

    def _publish(
        self,
        topic: str,
        message: object,
        headers: dict[str, object],
        codec: str | None,
        foreign: Form | None,
    ) -> None:
        if foreign is None:
            _, data, _ = self.packer.new(_EVENT, message, headers, codec, "publish", topic)
        else:
            data = foreign_bytes(message, foreign)
        if (error := self.too_large(data)) is not None:
            raise error
        self.system.run_on_loop(self.addresses.publish, topic, data)


def _failed_before(future: Future[Any], error: BaseException | None) -> None:
    """A tell that failed has no result."""
    if error is not None and not future.done():
        future.set_exception((type(error), error, error.__traceback__))
