"""Which database a URL names: what goes to the driver, and what a person may see.

    postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?OPTION=VALUE&...]

    schema                 where the tables stand (irismq unless told otherwise)
    statement_cache_size   0: behind a PgBouncer that shares connections by transaction
    fsync=unchecked        a server that may lose what it confirmed is taken: for tests alone

All other options (sslmode, host, ...) are libpq's. No text that may hold a password
leaves this file but for the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from irismq_runtime.errors import ConfigError

__all__ = ["PostgresUrl"]

_REMEDY: Final = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE; write / ? # @ : % in a "
_ENCODING: Final = "user or password as %2F %3F %23 %40 %3A %25"


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A database.

    `dsn`: with the password, for the driver. `shown`: without it, and without options
    that may hold one. `checked`: whether the server must keep what it has confirmed.
    """

    dsn: str = field(repr=False)
    shown: str
    schema: str
    statement_cache_size: int
    checked: bool

    @classmethod
    def parse(cls, url: str) -> PostgresUrl:
        """Read a URL. Raises `ConfigError`, without any part of it."""
        try:
            parts = urlsplit(url)
            port = parts.port
            query = parts.query
            options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        except ValueError:
            raise ConfigError("store", "its URL is not well formed", _REMEDY + _ENCODING) from None
        schema = options.pop("schema", "irismq")
        cache = options.pop("statement_cache_size", "100")
        fsync = options.pop("fsync", "checked")
        if not cache.isdecimal() or fsync not in {"checked", "unchecked"}:
            raise ConfigError(
                "store",
                "an option of its URL has no meaning",
                "statement_cache_size is a number, fsync is unchecked or not there",
            )
        host = parts.hostname or ""
        where = f"[{host}]" if ":" in host else host
        user = f"{parts.username}@" if parts.username else ""
        shown = f"postgresql://{user}{where}{f':{port}' if port else ''}{parts.path}"
        return cls(
            dsn=urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), "")),
            shown=shown if schema == "irismq" else f"{shown}?schema={schema}",
            schema=schema,
            statement_cache_size=int(cache),
            checked=fsync == "checked",
        )
