"""`Actor`: private state, one message at a time, on the event loop.

It is a `pykka.Actor`: Pykka's three methods for new kinds of actor are filled,
and its hooks are called where Pykka calls them. Handlers are `async def`, or
`def` when they are quick; while one awaits, other actors run, and this one
takes no other message. A handler that blocks, blocks the loop: use
`ThreadActor` for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka

from actors._facilities import Facilities
from actors.type_variables import M_contra

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Actor"]

if TYPE_CHECKING:
    # A checker holds every override against every base. Pykka declares its hooks plain
    # and without arguments, and ours may be async and take a reason: to a checker the
    # class stands alone, with the same names.
    _PykkaActor: TypeAlias = object
else:
    _PykkaActor = pykka.Actor


class Actor(Facilities[M_contra], _PykkaActor):
    """Base class of actors that run on the loop. Subclass it, then `start()`.

        class Counter(Actor):
            def __init__(self) -> None:
                super().__init__()
                self.total = 0

            @receives(Add)
            async def add(self, message: Add) -> int:
                self.total += message.amount
                return self.total

    Handlers and hooks run on the loop, one at a time, and are `async def`, or plain
    `def` when they are quick. An exception that leaves a handler ends the
    incarnation. `Facilities` has what every actor may call and set.
    """

    def on_start(self) -> Any:
        """Called before the first message; may be async. An error fails the start."""

    def after_start(self) -> Any:
        """Called after the start is reported and before the first message; may be async.

        The place for slow warm-up: the actors that start after this one do not
        wait for it. An error here is a crash.
        """

    def on_stop(self, *args: Any, **kwargs: Any) -> Any:
        """Called as `on_stop(reason)` before an orderly end; may be async.

        Not called after a crash (`on_failure` is) nor when killed: do not depend on it for
        safety. A class may leave the argument out.

        Args:
            args: The reason, "normal" or "shutdown".
            kwargs: Nothing; so that a class may declare what it likes.
        """

    def on_failure(self, *args: Any, **kwargs: Any) -> Any:
        """Called as `on_failure(type, value, traceback)` after a crash; may be async.

        Args:
            args: The class of the exception, the exception, and its traceback.
            kwargs: Nothing; so that a class may declare what it likes.
        """

    def on_receive(self, message: Any) -> Any:
        """Take a message that no `@receives` method takes; may be async.

        Args:
            message: The message.

        Returns:
            The answer of an ask. Unless a class says otherwise it is unhandled.
        """
        return self.unhandled(message)


for _hook in (Actor.on_start, Actor.after_start, Actor.on_stop, Actor.on_failure):
    _hook.__unfilled__ = True  # type: ignore[attr-defined]  # read by actors.hooks
