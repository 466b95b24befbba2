"""How a simulated run fails: an invariant that broke, and the report of a test.

All of them are failures of what is tested, and so `AssertionError`s: pytest shows them as
failed tests, not as errors.
"""

from __future__ import annotations

__all__ = ["InvariantBroken", "SimulationFailed"]


class InvariantBroken(AssertionError):
    """Something that must hold in every run did not.

    Attributes:
        holds: What must hold.
        text: What was seen instead.
        at: When, in virtual seconds since the run began.
        about: The id of the message that it is about; empty: none.
    """

    def __init__(self, holds: str, text: str, *, at: float, about: str = "") -> None:
        self.holds = holds
        self.text = text
        self.at = at
        self.about = about
        super().__init__(f"at {at:.3f} s it did not hold that {holds}: {text}")


class SimulationFailed(AssertionError):
    """A simulated test failed with a seed; the text is its report, the cause what went wrong.

    Attributes:
        seed: The seed that replays it.
        faults: The numbers of the faults that matter.
    """

    def __init__(self, report: str, *, seed: int, faults: tuple[int, ...]) -> None:
        self.seed = seed
        self.faults = faults
        super().__init__(report)
