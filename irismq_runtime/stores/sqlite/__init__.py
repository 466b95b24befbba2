"""The store in a SQLite file, by the standard library."""

from irismq_runtime.stores.sqlite.client import SqliteStore

__all__ = ["SqliteStore"]
