"""The options that several commands share, and the environment variables beside them.

A flag goes before its variable, the variable before the default. `IRISMQ_NSQD`
and `IRISMQ_IRIS` are not read here: they name the servers' programs for tests.
What makes a node is imported when one is made: help and completion need none.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import logging
import math
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from actors.texts import line_of
from irismq_runtime.cli.advice import START_DEV, START_NATS
from irismq_runtime.config import (
    DEFAULT_IRIS_PORT,
    DEFAULT_NSQD_HTTP_PORT,
    DEFAULT_NSQD_PORT,
    Endpoint,
    names_overlay,
    parse_endpoints,
)
from irismq_runtime.endpoints import split_addresses
from irismq_runtime.environment import keys_of, signing_of
from irismq_runtime.errors import ConfigError, NotConnected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from irismq_runtime.cli.brokers import Brokers
    from irismq_runtime.namespace import Namespace
    from irismq_runtime.node import Node
    from irismq_runtime.wire import Envelope

__all__ = [
    "CLIENT_NAME",
    "MANY",
    "MIB",
    "PORTS",
    "SECONDS",
    "Imports",
    "Iris",
    "Json",
    "Lookupd",
    "Name",
    "NamespaceName",
    "Ndjson",
    "Nsqd",
    "NsqdHttp",
    "Store",
    "Timeout",
    "a_number",
    "client_node",
    "http_endpoints",
    "http_of",
    "import_modules",
    "load_tree",
    "make_node",
    "naming_wrong_servers",
    "quiet_while_connecting",
]

Nsqd = Annotated[
    list[str],
    typer.Option(
        "--nsqd",
        envvar="IRISMQ_NSQD_ADDRESS",
        metavar="HOST:PORT",
        help="A broker's TCP address; may be repeated.",
        show_envvar=True,
    ),
]
Lookupd = Annotated[
    list[str],
    typer.Option(
        "--lookupd",
        envvar="IRISMQ_LOOKUPD_ADDRESS",
        metavar="HOST:PORT",
        help="An nsqlookupd's HTTP address; may be repeated.",
    ),
]
Iris = Annotated[
    str,
    typer.Option(
        "--iris",
        envvar="IRISMQ_IRIS_ADDRESS",
        metavar="HOST:PORT",
        help="The relay's address; or nats://HOST:PORT,..., to run a relay over NATS inside.",
    ),
]
NsqdHttp = Annotated[
    list[str],
    typer.Option(
        "--nsqd-http",
        envvar="IRISMQ_NSQD_HTTP_ADDRESS",
        metavar="HOST:PORT",
        help="A broker's HTTP address, https://HOST:PORT for TLS; may be repeated.",
    ),
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="IRISMQ_STORE",
        metavar="URL",
        help="Where durable actors keep their state, as sqlite:///shop.db.",
        show_default=False,
    ),
]
Name = Annotated[
    str,
    typer.Option("--name", envvar="IRISMQ_NODE_NAME", help="A name for this node, for people."),
]

NamespaceName = Annotated[
    str,
    typer.Option(
        "--namespace",
        envvar="IRISMQ_NAMESPACE",
        metavar="NAME",
        help="Whose names are meant, where several systems share the servers.",
        show_default=False,
    ),
]


#: How what was found is printed for programs.
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ndjson = Annotated[bool, typer.Option("--ndjson", help="Print JSON, an object a line.")]


def a_number(value: float) -> float:
    """`value` unless it is NaN, which no range leaves out. Raises `typer.BadParameter`."""
    if math.isnan(value):
        raise typer.BadParameter("nan is not a number of seconds")
    return value


#: How many seconds a command may wait for something.
SECONDS: Final[dict[str, Any]] = {"min": 0.001, "max": 1e6, "callback": a_number}
Timeout = Annotated[
    float,
    typer.Option("--timeout", help="Seconds to wait for an answer.", **SECONDS),
]
#: What a port may be; 0 is chosen freely.
PORTS: Final[dict[str, Any]] = {"min": 0, "max": 65535}
#: Processes of one command, and what each of them may hold.
MANY: Final[dict[str, Any]] = {"min": 1, "max": 1024}
MIB: Final[dict[str, Any]] = {"min": 16, "max": 1 << 24}
Imports = Annotated[
    list[str],
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Import a module first, so that its @message types are known; may be repeated.",
    ),
]

NSQD_DEFAULT = [f"127.0.0.1:{DEFAULT_NSQD_PORT}"]
NSQD_HTTP_DEFAULT = [f"127.0.0.1:{DEFAULT_NSQD_HTTP_PORT}"]
#: Where nsqd answers HTTP inside TLS, by its own default.
DEFAULT_NSQD_HTTPS_PORT: Final = 4152
_OURS: Final = ("actors", "supervisors", "irismq_runtime")
_EXAMPLE = "e.g. shop.service:Tree"
#: The node name of commands.
CLIENT_NAME = "cli"
#: What a person calls the servers that a node dials.
_SERVERS = {"nsqd": "nsqd", "iris": "the iris relay", "nats": "NATS"}
IRIS_DEFAULT = f"127.0.0.1:{DEFAULT_IRIS_PORT}"


class SecureEndpoint(Endpoint):
    """Where HTTP is inside TLS; `str()` has the scheme."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the endpoint as a URL."""
        return f"https://{Endpoint(self.host, self.port)}"


def _parse_http(nsqd_http: Iterable[str]) -> tuple[Endpoint, ...]:
    """Read where brokers answer HTTP. Raises `ConfigError`."""
    found: list[Endpoint] = []
    for part in map(str.strip, split_addresses(nsqd_http, "nsqd-http")):
        secure = part.startswith("https://")
        bare = part.removeprefix("https://").removeprefix("http://").rstrip("/")
        port = DEFAULT_NSQD_HTTPS_PORT if secure else DEFAULT_NSQD_HTTP_PORT
        (place,) = parse_endpoints(bare, option="nsqd-http", default_port=port)
        found.append(SecureEndpoint(place.host, place.port) if secure else place)
    return tuple(dict.fromkeys(found))


def http_endpoints(nsqd_http: Iterable[str]) -> list[str]:
    """The same as texts, each with its port."""
    return [str(endpoint) for endpoint in _parse_http(nsqd_http)]


def http_of(nsqd: Iterable[str], nsqd_http: Iterable[str]) -> tuple[Endpoint, ...]:
    """Return where brokers answer HTTP: as given, or at the port after each TCP port.

    Raises `ConfigError`.
    """
    if given := _parse_http(nsqd_http):
        return given
    brokers = parse_endpoints(nsqd, option="nsqd", default_port=DEFAULT_NSQD_PORT)
    beside = DEFAULT_NSQD_HTTP_PORT - DEFAULT_NSQD_PORT
    if any(broker.port + beside > 65535 for broker in brokers):
        raise ConfigError("nsqd", "there is no port after 65535", "give --nsqd-http as well")
    return tuple(Endpoint(broker.host, broker.port + beside) for broker in brokers)


def make_node(
    *,
    name: str,
    brokers: Brokers,
    iris: str,
    embedded: bool = False,
    data: Path | None = None,
    **options: Any,
) -> Node:
    """Return a node from command-line options; keys come from `IRISMQ_KEYS`.

    Raises `ConfigError`. The broker inside of `embedded` has no TLS and no AUTH.
    """
    from irismq_runtime.node import Node

    options |= {"namespace": brokers.namespace, **signing_of(os.environ)}
    if keys := keys_of(os.environ):
        options["keys"] = keys
    if embedded:
        overlay = {"iris": iris} if names_overlay(iris) else {}
        return Node.embedded(data=data, name=name, **overlay, **options)
    if mailbox_options := brokers.mailbox_options:
        options["mailbox_options"] = {**options.get("mailbox_options", {}), **mailbox_options}
    return Node(name=name, nsqd=brokers.nsqd, lookupd=brokers.lookupd, iris=iris, **options)


@contextlib.asynccontextmanager
async def client_node(brokers: Brokers, iris: str, **options: Any) -> AsyncIterator[Node]:
    """A node that serves nothing, for one command. `options`: more of `NodeConfig`.

    Raises `NotConnected` at the first refusal: nobody starts a server for it.
    """
    quiet_while_connecting(True)
    options = {"drain": 2.0, "connect_timeout": 2.5, **options}
    node = make_node(name=CLIENT_NAME, brokers=brokers, iris=iris, **options)
    for name, endpoints in node.dialled.items():
        await _reached(name, *endpoints)
    async with contextlib.AsyncExitStack() as stack:
        async with naming_wrong_servers(node.dialled):
            await stack.enter_async_context(node)
        yield node


@contextlib.asynccontextmanager
async def naming_wrong_servers(
    dialled: Mapping[str, Iterable[Endpoint]], *, start: str = START_DEV
) -> AsyncIterator[None]:
    """Let a `NotConnected` say what answers instead, and what to do.

    `dialled`: see `Node.dialled`. `start`: what to do where nothing answers, and
    `irismq dev` would do.
    """
    try:
        yield
    except NotConnected as error:
        if not error.peer:
            raise  # somebody has looked already
        from irismq_runtime.cli.probes import wrong_servers

        found = await wrong_servers(dialled, start=start)
        if not found:
            raise
        raise NotConnected("", found) from error


async def _reached(name: str, *endpoints: Endpoint) -> None:
    """Return when one of `endpoints`, servers of that name, takes a connection."""
    reason = ""
    for endpoint in endpoints:
        try:
            async with asyncio.timeout(2.5):
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        except TimeoutError:
            reason = "the connection is not answered"
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            writer.close()
            return
    remedy = START_NATS if name == "nats" else START_DEV
    peer = f"{_SERVERS[name]} at {', '.join(map(str, endpoints))}"
    raise NotConnected(peer, reason, remedy=remedy)


def quiet_while_connecting(quiet: bool) -> None:
    """Keep the transports from logging what the one line at the end will say."""
    for name in ("irismq.mailbox", "irismq_runtime.pyiris"):
        logging.getLogger(name).setLevel(logging.CRITICAL if quiet else logging.NOTSET)


def signing_anew(
    names: Namespace, change: Callable[[Envelope], Envelope] | None = None
) -> Callable[[bytes, str, str], bytes]:
    """What signs a stored message anew for a topic in a namespace, by the environment's keys.

    `change`: makes another message of it before.
    """
    from irismq_runtime.messaging import Packer
    from irismq_runtime.wire import KeyRing, Serializer

    keys = keys_of(os.environ)
    until = signing_of(os.environ).get("old_signatures_until")
    old_until = 0.0 if until is None else until.timestamp()
    ring = KeyRing.of(keys, old_until=old_until, namespace=names) if keys else None
    return partial(Packer(CLIENT_NAME, Serializer(), keys=ring).renewed, change=change)


def import_modules(names: list[str], *, option: str = "--import", remedy: str = "") -> None:
    """Import modules by name, the current folder first. Raises `ConfigError(option)`."""
    _look_here_first()
    for name in names:
        _refuse_our_name(name, option)
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(option, f"{name!r} cannot be imported: {error}", remedy) from error
        except Exception as error:  # the module is the user's, and may raise anything
            raise ConfigError(option, f"{name!r} cannot be imported: {_where(error)}") from error


def _look_here_first() -> None:
    """Have the current folder searched first, by its name: it may be left later on."""
    with contextlib.suppress(OSError):  # it was removed: nothing can be there
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)


def _refuse_our_name(name: str, option: str) -> None:
    """Raise `ConfigError` where a package of the user's has the name of one of ours."""
    package = name.partition(".")[0]
    if package not in _OURS:
        return
    ours = Path(importlib.import_module(package).__file__ or "").parent.resolve()
    for theirs in (Path(package), Path(f"{package}.py")):
        if theirs.exists() and theirs.resolve() != ours:
            raise ConfigError(
                option,
                f"{theirs.absolute()} has the name of a package of irismq, and cannot be "
                "imported beside it",
                "give it another name",
            )


def _where(error: Exception) -> str:
    """What went wrong in a user's code, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{line_of(error)} ({last.filename}, line {last.lineno})"


def _made(name: str, function: Any) -> Any:
    """What a user's function gives for the tree. Raises `ConfigError`."""
    try:
        made = function()
    except Exception as error:  # it may raise anything
        raise ConfigError("TREE", f"{name}() failed: {_where(error)}") from error
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigError("TREE", f"{name} is async", "name a plain function, or a value")
    return made


def load_tree(text: str) -> Any:
    """Return what "MODULE:NAME" names: a supervisor or actor class, or a spec.

    A module alone means its `tree`, or else `Tree`. A plain function is called for
    the value. Raises `ConfigError`.
    """
    module_name, _, attribute = text.partition(":")
    if not module_name:
        raise ConfigError("TREE", f"{text!r} names no module", "write MODULE:TREE")
    if "/" in module_name or module_name.endswith(".py"):
        raise ConfigError("TREE", f"{text!r} is a file", f"write MODULE:TREE, {_EXAMPLE}")
    remedy = f"write MODULE:TREE, {_EXAMPLE}, in the folder that it is imported from"
    import_modules([module_name], option="TREE", remedy=remedy)
    module = sys.modules[module_name]
    names = [attribute] if attribute else ["tree", "Tree"]
    for name in names:
        found = getattr(module, name, None)
        if found is not None:
            plain = callable(found) and not isinstance(found, type)
            return _made(f"{module_name}:{name}", found) if plain else found
    public = [n for n in vars(module) if not n.startswith("_")]
    raise ConfigError(
        "TREE",
        f"{module_name} has no {' or '.join(names)}",
        f"it has {', '.join(sorted(public)[:20]) or 'nothing'}",
    )
