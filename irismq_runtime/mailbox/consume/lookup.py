"""Discovery: which nsqds have a topic, asked of nsqlookupd in turns with jitter.

Discovery adds; it hardly ever takes away. A nsqd is left only when every
nsqlookupd has answered in full, at least one of them named producers, none
named this one, and our connection to it is down. An error, an empty list, a 404,
garbage or silence say nothing about connections that stand, and are followed by
another question soon: a restarted nsqlookupd knows nothing for a while. Of an answer,
what can be read is used: a producer that makes no sense is left out alone, and is the
fault of that answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from actors.delays import exponential_delay
from irismq_runtime.endpoints import Endpoint
from irismq_runtime.mailbox.connect.network import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from actors.clock import TimerHandle
    from irismq_runtime.mailbox.context import MailboxContext

__all__ = ["Discovery", "LookupFault", "Producers", "choose", "producers_untrusted"]

#: The first retry after a failed round, seconds; it doubles up to a quarter of the interval.
RETRY = 1.0
#: Producers taken from one answer; each is a connection for each consumer.
MAX_PRODUCERS: Final = 1000
#: Characters of a name in the DNS.
_MAX_HOST: Final = 253


class LookupFault(Exception):
    """An answer that names no producers: `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Producers(NamedTuple):
    """What an answer names, and what is wrong with the rest of it (empty: nothing)."""

    found: set[Endpoint]
    fault: str = ""


def producers_untrusted(status: int, body: bytes) -> Producers:
    """The producers in nsqlookupd's answer; raises `LookupFault` when it has no list of them."""
    if status == 404:
        return Producers(set())  # a topic that does not exist yet
    if status != 200:
        raise LookupFault(f"HTTP status {status}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise LookupFault(f"not JSON: {body[:40]!r}") from None
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        answer = answer["data"]  # before nsqlookupd 1.0
    producers = answer.get("producers") if isinstance(answer, dict) else None
    if not isinstance(producers, list):
        raise LookupFault("an answer without a list of producers")
    read = [_producer_untrusted(producer) for producer in producers[:MAX_PRODUCERS]]
    faults = [text for text in read if isinstance(text, str)]
    fault = ""
    if faults:
        fault = f"{len(faults)} of {len(producers)} producers left out, the first with {faults[0]}"
    elif len(producers) > MAX_PRODUCERS:
        fault = f"{len(producers)} producers, of which {MAX_PRODUCERS} are taken"
    return Producers({found for found in read if isinstance(found, Endpoint)}, fault)


def _producer_untrusted(producer: Any) -> Endpoint | str:
    """Where a producer is, or what is wrong with it."""
    if not isinstance(producer, dict):
        return f"{_short(producer)} in its place"
    host, port = producer.get("broadcast_address"), producer.get("tcp_port")
    if not isinstance(host, str) or not _is_host(host):
        return f"the address {_short(host)}"
    if type(port) is not int or not 0 < port < 65536:
        return f"the port {_short(port)}"
    return Endpoint(host, port)


def _is_host(host: str) -> bool:
    """Whether it can be a name or an IP address at all."""
    if not 0 < len(host) <= _MAX_HOST or not host.isprintable() or set(host) & set(" /[]@\\"):
        return False
    try:
        host.encode("idna")
    except UnicodeError:  # a label that is empty or too long
        return False
    return True


def _short(value: Any) -> str:
    """The value as ASCII text, cut."""
    return ascii(value)[:60]


def choose(
    named: Collection[Endpoint],
    known: Collection[Endpoint],
    connected: Collection[Endpoint],
    *,
    complete: bool,
) -> set[Endpoint]:
    """The nsqds to consume from: see the module."""
    if complete and named:
        return set(named) | set(connected)
    return set(named) | set(known)


class Discovery:
    """Asks for one topic, and tells its owner after each round. Loop thread only."""

    def __init__(
        self,
        context: MailboxContext,
        lookupds: Sequence[Endpoint],
        topic: str,
        *,
        connected: Callable[[], Collection[Endpoint]],
        on_found: Callable[[set[Endpoint]], None],
    ) -> None:
        #: What the last round could not find out; empty when all was well.
        self.fault = ""
        #: Whether the first round is over.
        self.asked = False
        self._context = context
        self._lookupds = lookupds
        self._path = f"/lookup?topic={quote(topic, safe='')}"
        self._connected = connected
        self._on_found = on_found
        self._known: set[Endpoint] = set()
        self._failures = 0
        self._timer: TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask for the first time."""
        self._ask()

    async def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ask(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._round())

    async def _round(self) -> None:
        answers = await asyncio.gather(*map(self._one, self._lookupds))
        faults = [answer.fault for answer in answers if answer.fault]
        named = set[Endpoint]().union(*(answer.found for answer in answers))
        self.fault = "; ".join(faults)
        self._failures = self._failures + 1 if faults else 0
        self._known = choose(named, self._known, self._connected(), complete=not faults)
        if faults:
            self._context.log.write(logging.WARNING, "lookup", "discovery: %s", self.fault)
        self._timer = self._context.clock.call_later(self._pause(empty=not named), self._ask)
        self.asked = True
        self._on_found(set(self._known))

    async def _one(self, lookupd: Endpoint) -> Producers:
        try:
            status, body = await self._context.network.get(
                lookupd, self._path, self._context.config.lookup_timeout
            )
            found, fault = producers_untrusted(status, body)
        except LookupFault as error:
            found, fault = set(), error.reason
        except OSError as error:
            found, fault = set(), explain(error)
        return Producers(found, f"nsqlookupd {lookupd}: {fault}" if fault else "")

    def _pause(self, *, empty: bool) -> float:
        """Seconds to the next round: soon after a failure, or while nobody has the topic."""
        config, chance = self._context.config, self._context.rng.random()
        spread = (1.0, 1.0 + config.lookup_jitter)
        interval = config.lookup_interval
        if self._failures:
            return exponential_delay(self._failures - 1, RETRY, interval / 4, chance, spread=spread)
        pause = min(interval, 5 * RETRY) if empty else interval
        return exponential_delay(0, pause, pause, chance, spread=spread)
