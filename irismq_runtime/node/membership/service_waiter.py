"""Holds asks back until a member of their cluster is confirmed, or waiting is in vain.

There are two reasons to wait. (1) Nobody is known to serve the cluster: a member that
has just come may not have been heard yet, so all nodes are asked whether they serve
it, and after `SEARCH` seconds there is nobody. (2) Somebody is known, but not
confirmed since the relay came back (or said itself that it is cut off): it is waited
for, since Iris is silent for a cluster that nobody has joined again; the ask's own
deadline and `RETURN_AT_MOST` bound that.

While the relay is away nothing waits here: the transport holds what is to be sent, or
fails it. Waiting is of use only where announcements arrive: a node that does not hear
its own does without. Loop thread only; decides with the clock and sends nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, TimerHandle
    from irismq_runtime.node.membership.member_table import MemberTable
    from irismq_runtime.refs import ServiceDirectory

__all__ = ["RETURN_AT_MOST", "SEARCH", "SEARCH_ALONE", "ServiceWaiter"]

#: Seconds that the search for an address that nobody is known to serve takes.
SEARCH: Final = 0.06
#: A node that has heard of no other yet does not know that it can be reached at all: in
#: so many seconds after its start, or the return of the relay, a search goes on, for
#: others that are slow, or far.
SEARCH_ALONE: Final = 1.0
#: Seconds that members which were confirmed before have to come back after the relay
#: did. The pause before it is dialled again is 5 s at most, and then they have to join.
RETURN_AT_MOST: Final = 6.0


class ServiceWaiter:
    """What waits for members of a cluster, by cluster.

    Args:
        table: Who is known, confirmed and expected.
        directory: The presence whose table it is.
        clock: For the ends of searching and waiting.
        ask_all: Asks all nodes who serves what is `sought`.
    """

    def __init__(
        self,
        table: MemberTable,
        directory: ServiceDirectory,
        clock: Clock,
        ask_all: Callable[[], None],
    ) -> None:
        self._table = table
        self._directory = directory
        self._clock = clock
        self._ask_all = ask_all
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        #: The addresses that are being searched for.
        self._searching: frozenset[str] = frozenset()
        #: When announcements began to arrive, on the clock.
        self._connected_at = float("-inf")
        #: The connection that brings announcements is away,
        self._disconnected = False
        #: and requests can be sent again all the same, over another one.
        self._can_send = False
        #: Runs while expected members have time to come back.
        self._return_timer: TimerHandle | None = None

    def when_known(self, cluster: str, callback: Callable[[], None]) -> None:
        """See `refs.ServiceDirectory.when_known`."""
        if self._table.is_confirmed(cluster) or not self._may_be_announced():
            callback()
            return
        self._waiting.setdefault(cluster, []).append(callback)
        if self._disconnected or self._table.is_expected(cluster):
            self._start_return_timer()
        else:
            self._search()

    def _may_be_announced(self) -> bool:
        """Whether announcements arrive, or soon will."""
        if self._disconnected:
            return self._can_send
        directory = self._directory
        return directory.settling or directory.trusted or self._return_timer is not None

    # The connection that brings announcements -----------------------------------

    def connected(self) -> None:
        """It stands for the first time."""
        self._connected_at = self._clock.monotonic()

    def disconnected(self) -> None:
        """It is lost, and most likely those of the others: who is there will say so again."""
        self._disconnected = True
        self._can_send = False
        self._table.mark_stale()
        self._stop_return_timer()
        self._release(tuple(self._waiting))

    def can_send(self) -> None:
        """Requests can be sent again; if announcements cannot be heard yet, they soon will."""
        self._can_send = True

    def reconnected(self) -> None:
        """It stands again."""
        self._disconnected = False
        self.connected()
        self._table.mark_stale()
        self._stop_return_timer()
        self._start_return_timer()
        self._search_for_rest()

    def _start_return_timer(self) -> None:
        if self._return_timer is None:
            self._return_timer = self._clock.call_later(RETURN_AT_MOST, self._return_time_over)

    def _stop_return_timer(self) -> None:
        if self._return_timer is not None:
            self._return_timer.cancel()
            self._return_timer = None

    def _return_time_over(self) -> None:
        self._return_timer = None
        self._can_send = False
        self._table.accept_stale()
        disconnected, confirmed = self._disconnected, self._table.is_confirmed
        self._release([c for c in self._waiting if disconnected or confirmed(c)])
        self._search_for_rest()

    # Searching for a member of a cluster that nobody is known to serve ------------

    def _search(self) -> None:
        if not self._directory.settling and not self._searching:
            self._searching = frozenset(self.sought())
            self._ask_all()
            self._clock.call_later(self._search_time(), self._search_ended)

    def _search_time(self) -> float:
        if len(self._table.nodes()) > 1:
            return SEARCH
        return max(SEARCH, self._connected_at + SEARCH_ALONE - self._clock.monotonic())

    def search_over(self) -> None:
        """Whoever is there has been heard by now, but for those who are expected."""
        self._searching = frozenset()
        if not self._disconnected:
            self._release(self.sought())

    def _search_ended(self) -> None:
        """Whoever serves what was searched for has said so; what came later is next."""
        searched, self._searching = self._searching, frozenset()
        if not self._disconnected:
            self._release([c for c in self.sought() if c in searched])
        self._search_for_rest()

    def _search_for_rest(self) -> None:
        if not self._disconnected and self.sought():
            self._search()

    def sought(self) -> tuple[str, ...]:
        """The clusters that are waited for, and that nobody is expected to come back to."""
        return tuple(c for c in self._waiting if not self._table.is_expected(c))

    # The end of waiting -----------------------------------------------------------

    def table_changed(self) -> None:
        """Release what waited for a cluster that is confirmed now."""
        if self._waiting:
            self._release([c for c in self._waiting if self._table.is_confirmed(c)])
            self._search_for_rest()

    def close(self) -> None:
        """Release everything, now and from now on."""
        self._stop_return_timer()
        self._disconnected = True
        self._can_send = False
        self._release(tuple(self._waiting))

    def _release(self, clusters: list[str] | tuple[str, ...]) -> None:
        for cluster in clusters:
            for callback in self._waiting.pop(cluster, ()):
                callback()
