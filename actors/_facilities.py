"""What an actor may use of the runtime, whichever way it runs.

These are the methods that `Actor` and `ThreadActor` share: their ref, their
context, watches, timers, stash and behaviour. They belong to the actor's own
code: call them in its handlers and hooks, not from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from actors._failure import put_aside
from actors._fixed import FIXED
from actors.errors import Refused
from actors.handlers import HandlerTable, Lookup
from actors.hooks import Hooks
from actors.timers import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._cell import Cell
    from actors.context import Context
    from actors.ref import ActorRef
    from actors.system import System

__all__ = ["Facilities"]


class Facilities:
    """The runtime as an actor sees it."""

    #: Exceptions that answer the caller of an ask and are no crash.
    refuses: ClassVar[tuple[type[BaseException], ...]] = ()
    #: Messages that the inbox holds; None: as many as the system says.
    inbox_limit: ClassVar[int | None] = None
    #: Messages that the stash holds.
    stash_limit: ClassVar[int] = 1000
    #: How often a tell whose handler crashed is given to the next incarnation.
    crash_retries: ClassVar[int] = 0
    #: The service address that a node binds this actor to.
    address: str | None = None

    __handlers__: ClassVar[Lookup]
    __hooks__: ClassVar[Hooks]
    __threaded__: ClassVar[bool] = False
    _cell: Cell

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = HandlerTable(cls, threaded=cls.__threaded__)
        cls.__handlers__ = table.lookup(cls.on_receive, FIXED)  # type: ignore[attr-defined]  # every actor class has it
        cls.__hooks__ = Hooks.of(cls)

    def __getattr__(self, name: str) -> Any:
        if name == "_cell":
            raise AttributeError(
                f"{type(self).__name__} was made by hand and has no ref; "
                f"start it with {type(self).__name__}.start()"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def actor_ref(self) -> ActorRef[Any]:
        """The ref of this actor, the same in every incarnation."""
        return self._cell.ref

    @property
    def actor_urn(self) -> str:
        """The name of this actor's slot."""
        return self._cell.urn

    @property
    def actor_inbox(self) -> Any:
        """The inbox, with the methods of Pykka's."""
        return self._cell.pykka_inbox()

    @property
    def actor_stopped(self) -> Any:
        """The event that is set when the slot has ended."""
        return self._cell.stopped_event()

    @property
    def system(self) -> System:
        """The system in which this actor lives."""
        return self._cell.system

    @property
    def context(self) -> Context:
        """Sender, deadline, attempt, headers of the message in hand."""
        return self._cell.message_context()

    def stop(self) -> None:
        """End this incarnation after the message in hand, before what waits."""
        self._cell.request_stop()

    def watch(self, ref: Any) -> None:
        """Get a `Terminated(ref, exit)` when `ref` has ended, at once if it has.

        A restart of it is not an end. The watch dies with this incarnation:
        set it in `on_start`. Watching twice gives one message.
        """
        self._cell.company().watching[ref] = None
        ref.watched_by(self._cell.ref)

    def unwatch(self, ref: Any) -> None:
        """Take `watch` back. A message that is in the inbox already stays."""
        self._cell.company().watching.pop(ref, None)
        ref.unwatched_by(self._cell.ref)

    def send_after(self, delay: float, message: Any) -> Timer:
        """Send `message` to oneself in `delay` seconds, in this incarnation."""
        return Timer(self._cell, delay, message, None)

    def send_every(self, period: float, message: Any) -> Timer:
        """Send `message` to oneself every `period` seconds, in this incarnation."""
        return Timer(self._cell, period, message, period)

    def stash(self) -> None:
        """Put the message in hand aside, with whoever waits for its answer.

        Raises `StashFull`. What is aside when the incarnation ends goes back
        to the front of the inbox.
        """
        put_aside(self._cell)

    def unstash_all(self) -> None:
        """Put what is aside before what waits, in the order it was put aside."""
        if self._cell.bystanders is not None:
            self._cell.bystanders.unstash(self._cell)

    def become(self, handler: Callable[[Any], Any] | None) -> None:
        """Give the messages that follow to `handler(message)`; None: as before.

        It takes the place of the handler table and of `on_receive` until this
        incarnation ends.
        """
        cell = self._cell
        if handler is None:
            cell.lookup = self.__handlers__
        else:
            cell.lookup = Lookup({}, lambda _, message: handler(message), FIXED)

    def unhandled(self, message: Any) -> None:
        """What happens to a message that no handler takes.

        An ask is refused with the reason; a tell is logged and becomes a dead
        letter with the reason "unhandled".
        """
        self._cell.unhandled(message)
        kind = type(message).__name__
        if self.context.kind == "ask":
            raise Refused(f"{type(self).__name__} does not handle {kind}", code="unhandled")
