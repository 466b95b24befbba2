"""Ours over NATS: each node runs a relay in its own process, on one NATS server in a third."""

from __future__ import annotations

from typing import Any

from contestants import remote_ours
from contestants.remote_servers import free_port, nats_command, running


def measure(scale: float) -> dict[str, Any]:
    port = free_port()
    with running(nats_command(port), port):
        return remote_ours.between(scale, f"nats://127.0.0.1:{port}")
