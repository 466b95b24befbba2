"""A whole cluster in one process, on virtual time, from one seed.

Hosts, the network between them and their clocks are simulated; what runs on them is the
product itself, and the services of its users, unchanged. See `Simulation`.
"""

from irismq_runtime.simulation.conditions import Conditions
from irismq_runtime.simulation.errors import NotSimulated, ProcessKilled, SimulationStalled
from irismq_runtime.simulation.host import Process, SimulatedHost
from irismq_runtime.simulation.network import SimulatedNetwork
from irismq_runtime.simulation.paths import Block
from irismq_runtime.simulation.simulation import Simulation

__all__ = [
    "Block",
    "Conditions",
    "NotSimulated",
    "Process",
    "ProcessKilled",
    "SimulatedHost",
    "SimulatedNetwork",
    "Simulation",
    "SimulationStalled",
]
