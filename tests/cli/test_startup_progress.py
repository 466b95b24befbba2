"""When `irismq run` need not wait for its servers: the decision."""

from __future__ import annotations

import pytest

from irismq_runtime.cli.probes import Target
from irismq_runtime.cli.server_identification import ServerIdentity, ServerKind
from irismq_runtime.cli.startup_progress import unfillable_roles
from irismq_runtime.config import Endpoint

ONE = Target(ServerKind.NSQD, Endpoint("a", 1))
TWO = Target(ServerKind.NSQD, Endpoint("b", 2))
RELAY = Target(ServerKind.IRIS, Endpoint("c", 3))


def found(
    one: ServerKind, two: ServerKind, relay: ServerKind
) -> list[tuple[Target, ServerIdentity]]:
    return [(ONE, ServerIdentity(one)), (TWO, ServerIdentity(two)), (RELAY, ServerIdentity(relay))]


@pytest.mark.parametrize(
    ("kinds", "wrong"),
    [
        ((ServerKind.NSQD, ServerKind.NSQD, ServerKind.IRIS), []),
        ((ServerKind.NOTHING, ServerKind.NOTHING, ServerKind.NOTHING), []),
        (
            (ServerKind.SILENT, ServerKind.NSQD_HTTP, ServerKind.SILENT),
            [],
        ),  # a: its port is open, it boots
        ((ServerKind.NSQD_HTTP, ServerKind.NSQD, ServerKind.IRIS), []),  # one broker will do
        ((ServerKind.NSQD_HTTP, ServerKind.NOTHING, ServerKind.IRIS), []),
        ((ServerKind.NSQD_HTTP, ServerKind.IRIS, ServerKind.IRIS), ["a:1", "b:2"]),
        ((ServerKind.NSQD, ServerKind.NSQD, ServerKind.NSQD), ["c:3"]),
        ((ServerKind.NOTHING, ServerKind.NOTHING, ServerKind.HTTP), ["c:3"]),
        ((ServerKind.OTHER, ServerKind.HTTP, ServerKind.NATS), ["a:1", "b:2", "c:3"]),
    ],
)
def test_waiting_is_in_vain_where_every_address_of_a_role_has_another_server(kinds, wrong):
    said = unfillable_roles(found(*kinds))
    assert [finding.about for finding in said] == wrong
