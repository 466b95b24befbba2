"""How many messages each connection may have in flight: RDY, shared out. Pure.

RDY is a standing ceiling that nsqd checks before each push, so the ceilings of
all connections together must never exceed the window. They are moved in two
steps: a ceiling is lowered, and what it gave up is handed on only when it is
surely gone. Until `SETTLE` seconds have passed the old ceiling still counts
(nsqd may have pushed before it read the new one), and messages in flight count
until they are settled. So a new connection cannot make the sum too large for a moment.

With room for all, every connection has an even share, up to what it wants; what the idle
do not want goes to the busy. With fewer places than connections, places rotate:
a turn lasts at most `MAX_TURN`, less when nothing comes, and is so short that
every one has had one within `ROUND` seconds.
"""

from __future__ import annotations

import dataclasses

__all__ = ["RdyDistribution", "RdyShare"]

#: Seconds after which a lowered RDY has surely been read by the broker.
SETTLE = 0.1
#: Within this time every connection has had a turn, as far as MIN_TURN allows.
ROUND = 5.0
MAX_TURN = 2.0
MIN_TURN = 0.2
#: A connection with a place on which nothing came for this long gives it up.
IDLE_TURN = 0.25


@dataclasses.dataclass(slots=True, eq=False)
class RdyShare:
    """One connection's part. `in_flight` and `last_message` are kept by its owner."""

    name: str
    max_rdy: int
    joined_at: float
    #: RDY that is worth giving to it (see `adaptive_rdy`).
    wanted: int = 1 << 16
    #: The RDY that was told last.
    ready: int = 0
    in_flight: int = 0
    last_message: float = float("-inf")
    granted_at: float = float("-inf")
    #: The old ceiling, and how long it counts.
    cooling: int = 0
    cooling_until: float = float("-inf")

    def hold(self, now: float) -> int:
        """Messages that may be in flight here, at most."""
        most = max(self.ready, self.in_flight)
        return max(most, self.cooling) if now < self.cooling_until else most


class RdyDistribution:
    """The shares of one consumer."""

    __slots__ = ("_queue", "limit", "shares", "waiting")

    def __init__(self) -> None:
        #: A share waits for what others still hold: plan again when they settle.
        self.waiting = False
        #: Messages that may be in flight in all, as of now.
        self.limit = 0
        self.shares: list[RdyShare] = []
        # Who waits for a place, longest first; only with fewer places than shares.
        self._queue: list[RdyShare] = []

    def join(self, name: str, max_rdy: int, now: float) -> RdyShare:
        """A connection has become ready, at RDY 0."""
        share = RdyShare(name, max_rdy, now)
        self.shares.append(share)
        return share

    def leave(self, share: RdyShare) -> None:
        """A connection is gone, and its messages with it."""
        if share in self.shares:
            self.shares.remove(share)

    def plan(self, now: float) -> tuple[list[RdyShare], float | None]:
        """Set `ready` of the shares anew.

        Returns the shares whose broker is to be told, and after how many seconds
        to plan again even if nothing happens (None: not needed).
        """
        targets, again = self._targets(now)
        changed = self._lower(targets, now)
        changed += [share for share in self._raise(targets, now) if share not in changed]
        self.waiting = any(share.ready < target for share, target in targets.items())
        if self.waiting:
            for share in self.shares:
                if share.cooling_until > now:
                    again = _sooner(again, share.cooling_until - now)
        return changed, again

    def _lower(self, targets: dict[RdyShare, int], now: float) -> list[RdyShare]:
        changed = []
        for share in self.shares:
            if share.ready > targets[share]:
                share.cooling = share.hold(now)
                share.cooling_until = now + SETTLE
                share.ready = targets[share]
                changed.append(share)
        return changed

    def _raise(self, targets: dict[RdyShare, int], now: float) -> list[RdyShare]:
        changed = []
        free = self.limit - sum(share.hold(now) for share in self.shares)
        # Who has nothing comes first, so that a newcomer is not starved.
        for share in sorted(self.shares, key=lambda share: share.ready):
            held = share.hold(now)
            ceiling = min(targets[share], held + max(free, 0))
            if ceiling > share.ready:
                free -= max(0, ceiling - held)
                if share.ready == 0:
                    share.granted_at = now
                    if share in self._queue:
                        self._queue.remove(share)
                share.ready = ceiling
                changed.append(share)
        return changed

    def _targets(self, now: float) -> tuple[dict[RdyShare, int], float | None]:
        if not self.shares or self.limit <= 0:
            return dict.fromkeys(self.shares, 0), None
        if self.limit >= len(self.shares):
            self._queue.clear()
            return self._even(), None
        return self._rotating(now)

    def _even(self) -> dict[RdyShare, int]:
        """A place for everybody, and the rest in even parts to those that want it."""
        targets = dict.fromkeys(self.shares, 1)
        left = self.limit - len(self.shares)
        takers = sorted(self.shares, key=lambda share: (share.joined_at, share.name))
        while left > 0 and takers:
            part, extra = divmod(left, len(takers))
            for index, share in enumerate(takers):
                most = min(share.max_rdy, share.wanted)
                more = max(0, min(part + (index < extra), most - targets[share]))
                targets[share] += more
                left -= more
            takers = [s for s in takers if targets[s] < min(s.max_rdy, s.wanted)]
        return targets

    def _rotating(self, now: float) -> tuple[dict[RdyShare, int], float | None]:
        """One place each for as many as there are places, by turns."""
        turn = min(MAX_TURN, max(MIN_TURN, ROUND * self.limit / len(self.shares)))
        holders = [share for share in self.shares if share.ready > 0]
        holders.sort(key=lambda share: share.granted_at)
        staying = [share for share in holders if now < self._ends(share, turn)]
        staying = staying[: self.limit]
        self._queue = [share for share in self._queue if share in self.shares]
        self._queue = [share for share in self._queue if share not in staying]
        known = set(map(id, self._queue)) | set(map(id, staying))
        self._queue += [share for share in self.shares if id(share) not in known]
        chosen = staying + self._queue[: self.limit - len(staying)]
        targets = {share: int(share in chosen) for share in self.shares}
        ends = [max(0.01, self._ends(share, turn) - now) for share in staying]
        return targets, min([*ends, min(turn, IDLE_TURN)])

    @staticmethod
    def _ends(share: RdyShare, turn: float) -> float:
        """When the turn of a holder is over."""
        if share.last_message < share.granted_at and share.in_flight == 0:
            return share.granted_at + min(turn, IDLE_TURN)
        return share.granted_at + turn


def _sooner(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)
