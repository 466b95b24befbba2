"""Where servers are: hosts, ports and logins, read from text. Knows no socket.

The one reader of addresses, for nodes, transports and commands alike:

    HOST  HOST:PORT  :PORT (this host)  [IPv6]:PORT  IPv6  tcp://HOST:PORT  http://HOST:PORT
    nats://[USER:PASSWORD@]HOST:PORT  nats://TOKEN@HOST:PORT  tls://...     (NATS alone)

A scheme that names the transport that is used anyway may stand before an address;
https:// may not, since nothing here speaks it and the wish must not be dropped.
A user, a password and a token are percent-encoded UTF-8, as in any URL, so that
every one can be written. Since whatever stands before an @ may be a secret, and
what a slip made of it too, no error quotes a text that has one, nor any of NATS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from irismq_runtime.errors import ConfigError

__all__ = [
    "DEFAULT_IRIS_PORT",
    "DEFAULT_LOOKUPD_HTTP_PORT",
    "DEFAULT_NATS_PORT",
    "DEFAULT_NSQD_HTTP_PORT",
    "DEFAULT_NSQD_PORT",
    "Endpoint",
    "NatsServer",
    "parse_endpoint",
    "parse_endpoints",
    "parse_nats_server",
    "split_addresses",
    "split_nats_servers",
    "texts_of",
]

DEFAULT_NSQD_PORT: Final = 4150
DEFAULT_NSQD_HTTP_PORT: Final = 4151
DEFAULT_LOOKUPD_HTTP_PORT: Final = 4161
DEFAULT_IRIS_PORT: Final = 55555
DEFAULT_NATS_PORT: Final = 4222

_SCHEME: Final = re.compile(r"(?:tcp|http)://", re.IGNORECASE)
_HOST: Final = re.compile(r"[A-Za-z0-9_.:%-]+")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_ENCODING: Final = "write / ? # , @ : % in a user, password or token as %2F %3F %23 %2C %40 %3A %25"
#: A comma between two servers, not one that an earlier login should have encoded.
_NEXT_SERVER: Final = re.compile(r",\s*")


class Endpoint(NamedTuple):
    """A host and a TCP port; `str()` gives "host:port", brackets round IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NatsServer(NamedTuple):
    """One NATS server and who we are to it; a token is a user without a password."""

    scheme: str
    endpoint: Endpoint
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"<NatsServer {self.url}>"

    @property
    def url(self) -> str:
        """The server's URL without the login."""
        return f"{self.scheme}://{self.endpoint}"


def parse_endpoint(text: str, *, option: str, default_port: int) -> Endpoint:
    """Read an address in any of the forms at the head of this file but NATS's.

    Args:
        text: The address.
        option: The name of the option that it was given as, for the error.
        default_port: The port of an address that has none.

    Raises:
        ConfigError: It has no meaning. The error quotes the text unless a login may be in it.
    """
    rest = text.strip()
    if "@" in rest:
        raise ConfigError(option, "an address has no user and no password", "write HOST:PORT")
    if scheme := _SCHEME.match(rest):
        rest = rest[scheme.end() :].removesuffix("/")
    elif "://" in rest:
        problem = f"{rest.partition('://')[0]}:// is not spoken here, in {text!r}"
        raise ConfigError(option, problem, "write HOST:PORT")
    host, port = _split(rest, option, text)
    if not _is_host(host or "127.0.0.1"):
        raise ConfigError(option, f"{text!r} is not a host name", "write HOST:PORT")
    if port is None:
        return Endpoint(host or "127.0.0.1", default_port)
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ConfigError(option, f"{port!r} is not a port", "write HOST:PORT, port 1 to 65535")
    return Endpoint(host or "127.0.0.1", int(port))


def _is_host(host: str) -> bool:
    """Whether it may be a name or an address: RFC 1035 has the lengths, which resolvers refuse."""
    parts = host.rstrip(".").split(".")
    return bool(_HOST.fullmatch(host)) and len(host) <= 254 and all(0 < len(p) < 64 for p in parts)


def _split(rest: str, option: str, text: str) -> tuple[str, str | None]:
    """Return host and port as texts; the port is None when none is given."""
    if not rest:
        raise ConfigError(option, "the address is empty", "write HOST:PORT")
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not host or not bracket or (tail and not tail.startswith(":")):
            raise ConfigError(option, f"{text!r} is not [ADDRESS]:PORT", "write [ADDRESS]:PORT")
        return host, tail[1:] if tail else None
    if rest.count(":") > 1:
        return rest, None
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def parse_endpoints(
    texts: str | Iterable[str], *, option: str, default_port: int
) -> tuple[Endpoint, ...]:
    """Read one text, or several, each of which may hold several between commas.

    Args:
        texts: One text, or several.
        option: The name of the option that they were given as, for the error.
        default_port: The port of an address that has none.

    Returns:
        The endpoints in their order, each once.

    Raises:
        ConfigError: As `parse_endpoint`; also for what is not a text.
    """
    parts = split_addresses(texts, option)
    found = (parse_endpoint(part, option=option, default_port=default_port) for part in parts)
    return tuple(dict.fromkeys(found))


def split_addresses(texts: str | Iterable[str], option: str) -> list[str]:
    """Return the addresses between the commas of `texts`. Raises `ConfigError(option)`.

    One that has a login, which no address may, stays whole, and is refused as such:
    a comma in a password would else make an address of a part of it, and show it.
    """
    given = texts_of(texts, option)
    return [part for text in given for part in ([text] if "@" in text else text.split(","))]


def texts_of(texts: object, option: str) -> list[str]:
    """Return one text, or each of several.

    Raises `ConfigError(option)` for anything else, without what may be a password.
    """
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise ConfigError(option, f"a {type(given).__name__} is not an address", "give a text")
    found = list(given)
    for each in found:
        if not isinstance(each, str):
            raise ConfigError(option, f"a {type(each).__name__} is not an address", "give a text")
    return found


def split_nats_servers(text: str) -> list[str]:
    """Return the URLs between the commas of `text`, each with its scheme.

    The first may be the only one that has it, unless another has a login: a comma
    that a password holds as it is would else make a server of the password's end.
    Raises `ConfigError`.
    """
    parts = [part.strip() for part in _NEXT_SERVER.split(text.strip()) if part.strip()]
    if any("@" in part and "://" not in part for part in parts[1:]):
        raise ConfigError(
            "nats",
            "a part behind a comma has a login and no nats:// or tls://",
            f"write nats://USER:PASSWORD@HOST:PORT for each server; {_ENCODING}",
        )
    return [part if "://" in part else f"nats://{part}" for part in parts]


def parse_nats_server(url: str) -> NatsServer:
    """Read one server's URL. Raises `ConfigError("nats")`, without any part of the text."""
    remedy = f"write nats://HOST:PORT or tls://HOST:PORT; {_ENCODING}"
    scheme, mark, rest = url.strip().partition("://")
    if not mark or scheme not in {"nats", "tls"}:
        raise ConfigError("nats", "a server's URL begins with neither nats:// nor tls://", remedy)
    login, at, where = rest.rpartition("@")
    where = where.removesuffix("/")
    if not where or where.startswith(":"):
        raise ConfigError("nats", "a server's URL names no host", remedy)
    if "://" in where:
        raise ConfigError("nats", "a server's URL has two schemes", remedy)
    try:
        endpoint = parse_endpoint(where, option="nats", default_port=DEFAULT_NATS_PORT)
    except ConfigError:  # its text quotes what may be a password
        raise ConfigError("nats", "a server's URL is not HOST:PORT", remedy) from None
    if not at:
        return NatsServer(scheme, endpoint)
    user, colon, password = login.partition(":")
    try:
        decoded = [unquote(part, errors="strict") for part in (user, password)]
    except UnicodeDecodeError:
        raise ConfigError("nats", "a login is not percent-encoded UTF-8", remedy) from None
    return NatsServer(scheme, endpoint, decoded[0], decoded[1] if colon else None)
