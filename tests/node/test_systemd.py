"""What systemd hears of a node, on real datagram sockets of both kinds."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from actors.testing import ManualClock
from irismq_runtime.errors import ConfigError
from irismq_runtime.node.process.systemd import ServiceManager, socket_address, watchdog_seconds
from irismq_runtime.observe import Check, Health

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = Health((Check("tree", ok=True, vital=True),))
UNREADY = Health((Check("tree", ok=True, vital=True), Check("relay", ok=False, reason="away")))
DEAD = Health((Check("tree", ok=False, reason="it gave up", vital=True),))


class Systemd:
    """The other end of the socket, and a manager whose health the test sets."""

    def __init__(self, bound: socket.socket, name: str, **environment: str) -> None:
        self.socket = bound
        self.health: Health | None = READY
        self.clock = ManualClock()
        self.manager = ServiceManager(
            lambda: self.health,
            self.clock,
            environment={"NOTIFY_SOCKET": name, **environment},
            pid=4711,
        )

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def where(request, tmp_path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.setblocking(False)
        if request.param == "path":
            name = str(tmp_path / "notify")
            bound.bind(name)
        else:
            bound.bind("")  # Linux chooses an abstract name
            name = "@" + bound.getsockname()[1:].decode()
        yield bound, name


def test_the_life_of_a_node_as_systemd_hears_it(where):
    systemd = Systemd(*where)
    with systemd.manager as manager:
        assert systemd.heard() == ["STATUS=connecting"]
        manager.say("connected")
        manager.ready()
        assert systemd.heard() == ["STATUS=connected", "READY=1", "STATUS=ready"]
        systemd.clock.advance(10.0)
        assert systemd.heard() == []  # nothing has changed
        systemd.health = UNREADY
        systemd.clock.advance(1.0)
        assert systemd.heard() == ["STATUS=not ready: relay: away"]
        systemd.health = READY
        systemd.clock.advance(1.0)
        assert systemd.heard() == ["STATUS=ready"]
        manager.stopping("SIGTERM")
        assert systemd.heard() == ["STOPPING=1", "STATUS=ending: SIGTERM"]
        systemd.clock.advance(10.0)
        assert systemd.heard() == []
    assert systemd.clock.pending == 0


def test_the_watchdog_is_fed_while_the_node_is_live_and_only_then(where):
    systemd = Systemd(*where, WATCHDOG_USEC="3000000", WATCHDOG_PID="4711")
    with systemd.manager as manager:
        systemd.clock.advance(10.0)
        assert "WATCHDOG=1" not in systemd.heard()  # systemd waits from READY=1 on
        manager.ready()
        assert systemd.heard()[-1] == "WATCHDOG=1"
        for _ in range(4):
            systemd.clock.advance(1.5)
            assert systemd.heard() == ["WATCHDOG=1"]
        systemd.health = UNREADY  # the relay is away: a restart would not help
        systemd.clock.advance(1.5)
        assert "WATCHDOG=1" in systemd.heard()
        systemd.health = DEAD
        systemd.clock.advance(15.0)
        assert "WATCHDOG=1" not in systemd.heard()
        systemd.health = READY
        systemd.clock.advance(1.5)
        assert "WATCHDOG=1" in systemd.heard()
        manager.stopping("SIGTERM")
        systemd.clock.advance(1.5)
        assert "WATCHDOG=1" in systemd.heard()  # a long drain is no hang
    assert systemd.clock.pending == 0


def test_without_the_variable_nothing_is_done():
    clock = ManualClock()
    manager = ServiceManager(lambda: READY, clock, environment={"WATCHDOG_USEC": "1000"}, pid=1)
    with manager:
        manager.say("connecting")
        manager.ready()
        manager.stopping("SIGTERM")
        assert clock.pending == 0


def fill(name: str) -> int:
    """Send until there is no room; how many fitted."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        for number in range(1_000_000):
            try:
                filler.sendto(b"X=1", socket_address(name))
            except BlockingIOError:
                return number
    raise AssertionError("it never filled")


def test_ready_is_sent_again_when_systemd_is_behind(where):
    systemd = Systemd(*where)
    with systemd.manager as manager:
        assert fill(where[1])
        manager.ready()
        assert "READY=1" not in systemd.heard()
        systemd.clock.advance(0.05)
        assert "READY=1" in systemd.heard()


def test_what_waits_for_systemd_does_not_pile_up(where):
    systemd = Systemd(*where, WATCHDOG_USEC="1000000")
    with systemd.manager as manager:
        assert fill(where[1])
        manager.ready()
        for second in range(1000):
            systemd.health = UNREADY if second % 2 else READY
            systemd.clock.advance(1.0)
        assert systemd.clock.pending == 3  # the status, the watchdog, and the next try
        systemd.heard()
        systemd.clock.advance(0.05)
        said = systemd.heard()
        assert sorted(said) == ["READY=1", "STATUS=not ready: relay: away", "WATCHDOG=1"]
        assert said[0] == "READY=1"
    assert systemd.clock.pending == 0


def test_a_socket_that_is_gone_is_said_once_and_costs_nothing(tmp_path, caplog):
    clock = ManualClock()
    environment = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000000"}
    with ServiceManager(lambda: READY, clock, environment=environment, pid=1) as manager:
        manager.ready()
        clock.advance(10.0)
        manager.stopping("SIGTERM")
    assert [r.message for r in caplog.records if "systemd is not told any more" in r.message]
    assert len(caplog.records) == 1
    assert clock.pending == 0


def test_a_status_is_one_short_line(where):
    systemd = Systemd(*where)
    with systemd.manager as manager:
        manager.say("two\nlines  " + "x" * 1000)
        (_, said) = systemd.heard()
    assert said.startswith("STATUS=two lines x")
    assert len(said) <= 207


@pytest.mark.parametrize("text", ["", "@", "notify", "vsock:2:1234"])
def test_what_is_no_unix_socket_is_refused(text):
    with pytest.raises(ConfigError, match="NOTIFY_SOCKET"):
        socket_address(text)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": ""}, None),
    ],
)
def test_the_watchdog_is_meant_for_one_process(environment, seconds):
    assert watchdog_seconds(environment, 7) == seconds
