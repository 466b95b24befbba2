"""`ThreadActor`: an actor on a thread of its own, whose handlers may block.

It is a `pykka.ThreadingActor`, with the slot, the mailbox and the failure rules
of `Actor`. Handlers and hooks are plain `def`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pykka

from actors._facilities import Facilities
from actors.type_variables import M_contra

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["ThreadActor"]

if TYPE_CHECKING:
    # A checker holds every override against every base. Pykka declares its hooks plain
    # and without arguments, and ours may be async and take a reason: to a checker the
    # class stands alone, with the same names.
    _PykkaActor: TypeAlias = object
else:
    _PykkaActor = pykka.ThreadingActor


class ThreadActor(Facilities[M_contra], _PykkaActor):
    """Base class of actors that run on a thread each, so that handlers may block.

    Otherwise as `Actor`: the same slot, mailbox, facilities and failure rules.
    Handlers and hooks are plain `def` and run on the actor's thread; `async def` is
    a `HandlerTableError` when the class is made. A thread that does not end in the
    time it is given is abandoned and reported (`ThreadAbandoned`).
    """

    __threaded__ = True
    #: The threads are daemons: one that hangs must not keep the process alive.
    use_daemon_thread: ClassVar[bool] = True

    def on_start(self) -> Any:
        """Called on the actor's thread before the first message."""

    def after_start(self) -> Any:
        """Called on the actor's thread after the start is reported."""

    def on_stop(self, *args: Any, **kwargs: Any) -> Any:
        """Called as `on_stop(reason)` on the actor's thread before an orderly end.

        Args:
            args: The reason, "normal" or "shutdown". A class may leave the argument out.
            kwargs: Nothing; so that a class may declare what it likes.
        """

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        """Called as `on_failure(type, value, traceback)` on the thread after a crash.

        Args:
            args: The class of the exception, the exception, and its traceback.
            kwargs: Nothing; so that a class may declare what it likes.
        """

    def on_receive(self, message: Any) -> Any:
        """Take a message that no `@receives` method takes.

        Args:
            message: The message.

        Returns:
            The answer of an ask. Unless a class says otherwise it is unhandled.
        """
        return self.unhandled(message)


for _hook in (
    ThreadActor.on_start,
    ThreadActor.after_start,
    ThreadActor.on_stop,
    ThreadActor.on_failure,
):
    _hook.__unfilled__ = True  # type: ignore[attr-defined]  # read by actors.hooks
