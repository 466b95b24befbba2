"""How the suite shares real servers between its workers."""

from __future__ import annotations

import pytest

from tests.support import iris_relay


@pytest.fixture(autouse=True)
def relay_of_the_namespace(monkeypatch):
    """A namespace where a relay serves the standard port; nothing is started."""
    monkeypatch.setattr(iris_relay, "_served", lambda port: port == 55555)
    monkeypatch.setattr(iris_relay._Shared, "server", None)
    monkeypatch.setattr(iris_relay.RealServer, "boot", lambda self: None)


@pytest.mark.parametrize("worker", [None, "gw0"])
def test_the_relay_of_the_namespace_serves_one_worker(monkeypatch, worker):
    if worker is None:
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    else:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    assert iris_relay._share("iris").port == 55555


def test_each_worker_but_the_first_has_a_relay_of_its_own(monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert iris_relay._share("iris").port != 55555
