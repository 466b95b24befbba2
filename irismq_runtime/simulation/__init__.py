"""A whole cluster in one process, on virtual time, from one seed.

Hosts, the network between them and their clocks are simulated; what runs on them is the
product itself, and the services of its users, unchanged. Users have `@simulate` and
`Cluster`; these stand on `Simulation`.
"""

from irismq_runtime.simulation.cluster import Cluster, ClusterOptions, Load
from irismq_runtime.simulation.conditions import Conditions
from irismq_runtime.simulation.errors import NotSimulated, ProcessKilled, SimulationStalled
from irismq_runtime.simulation.failures import InvariantBroken, SimulationFailed
from irismq_runtime.simulation.history import (
    History,
    NotLinearizable,
    Operation,
    RefusedWith,
    SearchTooLarge,
)
from irismq_runtime.simulation.host import Process, SimulatedHost
from irismq_runtime.simulation.lookup import LookupDaemon, register_with
from irismq_runtime.simulation.nats_model import NatsServerModel
from irismq_runtime.simulation.network import SimulatedNetwork
from irismq_runtime.simulation.paths import Block
from irismq_runtime.simulation.simulated_test import simulate
from irismq_runtime.simulation.simulation import Simulation

__all__ = [
    "Block",
    "Cluster",
    "ClusterOptions",
    "Conditions",
    "History",
    "InvariantBroken",
    "Load",
    "LookupDaemon",
    "NatsServerModel",
    "NotLinearizable",
    "NotSimulated",
    "Operation",
    "Process",
    "ProcessKilled",
    "RefusedWith",
    "SearchTooLarge",
    "SimulatedHost",
    "SimulatedNetwork",
    "Simulation",
    "SimulationFailed",
    "SimulationStalled",
    "register_with",
    "simulate",
]
