"""The store in a PostgreSQL database, by asyncpg: the extra `postgres`."""

from irismq_runtime.stores.postgres.client import PostgresStore

__all__ = ["PostgresStore"]
