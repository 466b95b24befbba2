"""How long to wait before the next try: exponential, capped, spread by chance. Pure.

The one formula of the product: restarts of children, dials of brokers and relays,
requeued messages, a mailbox that slows down, questions to nsqlookupd.

    delay(k) = min(longest, first * factor**k) * (from `spread[0]` to `spread[1]`),  k = 0, 1, ...

The chance comes after the cap, so that a crowd that has reached the cap is spread too.
Half to all of it unless something else is documented where the delay is used ("equal
jitter": never soon, and a crowd that lost the same server comes back over half of the time).
"""

from __future__ import annotations

from typing import Final

__all__ = ["EQUAL_JITTER", "exponential_delay"]

#: From half of a delay to all of it.
EQUAL_JITTER: Final = (0.5, 1.0)


def exponential_delay(
    attempt: int,
    first: float,
    longest: float,
    chance: float,
    *,
    spread: tuple[float, float] = EQUAL_JITTER,
    factor: float = 2.0,
) -> float:
    """Return the seconds to wait before a try.

    Args:
        attempt: Tries that have failed before in a row; 0 is the first delay.
        first: The delay of attempt 0, in seconds, before it is spread.
        longest: The cap in seconds, before it is spread.
        chance: A random number in [0, 1).
        spread: The shares of the delay between which it is drawn evenly.
        factor: What each attempt multiplies the delay with.
    """
    try:
        grown = first * factor**attempt
    except OverflowError:  # the power of a float; the cap was reached long before
        grown = longest if first else 0.0
    least, most = spread
    return min(longest, grown) * (least + chance * (most - least))
