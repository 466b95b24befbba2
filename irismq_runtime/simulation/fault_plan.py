"""The plan of faults: what chance and some dials say goes wrong, and when.

A plan is a function of its arguments and nothing else, drawn one fault after the other for
as long as it is asked: what happens in the run does not change it. So a run that leaves
some of its faults out, because those are looked for that matter, meets the others at the
same times.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from irismq_runtime.simulation.conditions import draw
from irismq_runtime.simulation.faults import KINDS, Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from irismq_runtime.simulation.faults import Targets

__all__ = ["fault_plan"]


def fault_plan(
    chance: random.Random,
    dials: Mapping[str, float],
    targets: Targets,
    *,
    begins: float,
) -> Iterator[Fault]:
    """Draw the faults of one plan, in the order of their times, without an end.

    Args:
        chance: A stream that is used for nothing else.
        dials: How many of each kind come in a virtual minute; see `faults.dials_of`.
        targets: What there is to strike. A kind that finds nothing to strike does not come.
        begins: When the plan begins, in virtual seconds since the run began.

    Yields:
        The faults.
    """
    struck = {name: targets.struck_by(KINDS[name].strikes) for name in dials}
    rates = {name: rate for name, rate in dials.items() if struck[name]}
    if not rates:
        return
    names, weights = list(rates), list(rates.values())
    per_second = sum(weights) / 60.0
    at = begins
    for number in itertools.count():
        at += chance.expovariate(per_second)
        kind = KINDS[chance.choices(names, weights)[0]]
        target = chance.choice(struck[kind.name])
        lasts, amount = draw(chance, kind.lasts), draw(chance, kind.amount)
        if kind.either_way and chance.random() < 0.5:
            amount = -amount
        yield Fault(number, kind.name, target, at, lasts, amount)
