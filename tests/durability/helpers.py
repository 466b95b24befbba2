"""Durable actors over transports and a store in memory, and the messages they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors import Refused, message, receives
from irismq_runtime import Durable, current_node


@message("test.account-state")
@dataclass
class AccountState:
    cents: int = 0
    lines: list[str] = field(default_factory=list)


@message("test.put")
@dataclass(frozen=True)
class Put:
    cents: int


@message("test.balance")
@dataclass(frozen=True)
class Balance:
    pass


@message("test.move")
@dataclass(frozen=True)
class Move:
    to: str
    cents: int


class Account(Durable):
    """Holds cents, and moves them to other accounts."""

    state: AccountState
    overdraft = False

    def __init__(self, address: str = "test.account", handled: list[Any] | None = None) -> None:
        self.address = address
        #: Each message whose handler began.
        self.handled = handled if handled is not None else []

    @receives(Put)
    def put(self, put: Put) -> int:
        self.handled.append(put)
        self.state.cents += put.cents
        return self.state.cents

    @receives(Balance)
    def balance(self, _: Balance) -> int:
        return self.state.cents

    @receives(Move)
    async def move(self, move: Move) -> None:
        self.handled.append(move)
        if self.state.cents < move.cents and not self.overdraft:
            raise Refused("too little", code="poor")
        self.state.cents -= move.cents
        current_node().ref(move.to).tell(Put(move.cents))
