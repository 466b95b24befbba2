"""`Context`: where the current message came from, its deadline, its attempt, its headers.

An actor reads them as `self.context`. For plain local tells it is one shared,
empty value. Transports fill it for what they deliver; the only field that
changes afterwards is `lease_lost`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EMPTY", "NO_HEADERS", "Context", "Kind"]

Kind: TypeAlias = Literal["tell", "ask", "tell_all", "event"]

NO_HEADERS: Final[Mapping[str, object]] = MappingProxyType({})


class Context:
    """Where the current message came from, and how long it is worth handling.

    `id` is the envelope's (16 bytes), None for local messages. `sender` is a
    ref or None. `deadline` is on the system's monotonic clock. `attempt` counts
    deliveries that may have begun a handler, 1 on the first. `chain` names the
    actors whose asks are pending.
    `lease_lost` turns True when a broker may have given the message to somebody
    else meanwhile.
    """

    __slots__ = (
        "attempt",
        "chain",
        "deadline",
        "headers",
        "id",
        "kind",
        "lease_lost",
        "sender",
    )

    def __init__(
        self,
        *,
        kind: Kind = "tell",
        id: bytes | None = None,  # noqa: A002  # the field's name on the wire
        sender: object | None = None,
        deadline: float | None = None,
        attempt: int = 1,
        headers: Mapping[str, object] = NO_HEADERS,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.id = id
        self.sender = sender
        self.deadline = deadline
        self.attempt = attempt
        self.headers = headers
        self.chain = chain
        self.lease_lost = False

    def __repr__(self) -> str:
        name = self.id.hex() if self.id is not None else "local"
        return f"<Context {self.kind} {name} attempt {self.attempt}>"


#: The context of a plain local tell: nothing is known of it.
EMPTY: Final = Context()
