"""When `irismq run` need not wait for its servers: the decision."""

from __future__ import annotations

import pytest

from irismq_runtime.cli.probes import Target
from irismq_runtime.cli.server_identification import Answer, Kind
from irismq_runtime.cli.startup_progress import hopeless
from irismq_runtime.config import Endpoint

ONE = Target(Kind.NSQD, Endpoint("a", 1))
TWO = Target(Kind.NSQD, Endpoint("b", 2))
RELAY = Target(Kind.IRIS, Endpoint("c", 3))


def found(one: Kind, two: Kind, relay: Kind) -> list[tuple[Target, Answer]]:
    return [(ONE, Answer(one)), (TWO, Answer(two)), (RELAY, Answer(relay))]


@pytest.mark.parametrize(
    ("kinds", "wrong"),
    [
        ((Kind.NSQD, Kind.NSQD, Kind.IRIS), []),
        ((Kind.NOTHING, Kind.NOTHING, Kind.NOTHING), []),
        ((Kind.SILENT, Kind.NSQD_HTTP, Kind.SILENT), []),  # a: its port is open, it boots
        ((Kind.NSQD_HTTP, Kind.NSQD, Kind.IRIS), []),  # one broker will do
        ((Kind.NSQD_HTTP, Kind.NOTHING, Kind.IRIS), []),
        ((Kind.NSQD_HTTP, Kind.IRIS, Kind.IRIS), ["a:1", "b:2"]),
        ((Kind.NSQD, Kind.NSQD, Kind.NSQD), ["c:3"]),
        ((Kind.NOTHING, Kind.NOTHING, Kind.HTTP), ["c:3"]),
        ((Kind.OTHER, Kind.HTTP, Kind.NATS), ["a:1", "b:2", "c:3"]),
    ],
)
def test_waiting_is_in_vain_where_every_address_of_a_role_has_another_server(kinds, wrong):
    said = hopeless(found(*kinds))
    assert [finding.about for finding in said] == wrong
