"""Slows a mailbox down while its messages fail: a step per burst, never silent for long.

Level 0 is full speed. After `after` failures with no success between them the
level rises by one: the mailbox pauses for a jittered `base * 2**(level-1)` (at
most `cap`), then takes one message at a time. A failure of a message that was
already in flight when the level rose says nothing new and does not raise it
again: fifty messages that fail together are one step. One success ends it all.

No trial message is special and no connection owns it: while the level is above
0 any next message is the trial, so a trial that is given back or lost with its
connection is followed by another, and no lost trial can silence the mailbox. A single
failing message among good ones slows nobody: it is requeued with its own delay. Pure:
times and randomness are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.delays import exponential_delay

if TYPE_CHECKING:
    import random

__all__ = ["FailureBackoff"]


class FailureBackoff:
    """The policy of one consumer."""

    __slots__ = ("_after", "_base", "_cap", "_raised_at", "_rng", "_row", "level", "until")

    def __init__(self, rng: random.Random, *, after: int, base: float, cap: float) -> None:
        self.level = 0
        #: No message is asked for before this time; meaningful when `level` > 0.
        self.until = 0.0
        self._rng = rng
        self._after = after
        self._base = base
        self._cap = cap
        self._row = 0
        self._raised_at = float("-inf")

    @property
    def calm(self) -> bool:
        """Nothing failed since the last success: a success changes nothing."""
        return self._row == 0 and self.level == 0

    def failed(self, received_at: float, now: float) -> bool:
        """A message failed that came at `received_at`; True when the level rose."""
        if self.level > 0 and received_at <= self._raised_at:
            return False
        self._row += 1
        if self.level == 0 and self._row < self._after:
            return False
        self.level += 1
        self._raised_at = now
        self.until = now + exponential_delay(
            self.level - 1, self._base, self._cap, self._rng.random()
        )
        return True

    def succeeded(self) -> bool:
        """A message was finished; True when this ended a slow-down."""
        self._row = 0
        if self.level == 0:
            return False
        self.level = 0
        return True

    def limit(self, window: int, now: float) -> int:
        """How many messages of `window` may be in flight now."""
        if self.level == 0:
            return window
        return 0 if now < self.until else min(1, window)
