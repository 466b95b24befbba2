"""`self.sql()`: tables of one's own, changed in the commit of the handler.

    async with self.sql() as sql:
        await sql.execute("UPDATE stock SET count = count - 1 WHERE sku = ?", sku)

In this order: what the actor did before is committed, the transaction begins, the handler goes
on to its end, and this unit commits alone, with what was done here. All blocks of one handler
are one transaction. It holds locks of the database, so it has little time, and nobody is asked
while it lasts. An error inside a block is the error of the handler, also where that is caught.

The commit is no part of the handler: whoever cancels it then comes too late, as after any
handler that has returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard

from irismq_runtime.durability.errors import NotInUnit
from irismq_runtime.durability.unit import UnitState
from irismq_runtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType

    from irismq_runtime.durability.activation import Activation
    from irismq_runtime.durability.unit import Unit
    from irismq_runtime.ports.state_store import StoreTransaction

__all__ = ["Sql", "SqlBlock", "is_of_the_store", "return_with_rows"]

#: Seconds from the first block of a handler to the commit.
_MOST_SECONDS: Final = 5.0


class Sql:
    """Statements in the transaction of a handler.

    The statements and their parameters are those of the database: `?` in SQLite, `$1` in
    PostgreSQL. What the driver raises for one is raised here, and fails the handler.
    """

    __slots__ = ("_transaction",)

    def __init__(self, transaction: StoreTransaction) -> None:
        self._transaction = transaction

    async def execute(self, statement: str, *values: Any) -> int:
        """Run a statement.

        Args:
            statement: Its text. COMMIT, ROLLBACK and BEGIN are not for a handler.
            values: Its parameters.

        Returns:
            How many rows it changed.
        """
        return await self._transaction.execute(statement, *values)

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query.

        Args:
            statement: Its text.
            values: Its parameters.

        Returns:
            All its rows.
        """
        return await self._transaction.fetch(statement, *values)


class SqlBlock:
    """What `self.sql()` returns: entered once, in a handler."""

    __slots__ = ("_activation", "_unit")

    def __init__(self, activation: Activation, unit: Unit) -> None:
        self._activation = activation
        self._unit = unit

    async def __aenter__(self) -> Sql:
        unit = self._unit
        if unit.transaction is None:
            if not await self._activation.flushed(unit.generation):
                raise NotInUnit("self.sql(), after what the actor did before was undone,")
            unit.uses_sql = True  # from now on nothing else of this actor is committed
            unit.transaction = await self._activation.engine.store.begin(_MOST_SECONDS)
        return Sql(unit.transaction)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._unit.spoiled is None:
            self._unit.spoiled = error


async def return_with_rows(activation: Activation, unit: Unit, value: Any) -> None:
    """The handler of `unit` has returned `value`: let it be committed alone, with its rows.

    Raises:
        StoreUnavailable: The store could not be asked, and `is_of_the_store` says so.
        Exception: What was raised in a block.
        EncodeError, StateTooLarge: The state cannot be kept.
    """
    if unit.spoiled is not None:
        raise unit.spoiled
    if unit.life is UnitState.OPEN:
        await activation.engine.addressing.learn([unit])
    if unit.transaction is None:  # it could not be begun, and the handler has gone on
        activation.returned(unit, value)
    elif unit.life is UnitState.OPEN and unit.generation == activation.generation:
        activation.returned_alone(unit, value)
    else:  # it was stashed, or undone meanwhile
        transaction, unit.transaction = unit.transaction, None
        await transaction.rollback()
        activation.returned(unit, value)


def is_of_the_store(error: BaseException, unit: Unit) -> TypeGuard[StoreUnavailable]:
    """Whether the handler of `unit` failed for a fault of the store, and by no doing of its own."""
    return (
        unit.uses_sql
        and isinstance(error, StoreUnavailable)
        and error.kind not in {"ended", "late"}
    )
