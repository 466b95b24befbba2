"""Who waits to hear of a cluster before he asks it, and how long.

Two reasons to wait. Nobody is known: a member that has just come may not have been
heard yet, so all nodes are asked once more, and after a moment nobody it is. Or
somebody is known, but has not been heard since the relay came back (or said himself
that he is cut off): then he is waited for, since Iris is silent for a cluster that he
has not joined again; the ask's own deadline and `RETURN_AT_MOST` bound that.

While the relay is away nobody waits here: the transport holds what is to be sent, or
fails it. Waiting needs hope: a node that hears no announcements, its own among them,
does without them. Loop thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, TimerHandle
    from irismq_runtime.node.members import MemberTable
    from irismq_runtime.refs import Directory

__all__ = ["ALONE", "LOOK", "RETURN_AT_MOST", "Lookout"]

#: How long a look for an address that nobody is known to serve may take.
LOOK: Final = 0.06
#: A node that has heard of no other yet has no proof of the way to them: so long after
#: its start, or the return of the relay, a look takes, for others that are slow, or far.
ALONE: Final = 1.0
#: How long those who were heard before may take to come back after the relay did. The
#: pause before a link is dialled again is 5 s at most, and then it has to stand.
RETURN_AT_MOST: Final = 6.0


class Lookout:
    """Those who wait. `directory`: whose table it is; `ask`: has all nodes announce themselves."""

    def __init__(
        self, table: MemberTable, directory: Directory, clock: Clock, ask: Callable[[], None]
    ) -> None:
        self._table = table
        self._directory = directory
        self._clock = clock
        self._ask = ask
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._looking = False
        self._began = float("-inf")
        #: The link that brings announcements is away,
        self._cut = False
        #: and requests can be sent again all the same.
        self._ahead = False
        self._patience: TimerHandle | None = None

    def when_known(self, cluster: str, callback: Callable[[], None]) -> None:
        """See `refs.Directory.when_known`."""
        if self._table.hears(cluster) or not self._hopeful():
            callback()
            return
        self._waiting.setdefault(cluster, []).append(callback)
        if self._cut or self._table.awaits(cluster):
            self._be_patient()
        else:
            self._look()

    def _hopeful(self) -> bool:
        if self._cut:
            return self._ahead
        directory = self._directory
        return directory.settling or directory.trusted or self._patience is not None

    # The link of the announcements --------------------------------------------

    def began(self) -> None:
        """It stands for the first time."""
        self._began = self._clock.monotonic()

    def lost(self) -> None:
        """It is lost, and most likely those of the others: who is there will say so again."""
        self._cut = True
        self._ahead = False
        self._table.doubt()
        self._end_patience()
        self._release(tuple(self._waiting))

    def sending_again(self) -> None:
        """Requests can be sent again; if announcements cannot be heard yet, they soon will."""
        self._ahead = True

    def joined(self) -> None:
        """It stands again."""
        self._cut = False
        self.began()
        self._table.doubt()
        self._end_patience()
        self._be_patient()
        self._look_for_rest()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = self._clock.call_later(RETURN_AT_MOST, self._enough)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _enough(self) -> None:
        self._patience = None
        self._ahead = False
        self._table.believe()
        self._release([c for c in self._waiting if self._cut or self._table.hears(c)])
        self._look_for_rest()

    # Looking for somebody unknown ---------------------------------------------

    def _look(self) -> None:
        if not self._directory.settling and not self._looking:
            self._looking = True
            self._ask()
            self._clock.call_later(self._time_to_look(), self.looked)

    def _time_to_look(self) -> float:
        if len(self._table.nodes()) > 1:
            return LOOK
        return max(LOOK, self._began + ALONE - self._clock.monotonic())

    def looked(self) -> None:
        """Whoever is there has been heard by now, but for those who are awaited."""
        self._looking = False
        if not self._cut:
            self._release([c for c in self._waiting if not self._table.awaits(c)])

    def _look_for_rest(self) -> None:
        if not self._cut and any(not self._table.awaits(c) for c in self._waiting):
            self._look()

    # The end of waiting -------------------------------------------------------

    def heard(self) -> None:
        """The table has changed."""
        if self._waiting:
            self._release([c for c in self._waiting if self._table.hears(c)])
            self._look_for_rest()

    def close(self) -> None:
        """Nobody waits any more."""
        self._end_patience()
        self._cut = True
        self._ahead = False
        self._release(tuple(self._waiting))

    def _release(self, clusters: list[str] | tuple[str, ...]) -> None:
        for cluster in clusters:
            for callback in self._waiting.pop(cluster, ()):
                callback()
