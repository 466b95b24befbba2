"""What a system tells of its actors: to observers, to the log, in counts.

An observer of events gets every report. The log has what nobody else would
hear of: a crash without a supervisor, a hook that failed, something abandoned.
The words are Pykka's where Pykka has some, for those who look for them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.counters import EndedCounters
from actors.texts import class_name, exc_info_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._ending import Ending
    from actors._in_hand import InHand
    from actors.ask import Ask
    from actors.events import Events
    from actors.exits import Exit

__all__ = ["Counters", "Reports"]

logger = logging.getLogger("actors")


@dataclass(slots=True)
class Counters:
    """What happened that nobody was told of otherwise. Only ever grows."""

    #: Answers that came after the caller had given up.
    late_answers: int = 0
    #: Asks whose caller had given up when their turn came: not handled. And promised
    #: answers (`reply_later`) whose deadline came first.
    expired: int = 0
    #: Messages that a full inbox refused.
    refused: int = 0


class Reports:
    """The reporting half of a system."""

    events: Events
    counters: Counters
    #: What ended slots did, and crashes, by class.
    past: dict[type, EndedCounters]

    def past_of(self, actor_class: type) -> EndedCounters:
        """The sums of one class; made on demand."""
        past = self.past.get(actor_class)
        if past is None:
            past = self.past[actor_class] = EndedCounters()
        return past

    def late_answer(self, ask: Ask[Any]) -> None:
        """An answer came after its caller had given up. Any thread."""
        self.counters.late_answers += 1
        if self.events.active:
            self.events.emit(
                "ask.late_answer", ref=ask.slot.ref, message_type=class_name(ask.message)
            )

    def report_crash(self, slot: Ending, exit_: Exit) -> None:
        """A handler crashed; its supervisor reports, else the log has it here."""
        self.past_of(slot.actor_class).crashes += 1
        if self.events.active:
            self.events.emit("actor.crashed", ref=slot.ref, exit=exit_)
        if slot.on_down is None:
            self._log_error(slot, exit_.error, f"handling {exit_.message_type}")

    def attempt(self, slot: Ending, step: Callable[..., object], *args: Any) -> None:
        """Take one step of an end that the next ones do not depend on.

        What it raises is reported: an end is never left in its middle.
        """
        try:
            step(*args)
        except BaseException as error:
            self.report_hook_failure(slot, getattr(step, "__name__", "a step of its end"), error)

    def report_hook_failure(self, slot: Ending, hook: str, error: BaseException) -> None:
        """`on_stop`, `on_failure` or a lifecycle hook raised."""
        self._log_error(slot, error, hook)

    @staticmethod
    def _log_error(slot: Ending, error: BaseException | None, doing: str) -> None:
        # What Pykka's words do not say is in the record.
        extra = {"actor_urn": slot.urn, "actor_doing": doing}
        seen = None if error is None else exc_info_of(error)
        try:
            logger.error("Unhandled exception in %s:", slot.ref, exc_info=seen, extra=extra)
        except BaseException:
            # A filter or a handler of the program's logging: it has no part in an actor's end.
            return

    def report_start_failure(self, slot: Ending, error: BaseException) -> None:
        """An actor that nobody supervises did not start."""
        self._log_error(slot, error, "on_start")

    def report_unhandled(self, slot: InHand, message: Any) -> None:
        """No handler takes the message."""
        # Its type alone: what is in a message may be nobody's business but its actor's.
        logger.warning("Unexpected message received by %s: %s", slot.ref, class_name(message))

    def report_stuck(self, slot: Ending, what: str, running: str) -> None:
        """Something that does not end was abandoned: say its name and what it ran."""
        if self.events.active:
            self.events.emit("actor.stuck", ref=slot.ref, what=what, running=running)
        logger.error("%s did not end and was abandoned: %s ran\n%s", slot.ref, what, running)
