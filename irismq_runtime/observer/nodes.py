"""The state of one node, from its reports and its silence. No I/O; time is an argument.

A node is *up* while it answers, *silent* when it has not for `SILENCE` seconds,
*lost* when presence says that it is gone without a goodbye, *left* when it said one.
Why it left, if not because it was asked to, its goodbye says. `now` is monotonic, `wall`
the clock on the wall; both come from the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from irismq_runtime.observer.model import (
    Crash,
    EntitiesView,
    LocalLetter,
    NodeView,
    PlaceView,
    StoreView,
)
from irismq_runtime.observer.time_series import KEPT, RestartHistory, TimeSeries

if TYPE_CHECKING:
    from irismq_runtime.observer.model import NodeState
    from irismq_runtime.observer.reports import (
        EntitiesReport,
        ExitReport,
        NodeReport,
        PlaceReport,
        StoreReport,
    )

__all__ = ["SILENCE", "WatchedNode"]

#: Seconds without an answer after which a node counts as silent.
SILENCE: Final = 1.2
#: Seconds for which a node may be unready without a remark: a restart takes a moment.
PATIENCE: Final = 1.0
_MOST_TRACES: Final = 200


class _PlaceSeries:
    """The numbers of one place, while it is listed."""

    __slots__ = ("handled", "inbox", "restarts")

    def __init__(self) -> None:
        self.restarts = RestartHistory()
        self.inbox = TimeSeries()
        self.handled = TimeSeries()


class _StoreSeries:
    """The numbers of a node's store that grow."""

    __slots__ = ("commits", "messages", "seconds")

    def __init__(self) -> None:
        self.commits = TimeSeries()
        self.messages = TimeSeries()
        self.seconds = TimeSeries()

    def add(self, now: float, report: StoreReport) -> None:
        self.commits.add(now, report.commits)
        self.messages.add(now, report.messages)
        self.seconds.add(now, report.seconds)

    def view(self, report: StoreReport, now: float, gap: float) -> StoreView:
        commits = self.commits.rate(now, gap) or 0.0
        spent = self.seconds.rate(now, gap) or 0.0
        return StoreView(
            url=report.url,
            fault=report.fault,
            commits=_rounded(commits),
            messages=_rounded(self.messages.rate(now, gap) or 0.0),
            took=round(spent / commits, 5) if commits else None,
            uncommitted=report.uncommitted,
            lost=report.lost,
            sent_again=report.sent_again,
            outbox=report.outbox,
            handled=report.handled,
        )


def _letters(report: NodeReport, answered: float) -> tuple[LocalLetter, ...]:
    """The latest local letters, with times of the observer's clock."""
    offset = answered - report.time
    return tuple(
        LocalLetter(
            target=letter.target,
            type=letter.type,
            reason=letter.reason,
            wall=round(letter.time + offset, 1),
        )
        for letter in report.dead_letters.latest
    )


def _entities(report: EntitiesReport) -> EntitiesView:
    return EntitiesView(
        address=report.address,
        shards=report.shards,
        owned=report.owned,
        active=report.active,
        failing=report.failing,
    )


class WatchedNode:
    """See the module. `heard`: when it was first heard of."""

    def __init__(self, node_id: str, name: str, now: float, wall: float) -> None:
        self.id = node_id
        self.name = name
        self.report: NodeReport | None = None
        #: How often it has answered.
        self._reports = 0
        self._answered: float | None = None
        self._heard = now
        self._error = ""
        self._gone: float | None = None
        #: What its goodbye said; it is final, since each start has an id of its own.
        self._goodbye: str | None = None
        self._state: NodeState = "new"
        self._since = wall
        self._unready: float | None = None
        self._places: dict[tuple[str, ...], _PlaceSeries] = {}
        self._store = _StoreSeries()
        self._tracebacks: dict[str, str] = {}
        self._answered_wall = wall
        #: The latest view, and what it was made of.
        self._view: NodeView | None = None
        self._view_of: tuple[object, ...] = ()
        #: Seconds between two questions to it.
        self._gap = 0.0

    # What happens -------------------------------------------------------------

    def reported(self, report: NodeReport, now: float, wall: float) -> None:
        """Take what the node answered at `now` (monotonic) and `wall` (unix seconds)."""
        self.report = report
        self._reports += 1
        self._answered, self._answered_wall = now, wall
        self._gone = None
        self._error = ""
        self._tracebacks |= report.tracebacks
        for urn in list(self._tracebacks)[:-_MOST_TRACES]:
            del self._tracebacks[urn]
        if report.health.ready:
            self._unready = None
        elif self._unready is None:
            self._unready = now
        if report.store is not None:
            self._store.add(now, report.store)
        seen: dict[tuple[str, ...], _PlaceSeries] = {}
        for tree in report.trees:
            self._note(tree, (), now, seen)
        self._places = seen

    def _note(
        self,
        place: PlaceReport,
        above: tuple[str, ...],
        now: float,
        seen: dict[tuple[str, ...], _PlaceSeries],
    ) -> None:
        path = (*above, place.name)
        series = seen[path] = self._places.get(path) or _PlaceSeries()
        series.restarts.add(now, place.restarts)
        series.inbox.add(now, place.inbox)
        series.handled.add(now, place.handled)
        for below in place.children:
            self._note(below, path, now, seen)

    def failed(self, error: str) -> None:
        """It was asked and did not answer."""
        self._error = error

    def excused(self, seconds: float) -> None:
        """It was not asked for so long, and could not answer."""
        self._heard += seconds
        if self._answered is not None:
            self._answered += seconds

    def gone(self, now: float, goodbye: str | None = None) -> None:
        """Presence does not hear it any more. `goodbye`: None when it said none."""
        if self._gone is None:
            self._gone = now
        if goodbye is not None:
            self._goodbye = goodbye

    # What it means ------------------------------------------------------------

    @property
    def since(self) -> float:
        """The time of its latest report on its own clock; 0 before the first."""
        return 0.0 if self.report is None else self.report.time

    def state(self, now: float, wall: float, patience: float = SILENCE) -> NodeState:
        """Its state now; remembers since when. `patience`: seconds in which it must answer."""
        state = self._decided(now, patience)
        if state != self._state:
            self._state, self._since = state, wall
        return state

    def _decided(self, now: float, patience: float) -> NodeState:
        last = self._answered
        if self._goodbye is not None:
            return "left"
        if self._gone is not None:
            return "lost"
        if now - (self._heard if last is None else last) > patience:
            return "silent"
        return "new" if last is None else "up"

    def dead_for(self, wall: float) -> float:
        """Seconds since it is gone; 0 while it is not."""
        return wall - self._since if self._state in {"lost", "left"} else 0.0

    @property
    def has_left(self) -> bool:
        """Whether it went because it was asked to."""
        return self._state == "left" and not self._goodbye

    def is_unready(self, now: float) -> bool:
        """Whether it has not been ready for longer than a moment."""
        return self._unready is not None and now - self._unready >= PATIENCE

    def view(self, now: float, wall: float, patience: float = SILENCE) -> NodeView:
        """All of it, for a snapshot. Made again when there is something new.

        `patience`: as of `state`.
        """
        state = self.state(now, wall, patience)
        # What it is made of; of one that does not answer the rates fade, second by second.
        silent = 0.0 if self._answered is None else min(now - self._answered, KEPT)
        fading = 0 if state == "up" else int(silent)
        made_of = (self._reports, state, self._goodbye, self._error, fading)
        if self._view is None or made_of != self._view_of:
            self._gap = patience - SILENCE
            self._view, self._view_of = self._viewed(state, now), made_of
        return self._view

    def _viewed(self, state: NodeState, now: float) -> NodeView:
        report = self.report
        if report is None:
            return NodeView(
                id=self.id,
                name=self.name,
                state=state,
                since=round(self._since, 1),
                why=self._goodbye or "",
                error=self._error,
            )
        trees = tuple(self._place(tree, (), now) for tree in report.trees)
        return NodeView(
            id=self.id,
            name=self.name,
            state=state,
            since=round(self._since, 1),
            why=self._goodbye or "",
            ready=report.health.ready and state == "up",
            reasons=report.health.reasons,
            error=self._error if state in {"silent", "lost"} else "",
            host=report.host,
            pid=report.pid,
            actors=report.actors,
            lag=round(report.lag, 2),
            handled=_rounded(sum(_handled(tree) for tree in trees)),
            restarts=sum(_restarts(tree) for tree in report.trees),
            letters=report.dead_letters.total,
            latest=_letters(report, self._answered_wall),
            trees=trees,
            store=None if report.store is None else self._store.view(report.store, now, self._gap),
            entities=tuple(map(_entities, report.entities)),
        )

    def _place(self, place: PlaceReport, above: tuple[str, ...], now: float) -> PlaceView:
        path = (*above, place.name)
        series = self._places[path]
        return PlaceView(
            path=path,
            name=place.name,
            actor_class=place.actor_class,
            kind=place.kind,
            state=place.state,
            restarts=place.restarts,
            inbox=place.inbox,
            rate=_rounded(series.handled.rate(now, self._gap) or 0.0),
            ref=place.ref,
            address=place.address,
            strategy=place.strategy,
            hidden=place.hidden,
            progress=place.progress,
            last=None if place.last_exit is None else self._crash(place.last_exit, place.ref),
            loops=series.restarts.loops(now),
            grows=series.inbox.grows(now, self._gap),
            children=tuple(self._place(below, path, now) for below in place.children),
        )

    def _crash(self, ended: ExitReport, urn: str | None) -> Crash:
        return Crash(
            reason=ended.reason,
            error=ended.error,
            text=ended.text,
            message_type=ended.message_type,
            wall=round(ended.wall, 1),
            traceback=self._tracebacks.get(urn or "", ""),
        )


def _rounded(rate: float) -> float:
    return round(rate, 1)


def _handled(place: PlaceView) -> float:
    return place.rate + sum(map(_handled, place.children))


def _restarts(place: PlaceReport) -> int:
    return place.restarts + sum(map(_restarts, place.children))
