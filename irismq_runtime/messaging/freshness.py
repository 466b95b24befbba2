"""Whether a signed message is new: not older than a window, and not heard before.

What goes to who is alive is compared with this host's clock, and its signature is
remembered for as long as it might be taken. What is stored is compared with the time at
which its broker took it, however long it waited there; the ids that a mailbox remembers
tell its copies. Both want clocks that agree within the window.
"""

from __future__ import annotations

from typing import Final

from irismq_runtime.errors import NotFresh

__all__ = ["REMEMBERED", "SignatureMemory", "check_age"]

#: Signatures that one membership remembers twice over. With more within two windows,
#: what was signed before the oldest of them is refused.
REMEMBERED: Final = 500_000


def check_age(signed: int, at: float, window: float) -> None:
    """Raise `NotFresh` unless `signed` (ms) and `at` (s since 1970) are a window apart at most."""
    age = at - signed / 1000
    if age > window:
        raise NotFresh(
            f"it was signed {age:,.0f} s before it came, and signatures are good for {window:g} s; "
            "it was recorded, or is replayed without keys, or a clock is wrong"
        )
    if -age > window:
        raise NotFresh(f"it was signed {-age:,.0f} s ahead of the time here: a clock is wrong")


class SignatureMemory:
    """The signatures that one membership has heard. `window` in seconds."""

    __slots__ = ("_floor", "_most", "_newest", "_old", "_turned", "_window", "_young")

    def __init__(self, window: float, most: int = REMEMBERED) -> None:
        self._window = window
        self._most = most
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        #: The latest times, in ms, at which what is in the two was signed; what was
        #: signed by the end of what is forgotten is refused.
        self._newest = (0, 0)
        self._floor = 0
        self._turned = 0.0

    def check(self, seal: bytes, signed: int, now: float) -> None:
        """Remember it. Raises `NotFresh` if it is old or was heard before."""
        check_age(signed, now, self._window)
        if seal in self._young or seal in self._old or signed <= self._floor:
            raise NotFresh("it came before")
        if now - self._turned > 2 * self._window or len(self._young) >= self._most:
            self._floor = self._newest[1]
            self._old, self._young = self._young, set()
            self._newest = (0, self._newest[0])
            self._turned = now
        self._young.add(seal)
        if signed > self._newest[0]:
            self._newest = (signed, self._newest[1])
