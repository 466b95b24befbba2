"""What a simulation refuses, and how one ends that cannot go on."""

from __future__ import annotations

from irismq_runtime.errors import RuntimeFault

__all__ = ["NotSimulated", "ProcessKilled", "SimulationStalled"]


class NotSimulated(RuntimeFault):
    """What was asked for would reach out of the simulation, and differ from run to run.

    Attributes:
        what: What was asked for, as it is written in a program.
        remedy: What to do instead.
    """

    blame = "caller"
    fatal = True

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} is not simulated; {remedy}")


class ProcessKilled(RuntimeFault):
    """The simulated process that was waited for was killed, and nothing comes of it.

    Attributes:
        host: The name of its host.
    """

    blame = "caller"

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"the process on {host} was killed before it was done; start it again, or expect this "
            "where hosts are killed"
        )


class SimulationStalled(RuntimeFault):
    """Nothing will ever happen again, or too much does, and the run is not over.

    Attributes:
        at: The virtual time, in seconds since the start.
        reason: What is the matter.
    """

    blame = "caller"
    fatal = True

    def __init__(self, at: float, reason: str) -> None:
        self.at = at
        self.reason = reason
        super().__init__(
            f"the simulation is at {at:.6f} s and will not end: {reason}; look for what waits "
            "for something that never comes, or give the run more time"
        )
