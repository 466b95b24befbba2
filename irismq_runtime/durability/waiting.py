"""What is done when an activation's earlier units are committed, for whatever leaves it.

An ask, a broadcast, a live event, and what is said `outside()`, belong to no commit. They leave
when all is committed that the actor did in its messages before. Any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.runtime import current_slot
from irismq_runtime.durability.errors import NotInUnit
from irismq_runtime.durability.unit import Outside, current_unit, is_durable

if TYPE_CHECKING:
    from collections.abc import Callable

    from irismq_runtime.durability.activation import Activation

__all__ = ["activation_behind", "when_committed"]


def activation_behind() -> Activation | None:
    """The activation whose earlier units have to be committed before the running code is heard.

    None where nothing is to be waited for.
    """
    slot = current_slot.get()
    if slot is None or not is_durable(slot.actor):
        return None
    unit = current_unit.get()
    if isinstance(unit, Outside):
        unit = unit.unit
    activation: Activation | None = slot.actor.__activation__
    return (
        activation if activation is not None and unit is not None and activation.pending else None
    )


def when_committed(
    activation: Activation,
    callback: Callable[[], Any],
    undone: Callable[[BaseException | None], object] = lambda _: None,
) -> None:
    """Call `callback` on the loop when what the actor has done so far is committed.

    Args:
        activation: Of the actor.
        callback: Called then.
        undone: Called with the reason instead, where the commit was lost.
    """
    generation = activation.generation

    async def wait() -> None:
        if await activation.flushed(generation):
            callback()
        else:
            undone(NotInUnit("what was told by a handler whose commit was lost"))

    system = activation.slot.system
    system.call_on_loop(lambda: system.spawn(wait()))
