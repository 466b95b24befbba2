"""The mailbox of a slot: two lanes, bounded, and never silent.

User messages wait in `inbox`, control messages in the slot's `control` lane,
which goes first. The inbox outlives incarnations. It is bounded by count; the
limit of an ended slot is -1, so that the sender's one comparison finds that
too. What the runtime itself has to say (`Terminated`, a retry) is let in even
when the inbox is full, because its number is bounded elsewhere.

Senders on any thread append first and look at `scheduled` afterwards; see
ref.py for why no message is lost between an end and an append.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors._items import Internal
from actors.ask import Ask
from actors.delivery import Delivery, InboxItem, Outcome
from actors.errors import ActorDeadError, AskCycle, MailboxFull, Restarting

if TYPE_CHECKING:
    from actors.exits import Exit
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Mailbox"]


class Mailbox:
    """What a ref reaches of its slot."""

    __slots__ = (
        "_retry_at",
        "_urn",
        "actor_class",
        "current",
        "delayed",
        "down",
        "ended",
        "exit",
        "inbox",
        "incarnation",
        "limit",
        "ref",
        "scheduled",
        "serial",
        "system",
    )

    def __init__(self, system: System, actor_class: type) -> None:
        self.system = system
        self.actor_class: type[Any] = actor_class
        self.serial = system.next_serial()
        self.ref: ActorRef[Any] = system.ref_class(self)  # type: ignore[arg-type]  # the slot is the only kind of mailbox
        self.inbox: deque[Any] = deque()
        limit: int | None = getattr(actor_class, "inbox_limit", None)
        self.limit: int = system.inbox_limit if limit is None else limit
        self.scheduled = False
        self.current: Any = None
        self.down = True
        self.ended = False
        self.exit: Exit | None = None
        self.incarnation = 0
        #: Retries that wait for their time.
        self.delayed: set[Any] | None = None
        self._urn: str | None = None
        self._retry_at: float | None = None

    @property
    def urn(self) -> str:
        """The name of the slot; built when somebody asks for it."""
        if self._urn is None:
            self._urn = self.system.urn_of(self.serial)
        return self._urn

    def refuse(self, message: Any) -> None:
        """A tell found no room: raise why. Any thread."""
        if self.ended:
            self.system.dead_letters.record(message, self.ref, "dead", self.exit)
            raise ActorDeadError(self.ref, self.exit)
        self.system.counters.refused += 1
        raise MailboxFull(self.ref, self.limit)

    def put_ask(self, ask: Ask[Any]) -> None:
        """An ask that met a full, DOWN or ENDED slot. Any thread."""
        if self.ended:
            ask.give_up(ActorDeadError(self.ref, self.exit))
            return
        if len(self.inbox) >= self.limit:
            self.system.counters.refused += 1
            ask.give_up(MailboxFull(self.ref, self.limit))
            return
        retry_after = self.retry_after
        if retry_after is not None and ask.deadline < self.system.now() + retry_after:
            ask.give_up(Restarting(self.ref, retry_after))
            return
        self.inbox.append(ask)
        if not self.scheduled:
            self.schedule()

    def put(self, delivery: Delivery) -> None:
        """See `ActorRef.put`."""
        if len(self.inbox) >= self.limit:
            if self.ended:
                raise ActorDeadError(self.ref, self.exit)
            self.system.counters.refused += 1
            raise MailboxFull(self.ref, self.limit)
        self.inbox.append(delivery)
        delivery.queued(self)  # type: ignore[arg-type]  # as in __init__
        if not self.scheduled:
            self.schedule()

    def refuse_ask(self, chain: tuple[str, ...], deadline: float | None) -> None:
        """Raise why an ask with these has no answer coming, if it has none."""
        if self.ended:
            return  # `put` says so
        if chain and self.urn in chain:
            raise AskCycle(self.ref, chain)
        if self.down and deadline is not None:
            retry_after = self.retry_after
            if retry_after is not None and deadline < self.system.now() + retry_after:
                raise Restarting(self.ref, retry_after)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the supervisor starts the slot again; None: not known.

        Set while DOWN: asks whose deadline comes before fail at once.
        """
        if self._retry_at is None or not self.down:
            return None
        return max(0.0, self._retry_at - self.system.now())

    @retry_after.setter
    def retry_after(self, seconds: float | None) -> None:
        if seconds is None:
            self._retry_at = None
            return
        retry_at = self._retry_at = self.system.now() + seconds
        for item in tuple(self.inbox):
            if isinstance(item, Ask) and item.deadline < retry_at:
                item.give_up(Restarting(self.ref, seconds))

    def put_forwarded(self, item: Ask[Any] | Delivery) -> None:
        """Let in what another actor forwarded, or tell its asker why not. Any thread."""
        if self.ended:
            item.fail(Outcome("dead", exit=self.exit))
        elif len(self.inbox) >= self.limit:
            self.system.counters.refused += 1
            item.fail(Outcome("refused", error=MailboxFull(self.ref, self.limit)))
        else:
            item.moved(self)  # type: ignore[arg-type]  # as in __init__
            self.inbox.append(item)
            if not self.scheduled:
                self.schedule()

    def schedule(self) -> None:
        """See to it that the inbox is looked at. Any thread."""
        raise NotImplementedError

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None) -> None:
        """A wrapped tell was not handled to its end."""
        raise NotImplementedError

    def drain(self) -> None:
        """The slot has ended: what waits will not be handled. Any thread."""
        delayed, self.delayed = self.delayed, None
        attempt = self.system.attempt
        for item in delayed or ():
            attempt(self, self.undeliverable, item)  # type: ignore[arg-type]  # as in __init__
        inbox = self.inbox
        while True:
            try:
                item = inbox.popleft()
            except IndexError:
                return
            attempt(self, self.undeliverable, item)  # type: ignore[arg-type]  # as above

    def undeliverable(self, item: Any) -> None:
        """`item` will not be handled, because the slot has ended."""
        if isinstance(item, (Ask, Delivery)):
            item.fail(Outcome("dead", exit=self.exit))
            return
        if isinstance(item, Internal):
            return
        message = item.message if isinstance(item, InboxItem) else item
        self.system.dead_letters.record(message, self.ref, "dead", self.exit)

    def put_system(self, item: Any) -> None:
        """Let in what the runtime itself has to say, full or not. Loop thread."""
        if self.ended:
            self.undeliverable(item)
            return
        self.inbox.append(item)
        if not self.scheduled:
            self.schedule()

    def put_timed(self, item: InboxItem) -> bool:
        """Let in what a timer sends, if there is room; whether there was. Loop thread."""
        if len(self.inbox) < self.limit:
            self.put_system(item)
            return True
        reason = "dead" if self.ended else "mailbox full"
        self.system.dead_letters.record(item.message, self.ref, reason, self.exit)
        return False

    def put_later(self, item: Any, delay: float) -> None:
        """Let `item` in after `delay` seconds. Loop thread."""
        if delay <= 0.0 or self.ended:
            self.put_system(item)
            return
        if self.delayed is None:
            self.delayed = set()
        self.delayed.add(item)
        self.system.clock.call_later(delay, self._put_delayed, item)

    def _put_delayed(self, item: Any) -> None:
        if self.delayed is not None and item in self.delayed:
            self.delayed.discard(item)
            self.put_system(item)
