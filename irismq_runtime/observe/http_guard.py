"""Whether a browser was tricked into a request: pure decisions on its headers.

Two ways lead a stranger's page to a server on this machine, and each is refused:

- the page sends the request itself (CSRF): browsers say so, by `Origin` and by
  `Sec-Fetch-Site`, which programs do not send;
- the page's own name is pointed here by its name server (DNS rebinding), so that
  browsers see one site: the name in `Host` must then be one that nobody else can
  point here: an address, localhost, or a name that the server was given.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ELSEWHERE", "host_name", "is_cross_site", "is_own_name"]

#: What is said to a page of somebody else's.
ELSEWHERE = "another site's page has no business here"


def is_own_name(host: str, names: Collection[str]) -> bool:
    """Whether the value of a `Host` header is an address, localhost, or one of `names`."""
    name = host_name(host)
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_cross_site(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a browser made the request for another site's page."""
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        return True
    return fetch_site not in {None, "same-origin", "none"}


def host_name(host: str) -> str:
    """The host of `host:port`, without brackets, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
