"""Which kind of slot runs a class of actors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka

from actors._loop_slot import LoopSlot
from actors._thread_slot import ThreadSlot
from actors.actor import Actor
from actors.rules import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors._slot import Slot
    from actors._system_core import SystemCore
    from actors.ref import ActorRef

__all__ = ["new_slot"]


def new_slot(
    system: SystemCore,
    actor_class: type,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    parent: ActorRef[Any] | None = None,
    hosted: bool = False,
) -> Slot:
    """Make the slot of an actor, which has not started.

    Args:
        system: Where it lives.
        actor_class: A class of actors, ours or Pykka's with threads.
        args: What the constructor is given, in every incarnation.
        kwargs: The same, by name.
        name: Its name; None: that of the class.
        parent: The ref of its supervisor; None for a root.
        hosted: Whether it is the host of the class that makes it (`Facilities.__host__`):
            every other slot of such a class is that of its host.

    Returns:
        The slot, in the state NEW.

    Raises:
        TypeError: nothing here knows how to run that class.
    """
    host = None if hosted else getattr(actor_class, "__host__", None)
    if host is not None:
        actor_class, args = host, (actor_class, *args)
    kind: type[Slot]
    try:
        ours = issubclass(actor_class, Actor)
    except TypeError:
        raise TypeError(
            f"{shown(actor_class)} is not a class: give the class of the actor, and what its "
            "constructor takes; a child(...) is started by supervisors.start, or by a node"
        ) from None
    if ours:
        kind = LoopSlot
    elif issubclass(actor_class, pykka.ThreadingActor):
        kind = ThreadSlot
    else:
        raise TypeError(
            f"{actor_class!r} is neither an actors.Actor nor a pykka.ThreadingActor: "
            "no runtime here knows how to run it"
        )
    return kind(system, actor_class, args, kwargs or {}, name=name, parent=parent)
