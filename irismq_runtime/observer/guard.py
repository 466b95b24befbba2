"""Who may read the page and who may act: pure decisions on a request's headers.

The page is for people at the machine it runs on. Three things keep others out even
when a browser is tricked into asking for them:

- the name in `Host` must be one that cannot be pointed here by a stranger's name
  server: an address, localhost, or the host it was told to listen on (DNS rebinding);
- a request that a browser made for another site's page is refused, by `Origin` and
  by `Sec-Fetch-Site` (CSRF);
- whatever changes something needs the token that was printed at the start, in a
  header of its own, which another site's page cannot set without being allowed to.
"""

from __future__ import annotations

import hmac

from irismq_runtime.observe.http_guard import ELSEWHERE, is_cross_site, is_own_name

__all__ = ["Guard"]


class Guard:
    """Judges requests. `host`: where the server was told to listen."""

    def __init__(self, token: str, host: str) -> None:
        self._token = token.encode()
        self._names = {host.lower()}

    def refusal(self, host: str, origin: str | None, fetch_site: str | None) -> str:
        """Why a request is not answered at all; "" when it is."""
        if not is_own_name(host, self._names):
            return f"this is not {host[:100]!r}: use an address, or localhost"
        if is_cross_site(host, origin, fetch_site):
            return ELSEWHERE
        return ""

    def may_act(self, token: str | None) -> bool:
        """Whether `token` is the one. Takes the same time for every wrong one."""
        return hmac.compare_digest((token or "").encode("utf-8", "replace"), self._token)
