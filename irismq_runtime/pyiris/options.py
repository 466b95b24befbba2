"""The options of a connection in one frozen value, and what a call may give it.

All options have defaults. Times are seconds. What has no meaning ends in
`ValueError`, before anything is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from actors.rules import POSITIVE_SECONDS, SECONDS, complaints, value_of
from irismq_runtime.pyiris.limits import Limits
from irismq_runtime.pyiris.reconnect import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.rules import Rule

__all__ = ["DEFAULT_PORT", "LONGEST_NAME", "Options", "check_name", "complaint", "milliseconds"]

#: Where a relay listens unless told otherwise.
DEFAULT_PORT: Final = 55555

#: Characters of the name of a cluster or topic.
LONGEST_NAME: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client or member behaves. Times are seconds.

    Raises:
        ValueError: an option has no meaning; the text names it and says what to give.
    """

    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)
    #: How long the first connect may take, retries included. A single attempt,
    #: now and later, gets as long, but no more than 3 s.
    connect_timeout: float = 3.0
    #: After a loss, how long requests that were not sent wait for the next connection.
    hold: float = 1.0
    #: A connection from which nothing came for this long is asked for a sign of life,
    #: and dropped when it gives none for as long again.
    heartbeat: float = 5.0
    #: How long a topic stays subscribed after its last listener.
    linger: float = 1.0
    #: How long after a subscribe its events are sure to arrive.
    settle: float = 0.05

    def __post_init__(self) -> None:
        for name, complaint in complaints(_RULES, self):
            raise ValueError(f"{name}={complaint}")


#: What each option may be; a test has it that none is missing.
_RULES: Final[Mapping[str, Rule]] = {
    "limits": value_of(Limits, "a Limits"),
    "backoff": value_of(Backoff, "a Backoff"),
    "connect_timeout": POSITIVE_SECONDS,
    "hold": SECONDS,
    "heartbeat": POSITIVE_SECONDS,
    "linger": SECONDS,
    "settle": SECONDS,
}


def milliseconds(timeout: float) -> int:
    """A timeout as Iris carries it: whole milliseconds, rounded up, at least 1."""
    return math.ceil(timeout * 1000 - 1e-6) or 1


def check_name(name: str) -> None:
    """Raise `ValueError` unless `name` can name a cluster or a topic."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise complaint(name, b"-", 1.0)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name!r} is not a text that UTF-8 can carry") from error


def complaint(name: str, body: bytes, timeout: float) -> ValueError:
    """Why Iris cannot carry this: one of the three is not what it has to be."""
    if not name:
        return ValueError("the name is empty; give the name of a cluster or topic")
    if len(name) > LONGEST_NAME:
        return ValueError(f"a name of {len(name):,} characters; give at most {LONGEST_NAME:,}")
    if not body:
        return ValueError("Iris cannot carry an empty message; send at least one byte")
    return ValueError(f"timeout={timeout!r} is not a span of time; give seconds, e.g. 1.0")
