"""Which store a URL names. Only the driver that it needs is imported.

    memory:                                 in this process, gone with it
    sqlite:///relative/path  sqlite:////absolute/path
    postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?schema=NAME&...]

No error quotes a text that may hold a password.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irismq_runtime.errors import ConfigError

if TYPE_CHECKING:
    from irismq_runtime.ports.state_store import StateStore

__all__ = ["open_store"]

_REMEDY = "write sqlite:///PATH, postgresql://USER:PASSWORD@HOST/DATABASE or memory:"


def open_store(url: str) -> StateStore:
    """The store that `url` names, not connected yet: see `StateStore.open`.

    Raises:
        ConfigError: The URL has no meaning, or its driver is not installed.
    """
    scheme, colon, rest = url.strip().partition(":")
    if colon and scheme == "memory" and not rest:
        from irismq_runtime.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite":
        path = rest.removeprefix("///")
        if path == rest or not path or "\0" in path:
            raise ConfigError("store", "a URL of SQLite names no file", "write sqlite:///PATH")
        from irismq_runtime.stores.sqlite import SqliteStore

        return SqliteStore(Path(path))
    if scheme in {"postgresql", "postgres"}:
        return _postgres(url.strip())
    raise ConfigError("store", "its URL begins with no scheme that is known here", _REMEDY)


def _postgres(url: str) -> StateStore:
    try:
        from irismq_runtime.stores.postgres import PostgresStore
        from irismq_runtime.stores.postgres.url import PostgresUrl
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise ConfigError(
            "store",
            "PostgreSQL needs asyncpg, which is not installed",
            "pip install 'irismq-runtime[postgres]'",
        ) from error
    return PostgresStore(PostgresUrl.parse(url))
