"""Stores of durable state: in memory, in a SQLite file, in a PostgreSQL database.

Each fills `irismq_runtime.ports.state_store.StateStore`. What stands in a commit is
decided in one place for all of them (`decisions`); a store reads what the decision
needs under its locks, and writes what it says.
"""

from irismq_runtime.stores.open_store import open_store

__all__ = ["open_store"]
