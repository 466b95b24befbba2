"""Checks what NATS permits a relay: its login, and the rights to what every relay says.

Connects as a relay does, subscribes to what it would, and publishes to itself and,
empty messages that nobody counts, to the clusters that it is given. NATS answers a
thing that is forbidden before it answers the ping that follows. Nothing is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.embedded.relay.nats.connect import NatsConnector, error_text, errors
from irismq_runtime.embedded.relay.nats.frames import broadcasts_message, requests_message
from irismq_runtime.embedded.relay.nats.subjects import GROUP, RELAY_ID_BYTES, Subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from irismq_runtime.embedded.relay.nats.connect import Client
    from irismq_runtime.embedded.relay.nats.context import NatsSetup

__all__ = ["check_permissions"]

#: What is forbidden and named one by one; the rest is counted.
_NAMED: Final = 3


class _Objections:
    """Gathers what the server objects to (`connect.ConnectionEvents`)."""

    def __init__(self) -> None:
        self.objections: dict[str, None] = {}

    async def on_error(self, error: Exception) -> None:
        self.objections[error_text(error)] = None

    async def on_disconnected(self) -> None:
        """Nothing: a lost connection is no objection."""

    on_reconnected = on_closed = on_disconnected


async def check_permissions(setup: NatsSetup, clusters: Iterable[str]) -> str:
    """Return what the server forbids a relay with members in `clusters`; "" for nothing.

    Raises `ConfigError` when it refuses the login, `NotConnected` when it does not answer.
    """
    found = _Objections()
    connector = NatsConnector(setup, events=found)
    client = await connector.dial()
    try:
        await _ask(client, setup, clusters)
    except (errors.Error, OSError) as error:
        found.objections.setdefault(error_text(error))
    finally:
        await connector.discard(client)
    said = list(found.objections)
    more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return "; ".join(said[:_NAMED]) + more


async def _ask(client: Client, setup: NatsSetup, clusters: Iterable[str]) -> None:
    relay_id = setup.rng.getrandbits(8 * RELAY_ID_BYTES).to_bytes(RELAY_ID_BYTES, "big")
    subjects = Subjects(setup.net, relay_id)
    nothing = requests_message(0, (), ())
    for heard, said in (
        (subjects.all_answers, subjects.batch(0, 0)),
        (subjects.all_tunnel_ends, ""),
    ):
        await client.subscribe(heard)
        await client.publish(said or subjects.tunnel_end(0), nothing)
    for cluster in clusters:
        await client.subscribe(subjects.requests(cluster), queue=GROUP)
        await client.publish(subjects.requests(cluster), nothing)
        await client.subscribe(subjects.broadcasts(cluster))
        await client.publish(subjects.broadcasts(cluster), broadcasts_message(relay_id, ()))
    # nats-py writes a ping past what waits to be written: the second comes after it all.
    await client.flush()
    await client.flush()
