"""Where a server is: host and port, read from text. Knows no socket.

IPv6 hosts stand in brackets (`[::1]:4150`), so that the last colon is not
guessed at. A port that was left out is the one that NSQ's documentation names.
"""

from __future__ import annotations

from typing import NamedTuple

from irismq_runtime.errors import ConfigError

__all__ = ["NSQD_PORT", "NSQLOOKUPD_HTTP_PORT", "Endpoint", "parse_endpoint"]

NSQD_PORT = 4150
NSQLOOKUPD_HTTP_PORT = 4161


class Endpoint(NamedTuple):
    """One server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str, *, option: str, default_port: int) -> Endpoint:
    """Read "host", "host:port" or "[v6]:port"; raises `ConfigError` naming `option`."""
    rest = text.strip()
    for scheme in ("http://", "tcp://"):
        rest = rest.removeprefix(scheme)
    rest = rest.rstrip("/")
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        port_text = tail.removeprefix(":")
        if not bracket or (tail and not tail.startswith(":")):
            raise _bad(option, text)
    elif rest.count(":") > 1:
        host, port_text = rest, ""
    else:
        host, _, port_text = rest.partition(":")
    if not host or any(letter.isspace() or letter == "/" for letter in host):
        raise _bad(option, text)
    if not port_text:
        return Endpoint(host, default_port)
    if not (port_text.isascii() and port_text.isdigit()) or not 0 < int(port_text) < 65536:
        raise _bad(option, text)
    return Endpoint(host, int(port_text))


def _bad(option: str, text: str) -> ConfigError:
    return ConfigError(option, f"{text!r} is not an address", 'write "host:port" or "[::1]:port"')
