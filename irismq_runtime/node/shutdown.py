"""The orderly end of a node, in phases, each bounded in time.

    1  say goodbye, and why   others stop choosing this node
    2  leave and stop taking  clusters left, RDY 0; running handlers finish within
                              the drain time while their leases are kept; what
                              waits is requeued at once; FINs are flushed
    3  stop the tree          in reverse order; what `on_stop` tells still goes out
    4  close the store        what has returned is committed, and published
    5  flush and close        the outbox, then the connections
    6  stop our servers       those that run in this process, if any

A phase that fails or takes too long is reported and the next one begins: the end
is always reached.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from irismq_runtime.node.assembly import Parts
    from irismq_runtime.node.own_servers.servers import Servers

__all__ = ["shut_down"]

_LOG = logging.getLogger("irismq.node")

#: What a phase may take beyond the time it was given itself.
GRACE = 2.0
#: For phases that only say something.
SHORT = 1.0


async def shut_down(parts: Parts, servers: Servers, *, drain: float, why: str = "") -> None:
    """Carry the phases out. `drain` seconds for handlers, and as many for the tree.

    `why`: what the others are told of an end that nobody asked for.
    """
    began = parts.system.clock.monotonic()
    await _phase("saying goodbye", parts.presence.stop(why), SHORT)
    await _phase("draining", parts.binder.close(drain), drain + GRACE)
    if parts.membership is not None:
        await _phase("leaving the private cluster", parts.membership.leave(SHORT), SHORT + GRACE)
    await _phase("stopping the tree", parts.system.shutdown(drain), drain + GRACE)
    if parts.durable is not None:
        await _phase("committing and closing the store", parts.durable.close(), drain + GRACE)
    parts.death_watch.close()
    parts.outbound.stopped = parts.config.name
    await _phase("flushing the outbox", parts.mailbox.close(drain), drain + GRACE)
    await _phase("closing the relay connections", parts.addresses.close(SHORT), SHORT + GRACE)
    for gather in tuple(parts.outbound.gathers.values()):
        gather.cut()
    await _phase("stopping the embedded servers", servers.stop(), SHORT + GRACE)
    parts.meter.stop()
    parts.dispatch.log.close()
    if parts.dispatch.events.active:
        seconds = parts.system.clock.monotonic() - began
        parts.dispatch.events.emit("node.stopped", node=parts.node_id, seconds=seconds)


async def _phase(what: str, work: Awaitable[None], limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            await work
    except TimeoutError:
        _LOG.error("Shutdown: %s took more than %g s; going on without it", what, limit)
    except Exception:  # the end is always reached; the error is on the record
        _LOG.exception("Shutdown: %s failed; going on", what)
