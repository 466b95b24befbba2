"""What can go wrong between actors, as types.

Every error builds its own text from the fields it carries, says whose fault it
is, and tells the reader what to do where there is something to do. Those that
Pykka has a name for are subclasses of Pykka's, so that code written for Pykka
catches them. `Retry`, `Reject`, `Refused` and `Ignore` are raised by actors on
purpose: they are answers, not crashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pykka

from actors.rules import check_seconds
from actors.texts import line_of

if TYPE_CHECKING:
    from actors.exits import Exit

__all__ = [
    "ActorClassError",
    "ActorCrashed",
    "ActorDeadError",
    "ActorError",
    "AlreadyRegistered",
    "AskCancelled",
    "AskCycle",
    "AskTimeout",
    "BlockingCall",
    "ForkedProcess",
    "HandlerTableError",
    "HandlerTimeout",
    "Ignore",
    "MailboxFull",
    "Overloaded",
    "Refused",
    "Reject",
    "Restarting",
    "Retry",
    "StartFailed",
    "StashFull",
    "ThreadAbandoned",
    "Unhandled",
]


class ActorError(Exception):
    """Base of the errors that the runtime itself raises."""


class ActorDeadError(ActorError, pykka.ActorDeadError):
    """The actor has ended, and its slot with it: nobody will handle this.

    `target` names the actor, `exit` says how it ended (None when that is not
    known here). Sending again does not help; start another actor.
    """

    def __init__(self, target: object, exit: Exit | None = None) -> None:  # noqa: A002  # OTP's word
        self.target = str(target)
        self.exit = exit
        cause = f": {exit}" if exit is not None else ""
        super().__init__(f"{self.target} is dead{cause}")


class AlreadyRegistered(ActorError):
    """Another actor of the system has the registered name, and it is one's at a time.

    `name` is the name, `holder` the actor that has it. Start one actor of the class, or
    take its `registered_name` away.
    """

    def __init__(self, name: str, holder: object) -> None:
        self.name = name
        self.holder = str(holder)
        super().__init__(
            f"{self.holder} has the registered name {name!r}: start one actor of the class, "
            "or take its registered_name away"
        )


class AskTimeout(ActorError, pykka.Timeout, TimeoutError):
    """No answer came before the deadline of the ask.

    `target` and `message_type` name what was asked, `waited` is in seconds,
    `state` says where the request was last seen. The request may still be
    handled if its handler had begun.
    """

    def __init__(self, target: object, message_type: str, waited: float, state: str) -> None:
        self.target = str(target)
        self.message_type = message_type
        self.waited = waited
        self.state = state
        super().__init__(
            f"no answer from {self.target} to {message_type} within {waited:g} s ({state})"
        )


class AskCancelled(ActorError):
    """The ask was cancelled by its own caller before an answer came."""

    def __init__(self, target: object, message_type: str) -> None:
        self.target = str(target)
        self.message_type = message_type
        super().__init__(f"the ask of {message_type} to {self.target} was cancelled by its caller")


class HandlerTimeout(ActorError, TimeoutError):
    """A handler took longer than its class allows, and was cancelled: a crash.

    `target` is the actor, `message_type` what it handled, `limit` the seconds that it had. Give it
    more (`handler_timeout`, or `@receives(..., timeout=)`), or let it do less at once.
    """

    def __init__(self, target: object, message_type: str, limit: float) -> None:
        self.target = str(target)
        self.message_type = message_type
        self.limit = limit
        super().__init__(
            f"{self.target} did not handle {message_type} within {limit:g} s (handler_timeout)"
        )


class AskCycle(ActorError):
    """An ask that could only be answered by somebody who waits for it.

    `chain` holds the actors whose asks are pending, the first asker first; the
    target is one of them. Use `tell`, or let the answer travel in a message.
    """

    def __init__(self, target: object, chain: tuple[str, ...]) -> None:
        self.target = str(target)
        self.chain = chain
        circle = " -> ".join((*chain, self.target))
        super().__init__(
            f"a circle of asks never ends: {circle}; use tell for one of them, "
            "or answer with a message later"
        )


class ActorCrashed(ActorError):
    """The actor crashed while it handled the request.

    Given to callers in place of the error itself when that error would do harm
    to them (`CancelledError`, `SystemExit`, `KeyboardInterrupt`, `StopIteration`)
    or cannot be carried to them. `exit` has the error, the message type and the restarts.
    """

    def __init__(self, target: object, exit: Exit) -> None:  # noqa: A002  # OTP's word
        self.target = str(target)
        self.exit = exit
        super().__init__(f"{self.target} crashed: {exit}")


class Refused(ActorError):
    """Raised in a handler: the request is answered with an error, no crash.

    `reason` is for a person, `code` for a program.
    """

    # A subclass whose constructor does not call this one has these.
    reason: str = ""
    code: str | None = None

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        self.reason = reason
        self.code = code
        super().__init__(reason)


class Unhandled(Refused):
    """No handler of this actor takes the message; none of its code has run.

    Another member of the same address, with newer code, may take it. `code` is
    "unhandled" unless it is said otherwise.
    """

    def __init__(self, reason: str, *, code: str | None = "unhandled") -> None:
        super().__init__(reason, code=code)


class Overloaded(ActorError):
    """There is no room for this now; nothing was done, and the same may work later.

    At the caller: the inbox, or the outbox of the node, is full. Over the network:
    the member that was asked has no room.
    """


class MailboxFull(Overloaded):
    """The inbox of `target` holds `limit` messages already.

    The message was not taken. Slow down, or give the class a larger
    `inbox_limit`.
    """

    def __init__(self, target: object, limit: int) -> None:
        self.target = str(target)
        self.limit = limit
        super().__init__(f"the inbox of {self.target} is full ({limit} messages)")


class StashFull(Overloaded):
    """The stash of `target` holds `limit` messages already."""

    def __init__(self, target: object, limit: int) -> None:
        self.target = str(target)
        self.limit = limit
        super().__init__(
            f"the stash of {self.target} is full ({limit} messages); "
            "unstash earlier, or give the class a larger `stash_limit`"
        )


class Restarting(ActorError):
    """The actor is down and will not be back before the deadline of the ask.

    `retry_after` is the number of seconds until it is started again.
    """

    def __init__(self, target: object, retry_after: float) -> None:
        self.target = str(target)
        self.retry_after = retry_after
        super().__init__(f"{self.target} is restarting; try again in {retry_after:.3g} s")


class BlockingCall(ActorError):
    """A call that would block the thread which has to do the work: `await` instead.

    Raised by `get()`, `block=True` and `close()` on a thread that runs a loop.
    """


class ThreadAbandoned(ActorError):
    """A thread that did not end in time; it may still run.

    `thread` is its name, `running` what it ran when it was abandoned.
    """

    def __init__(self, target: object, thread: str, running: str) -> None:
        self.target = str(target)
        self.thread = thread
        self.running = running
        super().__init__(f"{self.target} left its thread {thread} behind, which did not end")


class StartFailed(ActorError):
    """The constructor or `on_start` of `target` raised; see `__cause__`."""

    def __init__(self, target: object, cause: BaseException) -> None:
        self.target = str(target)
        self.cause = cause
        super().__init__(f"{self.target} did not start: {line_of(cause)}")


class ForkedProcess(ActorError):
    """A forked child used what belongs to its parent: its actors, its loop, its node.

    `what` names it. Only the parent has the loop and the connections. Give the child
    plain values and take plain values back (a pipe, a queue), or make a system or a
    node of its own there.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} belongs to the parent of this forked process and cannot be used here; "
            "pass plain values between the two, or make one of its own in the child"
        )


class ActorClassError(TypeError):
    """A class of actors with an attribute that has no meaning, or is not heard.

    Raised when the class is made, at import, or when its constructor has set what
    only the class can say.
    """


class HandlerTableError(ActorClassError):
    """A class of actors whose handlers contradict each other or the rules.

    Raised when the class is made, at import: two handlers for one type, a wrong
    signature, an `async` handler of a thread. The text names both.
    """


class Ignore(Exception):
    """Raised in the constructor or `on_start`: there is nothing to run.

    OTP's `ignore`: the start counts as done, the slot stays without an actor.
    """


class Retry(Exception):
    """Raised in a handler: deliver this message once more, no crash.

    `after` is in seconds (None: the transport's own growing delay; at once for
    a local tell). `penalty=False` says that the failure is not the consumer's.
    Raises ValueError when `after` is not a finite number of seconds from 0.
    """

    # As in Refused.
    after: float | None = None
    penalty: bool = True

    def __init__(self, after: float | None = None, *, penalty: bool = True) -> None:
        if after is not None:
            check_seconds("after", after)
        self.after = after
        self.penalty = penalty
        when = "" if after is None else f" after {after:g} s"
        super().__init__(f"to be delivered again{when}")


class Reject(Exception):
    """Raised in a handler: never deliver this message again, no crash.

    It goes to the dead letters with `reason`.
    """

    # As in Refused.
    reason: str = ""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
