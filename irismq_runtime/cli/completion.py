"""Completion of addresses in a shell, from what the broker knows.

A person waits for it at every press of a key: all of it takes `LIMIT` seconds at
most, or what IRISMQ_COMPLETION_SECONDS says. Whatever goes wrong, there is nothing
to choose from then, and no word about it. nsqd is asked over HTTP, in threads that
nobody waits for longer; addresses that were never told anything are not found.
Imports nothing that is slow to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import typer  # noqa: TC002  # typer reads the annotations

from irismq_runtime.cli.options import NSQD_DEFAULT, http_of
from irismq_runtime.errors import ConfigError
from irismq_runtime.http_client import fetch_blocking
from irismq_runtime.namespace import Namespace

if TYPE_CHECKING:
    from irismq_runtime.config import Endpoint

__all__ = ["addresses", "topics"]

#: Seconds for all of it.
LIMIT: Final = 0.3
_PATH: Final = "/stats?format=json&include_clients=false&include_mem=false"
#: Bytes of an answer.
_LARGEST: Final = 64 * 1024 * 1024
#: The channel of a mailbox, which is messaging.MAILBOX_CHANNEL: a test compares them.
MAILBOX: Final = "mailbox"


def addresses(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the addresses that have a mailbox and begin as what is typed."""
    return _beginning(incomplete, _asked(ctx, lambda channels: MAILBOX in channels))


def topics(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the topics that begin as what is typed: mailboxes, dead letters and others."""
    return _beginning(incomplete, _asked(ctx, lambda _: True))


def _beginning(incomplete: str, found: set[str]) -> list[str]:
    return sorted(name for name in found if name.startswith(incomplete))


def _asked(ctx: typer.Context, wanted: Any) -> set[str]:
    """Ask every broker at the same time; what has come within the limit counts."""
    found: set[str] = set()
    limit = _limit()
    try:
        names = Namespace(ctx.params.get("namespace") or os.environ.get("IRISMQ_NAMESPACE", ""))
    except ConfigError:
        return found
    asking = [
        threading.Thread(target=_ask, args=(at, names, wanted, found, limit), daemon=True)
        for at in _brokers(ctx)
    ]
    for thread in asking:
        thread.start()
    until = time.monotonic() + limit
    for thread in asking:
        thread.join(max(0.0, until - time.monotonic()))
    return set(found)


def _limit() -> float:
    try:
        return float(os.environ["IRISMQ_COMPLETION_SECONDS"])
    except (KeyError, ValueError):
        return LIMIT


def _brokers(ctx: typer.Context) -> tuple[Endpoint, ...]:
    """Return where each broker answers HTTP; none when what is given has no meaning."""
    nsqd = _given(ctx, "nsqd", "IRISMQ_NSQD_ADDRESS") or NSQD_DEFAULT
    with contextlib.suppress(ConfigError):
        return http_of(nsqd, _given(ctx, "nsqd_http", "IRISMQ_NSQD_HTTP_ADDRESS"))
    return ()


def _given(ctx: typer.Context, name: str, variable: str) -> list[str]:
    return ctx.params.get(name) or os.environ.get(variable, "").split()


def _ask(where: Endpoint, names: Namespace, wanted: Any, found: set[str], limit: float) -> None:
    try:
        answer = fetch_blocking(f"http://{where}{_PATH}", timeout=limit, largest=_LARGEST)
        stats = json.loads(answer.body)
        for topic in stats["topics"] or ():
            name = names.inside(topic["topic_name"])
            channels = {channel["channel_name"] for channel in topic["channels"] or ()}
            if name is not None and wanted(channels):
                found.add(name)
    except Exception:  # noqa: S110  # a shell completes nothing then, and says nothing
        pass
