"""The arguments of a `Node` that are not options of its config: checked, or read.

Whatever is given, what comes out is what the node needs, or a `ConfigError` that
names the argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actors.middleware import checked_middleware
from actors.rules import shown
from irismq_runtime.config import (
    DEFAULT_LOOKUPD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    NatsOverlay,
    NodeConfig,
    names_overlay,
    parse_endpoints,
    parse_relay,
)
from irismq_runtime.errors import ConfigError
from irismq_runtime.refs import checked_send_middleware

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import Middleware
    from irismq_runtime.ports.state_store import StateStore
    from irismq_runtime.refs import SendMiddleware

__all__ = [
    "check_parts",
    "config_of",
    "folder",
    "middleware_of",
    "refuse_servers",
    "send_middleware_of",
    "store_of",
]

#: What the node calls of each.
_METHODS: Final = {
    "clock": ("monotonic", "time", "call_later"),
    "events": ("emit", "subscribe"),
}


def check_parts(*, clock: Any, events: Any, codecs: Any, transports: Any) -> None:
    """Raise `ConfigError` for a part that is not of the kind it has to be."""
    for option, part in (("clock", clock), ("events", events)):
        missing = [name for name in _METHODS[option] if not callable(getattr(part, name, None))]
        if part is not None and missing:
            problem = f"{shown(part)} has no {missing[0]}"
            raise ConfigError(option, problem, f"give one that has {', '.join(_METHODS[option])}")
    if not isinstance(codecs, Iterable) or isinstance(codecs, str | bytes):
        raise ConfigError("codecs", f"{shown(codecs)} is not a list of codecs", "give a list")
    if not callable(transports):
        raise ConfigError("transports", f"{shown(transports)} cannot be called", "leave it out")


def middleware_of(given: Any) -> tuple[Middleware, ...]:
    """Return the middleware, in order. Raises `ConfigError`."""
    try:
        return checked_middleware(given)
    except ValueError as error:
        raise ConfigError("middleware", str(error), "give a list of async functions") from None


def send_middleware_of(given: Any) -> tuple[SendMiddleware, ...]:
    """Return the middleware of sends, in order. Raises `ConfigError`."""
    try:
        return checked_send_middleware(given)
    except ValueError as error:
        raise ConfigError("send_middleware", str(error), "give a list of functions") from None


def config_of(
    nsqd: str | Iterable[str], lookupd: str | Iterable[str], iris: str | NatsOverlay, **options: Any
) -> NodeConfig:
    """Return the config that these arguments make. Raises `ConfigError`."""
    for option in options:
        if option not in NodeConfig.__dataclass_fields__:
            raise ConfigError(option, "there is no such option", "see NodeConfig for all of them")
    return NodeConfig(
        nsqd=parse_endpoints(nsqd, option="nsqd", default_port=DEFAULT_NSQD_PORT),
        lookupd=parse_endpoints(lookupd, option="lookupd", default_port=DEFAULT_LOOKUPD_HTTP_PORT),
        **parse_relay(iris),
        **options,
    )


def refuse_servers(options: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a server that an embedded node would not use.

    It has a broker and a relay of its own; the relay may route over NATS.
    """
    for option in ("nsqd", "lookupd", "iris"):
        given = options.get(option)
        over_nats = isinstance(given, NatsOverlay) or (
            isinstance(given, str) and names_overlay(given)
        )
        if option in options and not (option == "iris" and over_nats):
            problem = "an embedded node runs its own servers"
            raise ConfigError(option, problem, "leave it out, or make a Node(...)")


def folder(data: object) -> Path | None:
    """Return the folder of an embedded broker. Raises `ConfigError`."""
    if data is None:
        return None
    if not isinstance(data, str | os.PathLike) or not os.fspath(data):
        raise ConfigError("data", f"{shown(data)} is not a folder", "give its path")
    path = os.fspath(data)
    if not isinstance(path, str) or "\0" in path:
        raise ConfigError("data", f"{shown(path)} is not the path of a folder", "give a text")
    return Path(path)


def store_of(given: Any) -> StateStore | None:
    """Return the store that the option says, not open yet. Raises `ConfigError`."""
    if not isinstance(given, str):
        store: StateStore | None = given
        return store
    from irismq_runtime.stores import open_store

    return open_store(given)
