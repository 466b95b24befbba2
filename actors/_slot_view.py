"""What the parts beside a slot know of it: protocols, and nothing that runs.

An ask, a delivery, an item of an inbox and the future of a stop are made beside a
slot, and each needs a few of its members. They are named here, so that those files
import neither the slot nor the system: both import them. `Slot`, `Attachments` and
`SystemCore` are the only implementations; nothing is looked up through these at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Callable
    from typing import TypeVar

    import pykka

    from actors.ask import Ask
    from actors.clock import Clock
    from actors.counters import Counters
    from actors.delivery import InboxItem, Outcome
    from actors.events import Events
    from actors.exits import Exit, ExitReason

    T = TypeVar("T")

__all__ = ["AttachmentsView", "SlotView", "SystemView"]


class SystemView(Protocol):
    """The system of a slot: its loop, its clock, and where it counts and reports."""

    thread_id: int
    real_time: bool
    loop: asyncio.AbstractEventLoop
    clock: Clock
    events: Events
    counters: Counters
    now: Callable[[], float]

    def call_on_loop(self, callback: Callable[..., Any], *args: Any) -> bool:
        """See `SystemCore.call_on_loop`."""
        ...

    def run_on_loop(self, callback: Callable[..., T], *args: Any) -> T:
        """See `SystemCore.run_on_loop`."""
        ...

    def late_answer(self, ref: object, message: object) -> None:
        """See `SystemCore.late_answer`."""
        ...

    def bury(
        self,
        message: Any,
        ref: Any,
        reason: str,
        exit: Exit | None = None,  # noqa: A002  # OTP's word
    ) -> None:
        """See `SystemCore.bury`."""
        ...

    def attempt(self, slot: Any, step: Callable[..., object], *args: Any) -> None:
        """See `SystemCore.attempt`."""
        ...

    def report_crash(self, slot: Any, exit_: Exit) -> None:
        """See `SystemCore.report_crash`."""
        ...

    def report_hook_failure(self, slot: Any, hook: str, error: BaseException) -> None:
        """See `SystemCore.report_hook_failure`."""
        ...


class AttachmentsView(Protocol):
    """What a class of actors with batches or a rate keeps beside its slot."""

    due: float
    batches: dict[Any, Any]


class SlotView(Protocol):
    """A slot as the messages in it see it."""

    incarnation: int
    actor: Any
    inbox: deque[Any]
    control: deque[Any] | tuple[()]
    scheduled: bool
    current: Any
    taken: bool

    @property
    def ref(self) -> pykka.ActorRef[Any]:
        """The ref of the slot."""
        ...

    @property
    def system(self) -> SystemView:
        """The system in which the slot lives."""
        ...

    @property
    def urn(self) -> str:
        """The name of the slot."""
        ...

    def asking_chain(self) -> tuple[str, ...]:
        """See `Slot.asking_chain`."""
        ...

    def message_header(self, name: str) -> object:
        """See `Slot.message_header`."""
        ...

    def where_is(self, ask: object) -> str:
        """See `Slot.where_is`."""
        ...

    def keep_promise(self, item: InboxItem) -> bool:
        """See `Slot.keep_promise`."""
        ...

    def cancel_current(self, item: InboxItem) -> bool:
        """See `Slot.cancel_current`."""
        ...

    def answer_inline(self, ask: Ask[Any]) -> None:
        """See `Slot.answer_inline`."""
        ...

    def schedule(self) -> None:
        """See `Slot.schedule`."""
        ...

    def put_later(self, item: Any, delay: float) -> None:
        """See `Slot.put_later`."""
        ...

    def make_exit(self, reason: ExitReason, error: BaseException | None = None) -> Exit:
        """See `Slot.make_exit`."""
        ...

    def attachments(self) -> AttachmentsView:
        """See `Slot.attachments`."""
        ...

    def tell_failed(self, message: Any, outcome: Outcome, attempt: int | None = 1) -> None:
        """See `Slot.tell_failed`."""
        ...

    def handler_task(self) -> asyncio.Task[Any] | None:
        """See `Slot.handler_task`."""
        ...
