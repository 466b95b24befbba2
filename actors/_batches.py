"""Messages that are handled together: `@receives(Row, batch=500, within=0.2)`.

Each message is put aside when its turn comes, as in a stash, with whoever waits for it. When
there are as many as the batch may have, or the first has waited for so long, one item stands
at the front of the inbox in their place, and the handler gets a list of them. What it
returns settles each one:

    None, or nothing            all of them are handled, and asks are answered with None
    a list of as many values    each is answered by its own; an exception in it is what that one's
                                handler would have raised (`Retry`, `Reject`, `Refused`, any
                                other), without a crash
    it raises                   all of them, and it is a crash as ever

What has failed before is handled alone, so that one bad message does not take others down
with it again and again: a stored message, and a local one that comes once more. What is put
aside when the incarnation ends goes back to the front of the inbox, and what failed comes
again, in the order in which it came. A message goes through middleware when it is put aside,
with its own context; the handler of the batch has none around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from actors._failure import again_later, meant, settle_failed
from actors._items import INTERRUPT
from actors.context import EMPTY
from actors.delivery import InboxItem, Outcome, ScopedItem, is_charged

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._slot_view import SlotView
    from actors.clock import TimerHandle
    from actors.context import Context

__all__ = ["BatchItem", "BatchOptions", "MessageBatch", "gathering", "handle_batch"]


class BatchOptions(NamedTuple):
    """At most `size` messages, of which none waits for longer than `within` seconds."""

    size: int
    within: float


class MessageBatch(NamedTuple):
    """What is handled together, as the table of handlers sees it."""

    handler: Callable[[Any, list[Any]], Any]
    messages: list[Any]


def handle_batch(actor: Any, batch: MessageBatch) -> Any:
    """Call the handler of a batch with its messages."""
    return batch.handler(actor, batch.messages)


class _PutAside:
    """What one handler of an incarnation has put aside."""

    __slots__ = ("handler", "items", "options", "slot", "timer")

    def __init__(self, slot: SlotView, handler: Any, options: BatchOptions) -> None:
        self.slot = slot
        self.handler = handler
        self.options = options
        self.items: list[Any] = []
        self.timer: TimerHandle | None = None

    def put(self, item: Any) -> None:
        """Put one aside, and all of them in line when there are enough. The actor's thread."""
        if isinstance(item, InboxItem):
            item.stashed()
            if item.context().attempt > 1:
                self._in_line([item])
                return
        self.items.append(item)
        if len(self.items) >= self.options.size:
            self.flush()
        elif len(self.items) == 1:
            self.slot.system.call_on_loop(self._arm)

    def _arm(self) -> None:
        if self.timer is None and self.items:
            self.timer = self.slot.system.clock.call_later(self.options.within, self._due)

    def _due(self) -> None:
        self.timer = None
        self.flush()

    def flush(self) -> None:
        """Put those that are aside in line."""
        items, self.items = self.items, []
        timer, self.timer = self.timer, None
        if timer is not None:
            self.slot.system.call_on_loop(timer.cancel)
        if items:
            self._in_line(items)

    def put_back(self) -> None:
        """The incarnation is over: what is aside goes before what waits, in order."""
        items, self.items = self.items, []
        if self.timer is not None:
            self.timer.cancel()
        self.slot.inbox.extendleft(reversed(items))

    def _in_line(self, items: list[Any]) -> None:
        slot = self.slot
        slot.inbox.appendleft(BatchItem(slot, self.handler, items))
        if slot.control:
            slot.inbox.appendleft(INTERRUPT)
        if not slot.scheduled:
            slot.schedule()


def gathering(handler: Any, options: BatchOptions) -> Callable[[Any, Any], None]:
    """Return what takes each message in the place of `handler`, which takes them together."""

    def gather(actor: Any, message: Any) -> None:
        slot: SlotView = actor._slot  # noqa: SLF001  # the attribute that actors keep for their slot
        item, slot.taken = slot.current, True
        if isinstance(item, InboxItem):
            item.message = message  # middleware may hand another one on
        else:
            item = message
        batches = slot.attachments().batches
        if handler not in batches:
            batches[handler] = _PutAside(slot, handler, options)
        batches[handler].put(item)

    return gather


class BatchItem(InboxItem):
    """Some messages in the place of one."""

    __slots__ = ("_handler", "_items", "_slot", "message")

    retries = True
    tells_its_end = True

    def __init__(self, slot: SlotView, handler: Any, items: list[Any]) -> None:
        self._slot = slot
        self._handler = handler
        self._items = items
        self.message = MessageBatch(handler, [])

    @property
    def charged(self) -> bool:  # type: ignore[override]  # a batch is what its messages are
        """Whether a crash is charged to each of them."""
        return all(map(is_charged, self._items))

    def admit(self, slot: SlotView) -> bool:
        """Those that are still worth it; False when none is."""
        self._items = [item for item in self._items if _is_admitted(item, slot)]
        messages = [each.message if isinstance(each, InboxItem) else each for each in self._items]
        self.message = MessageBatch(self._handler, messages)
        return bool(messages)

    def context(self) -> Context:
        """Each has its own, and a handler of all of them has none."""
        return EMPTY

    def chain(self) -> tuple[str, ...]:
        """All who wait for one of them."""
        chains = [item.chain() for item in self._items if isinstance(item, InboxItem)]
        return tuple(dict.fromkeys(each for chain in chains for each in chain))

    def reply(self, value: Any) -> None:
        """Settle each by its own value. Raises `TypeError` when there are not as many."""
        if value is None:
            for item in self._items:
                if isinstance(item, InboxItem):
                    item.reply(None)
            return
        if not isinstance(value, list | tuple) or len(value) != len(self._items):
            raise TypeError(
                f"a handler of {len(self._items)} messages returns None, or a list of as many "
                f"values, and not {type(value).__name__}"
            )
        failed = []
        for item, each in zip(self._items, value, strict=True):
            if isinstance(each, BaseException):
                failed.append((item, self._returned(each)))
            elif isinstance(item, InboxItem):
                item.reply(each)
        self._fail_each(failed)

    def _returned(self, error: BaseException) -> Outcome:
        """What an exception among the values means: what it means to raise it."""
        try:
            raise error  # noqa: TRY301  # to learn what raising it gives
        except BaseException as raised:  # what can be raised at all: a class has a say in it
            slot = self._slot
            outcome = meant(slot, slot.actor, raised)
            # With its exit: who asks is not to raise a SystemExit of another's.
            return outcome or Outcome("crashed", error=raised, exit=slot.make_exit("crash", raised))

    def apart(self) -> list[Any]:
        """What stood in the inbox, one by one, for whoever passes it on."""
        return self._items

    def stashed(self) -> None:
        """All of them stand in the stash, and wait again."""
        for item in self._items:
            if isinstance(item, InboxItem):
                item.stashed()

    def fail(self, outcome: Outcome) -> None:
        """All of them ended so."""
        self._fail_each([(item, outcome) for item in self._items])

    def _fail_each(self, failed: list[tuple[Any, Outcome]]) -> None:
        """Those for whom somebody waits, in their order; then tells, the last one first.

        A tell that comes again is put before all that waits, so that these stand in order.
        """
        attempt, slot, tells = self._slot.system.attempt, self._slot, []
        for item, outcome in failed:
            if isinstance(item, InboxItem) and item.tells_its_end:
                attempt(slot, self._ended, item, outcome)
            else:
                tells.append((item, outcome))
        for item, outcome in reversed(tells):
            attempt(slot, self._ended, item, outcome)

    def _ended(self, item: Any, outcome: Outcome) -> None:
        slot = self._slot
        if outcome.kind != "retry" or not again_later(slot, item, outcome.retry_after):
            settle_failed(slot, item, outcome)


def _is_admitted(item: Any, slot: SlotView) -> bool:
    if not isinstance(item, InboxItem):
        return True
    if not item.admit(slot):
        return False
    if isinstance(item, ScopedItem):
        item.scope.leave()  # that of one message is not in force while others are handled
    return True
