"""What `irismq top` shows: a snapshot and the reader's wishes in, rows out. Pure.

A row has a key that names it as long as it is there, so that a screen can keep its
place while everything moves. Trees keep their shape whatever they are sorted by:
the children of one place are sorted among each other. A filter shows what matches
and all that is above it, closed or not. Of many nodes each is closed until it is opened,
and of many rows one part is shown at a time: what is not shown is not made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from irismq_runtime.cli.top.numbers import age, count, one_line, per_second, seconds
from irismq_runtime.cli.top.orders import NODE_ORDERS, PLACE_ORDERS, SERVICE_ORDERS
from irismq_runtime.observer import places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from irismq_runtime.observer import (
        EntitiesView,
        NodeView,
        PlaceView,
        ServiceView,
        Snapshot,
        StoreView,
    )

__all__ = [
    "SERVICE_COLUMNS",
    "TREE_COLUMNS",
    "Restart",
    "Row",
    "View",
    "headline",
    "problem_rows",
    "rows",
]

Tone = Literal["plain", "good", "warning", "bad", "faint"]
Page = Literal["trees", "services"]

TREE_COLUMNS: Final = ("place", "state", "restarts", "inbox", "per s", "last crash")
SERVICE_COLUMNS: Final = (
    "address",
    "members",
    "waiting",
    "flying",
    "dead",
    "told/s",
    "done/s",
    "asked/s",
    "p50",
    "p99",
)


#: Of more nodes than this each is closed until it is opened.
MANY_NODES: Final = 30


class Restart(NamedTuple):
    """What restarts a child: the id of its node, the urn of its supervisor, its name."""

    node: str
    supervisor: str
    child: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `detail`: what is shown of it on demand; `opens`: whether it has children.

    `restart`: how it is restarted; None for what has no supervisor that answers.
    """

    key: str
    cells: tuple[str, ...]
    tone: Tone = "plain"
    detail: str = ""
    opens: bool = False
    restart: Restart | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What the reader wishes to see. `sort`: a column, None for the order of things.

    `closed`: keys of rows; of many nodes those that are open. `first`: how many rows are
    passed over; `most`: how many are shown then, None for all.
    """

    page: Page = "trees"
    sort: int | None = None
    words: str = ""
    closed: frozenset[str] = field(default_factory=frozenset)
    first: int = 0
    most: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of the page; the one that is sorted by is marked."""
        names = TREE_COLUMNS if self.page == "trees" else SERVICE_COLUMNS
        return tuple(f"{n}▾" if i == self.sort else n for i, n in enumerate(names))

    def turned(self, page: Page) -> View:
        """The other page, in its own order."""
        return self if page == self.page else replace(self, page=page, sort=None, first=0)

    def sorted_by_next(self) -> View:
        """Sorted by the next column that can be sorted by; after the last by none."""
        known = sorted(PLACE_ORDERS if self.page == "trees" else SERVICE_ORDERS)
        later = [column for column in known if self.sort is None or column > self.sort]
        return replace(self, sort=later[0] if later else None, first=0)

    def moved(self, parts: int) -> View:
        """So many parts further down, or up."""
        return replace(self, first=max(0, self.first + parts * (self.most or 0)))

    def filtered(self, words: str) -> View:
        """Only what has `words` in its name, class, address or state."""
        return replace(self, words=words.strip().lower(), first=0)

    def toggled(self, key: str) -> View:
        """`key` closed if it was open, and the other way round."""
        return replace(self, closed=self.closed ^ {key})

    def closing(self, keys: Iterable[str]) -> View:
        """The same view, with exactly the rows of these keys closed."""
        return replace(self, closed=frozenset(keys))


def rows(snapshot: Snapshot, view: View) -> list[Row]:
    """The rows of the view's page; of many the part that is looked at, and what is beside it."""
    if view.page == "services":
        found = _service_rows(snapshot, view)
    else:
        found = (
            row
            for node in _ordered_nodes(snapshot, view)
            for row in _node_rows(node, view, snapshot)
        )
    if view.most is None:
        return list(found)
    above = sum(1 for _ in islice(found, view.first))
    shown = list(islice(found, view.most))
    if not shown and above:  # it has become shorter
        return rows(snapshot, replace(view, first=max(0, above - view.most)))
    below = next(found, None) is not None
    rest = [""] * (len(view.columns) - 1)
    if above:
        shown.append(Row("above", (f"{above:,} rows above: [ turns back", *rest), "faint"))
    if below:
        shown.append(Row("below", ("more rows below: ] turns on, / filters", *rest), "faint"))
    return shown


def headline(snapshot: Snapshot) -> str:
    """The system in one line: nodes, services, rates, and how many things are wrong."""
    up = sum(node.state == "up" for node in snapshot.nodes)
    point = snapshot.point
    parts = [
        _many(up, "node"),
        _many(sum(node.actors for node in snapshot.nodes if node.state == "up"), "actor"),
        _many(sum(service.served for service in snapshot.services), "service"),
    ]
    if point is not None:
        parts.append(f"{per_second(point.handled)} handled/s")
        parts.append(f"{count((point.waiting or 0) + point.inboxes)} waiting")
    return ", ".join(parts)


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def problem_rows(snapshot: Snapshot, most: int) -> list[Row]:
    """What is wrong now, the worst first, and how many more there are."""
    found = [
        Row(
            problem.key,
            (one_line(problem.text), age(snapshot.time - problem.since)),
            "bad" if problem.severity == "error" else "warning",
        )
        for problem in snapshot.problems
    ]
    if len(found) <= most:
        return found
    rest = len(found) - most + 1
    return [*found[: most - 1], Row("more", (f"and {rest:,} more", ""), "faint")]


# Trees ------------------------------------------------------------------------


def _ordered_nodes(snapshot: Snapshot, view: View) -> Sequence[NodeView]:
    order = None if view.sort is None else NODE_ORDERS.get(view.sort)
    return snapshot.nodes if order is None else sorted(snapshot.nodes, key=order)


def _node_rows(node: NodeView, view: View, snapshot: Snapshot) -> Iterator[Row]:
    key = f"node {node.id}"
    is_many = len(snapshot.nodes) > MANY_NODES
    is_open = bool(view.words) or (key in view.closed) == is_many
    below = [
        row
        for place in (_ordered(node.trees, view) if is_open else ())
        for row in _place_rows(node, place, view, snapshot.time)
    ]
    if view.words and not below and not _matches(view, node.name, node.id, node.state):
        return
    total = sum(place.inbox for place in places(node.trees))
    note = node.error or "; ".join(node.reasons) if node.state != "left" else node.why
    yield Row(
        key,
        (
            f"{_mark(bool(node.trees), is_open)}{one_line(node.name, 40)} {one_line(node.id, 60)}",
            _node_state(node),
            count(node.restarts),
            count(total),
            per_second(node.handled),
            one_line(note),
        ),
        _node_tone(node),
        _node_detail(node),
        opens=bool(node.trees),
    )
    if is_open:
        yield from below


def _node_state(node: NodeView) -> str:
    if node.why:
        return "gave up"
    return "not ready" if node.state == "up" and not node.ready else node.state


def _node_tone(node: NodeView) -> Tone:
    if node.state in {"silent", "lost"} or node.why:
        return "bad"
    if node.state == "left":
        return "faint"
    return "good" if node.ready else "warning"


def _node_detail(node: NodeView) -> str:
    lines = [f"{node.name} {node.id}", f"host {node.host or '?'}, pid {node.pid or '?'}"]
    lines.append(f"{count(node.actors)} actors, loop late by {seconds(node.lag)}")
    lines += [] if node.store is None else [_store_line(node.store)]
    lines += [_entities_line(each) for each in node.entities]
    lines += [f"{'ready, but' if node.ready else 'not ready'}: {one}" for one in node.reasons]
    lines += [f"no answer: {node.error}"] if node.error else []
    lines += [f"ended by itself: {node.why}"] if node.why else []
    lines += [f"unhandled: {one.type} to {one.target}: {one.reason}" for one in node.latest]
    return "\n".join(map(one_line, lines))


def _entities_line(entities: EntitiesView) -> str:
    said = f"entities {entities.address}: {count(entities.active)} active, "
    said += f"{count(entities.owned)} of {count(entities.shards)} shards"
    return f"{said}, {count(entities.failing)} failing" if entities.failing else said


def _store_line(store: StoreView) -> str:
    took = "" if store.took is None else f" in {seconds(store.took)} each"
    said = f"store {store.url}: {per_second(store.commits)} commits/s{took}, "
    said += f"{per_second(store.messages)} msg/s, {count(store.uncommitted)} not committed, "
    said += f"outbox {count(store.outbox)}, handled ids {count(store.handled)}"
    return f"{said}: {store.fault}" if store.fault else said


def _place_rows(
    node: NodeView,
    place: PlaceView,
    view: View,
    now: float,
    depth: int = 1,
    above: str | None = None,
) -> Iterator[Row]:
    """Rows of a place and of what is below it. `above`: the urn of its supervisor."""
    below = [
        row
        for one in _ordered(place.children, view)
        for row in _place_rows(node, one, view, now, depth + 1, place.ref)
    ]
    named = (place.name, place.actor_class, place.address or "", place.state)
    if view.words and not below and not _matches(view, *named):
        return
    key = f"{node.id} {'/'.join(place.path)}"
    opens = bool(place.children or place.hidden)
    is_open = bool(view.words) or key not in view.closed
    address = f" {place.address}" if place.address and place.address != place.name else ""
    yield Row(
        key,
        (
            "  " * depth + _mark(opens, is_open) + one_line(f"{place.name}{address}", 60),
            _place_state(place),
            count(place.restarts),
            count(place.inbox),
            per_second(place.rate),
            _crash(place, now),
        ),
        _place_tone(place) if node.state in {"new", "up"} else "faint",
        _place_detail(place, now),
        opens=opens,
        restart=Restart(node.id, above, place.name) if above and node.state == "up" else None,
    )
    if is_open:
        yield from below
        if place.hidden:
            more = f"{'  ' * (depth + 1)}  and {_many(place.hidden, 'more')}"
            yield Row(f"{key} hidden", (more.removesuffix("s"), "", "", "", "", ""), "faint")


def _place_state(place: PlaceView) -> str:
    if place.loops:
        return "looping"
    return one_line(place.progress, 30) if place.progress else place.state


def _mark(opens: bool, is_open: bool) -> str:
    return "  " if not opens else "▾ " if is_open else "▸ "


def _crash(place: PlaceView, now: float) -> str:
    last = place.last
    if last is None or not last.error:
        return ""
    name = last.error.rpartition(".")[2]
    return one_line(f"{age(now - last.wall)} ago {name}: {last.text or ''}")


def _place_tone(place: PlaceView) -> Tone:
    if place.loops:
        return "bad"
    if place.grows or place.state != "running":
        return "warning"
    return "plain"


def _place_detail(place: PlaceView, now: float) -> str:
    lines = [
        f"{' / '.join(place.path)}: {place.kind} {place.actor_class}, {place.state}",
        f"address {place.address}" if place.address else "no address",
        f"{count(place.restarts)} restarts, {count(place.inbox)} wait, {per_second(place.rate)}/s",
    ]
    lines += [f"its handler is at {place.progress}"] if place.progress else []
    last = place.last
    if last is None:
        return "\n".join(map(one_line, lines))
    what = f"{last.error}: {last.text}" if last.error else last.reason
    because = f", handling {last.message_type}" if last.message_type else ""
    lines.append(f"ended {age(now - last.wall)} ago{because}: {what}")
    return "\n".join([*map(one_line, lines), *map(_indented, last.traceback.splitlines())])


def _indented(line: str) -> str:
    """Return a line of a traceback, with its indentation."""
    body = line.lstrip(" ")
    return " " * (len(line) - len(body)) + one_line(body)


def _ordered(found: Sequence[PlaceView], view: View) -> Sequence[PlaceView]:
    order = None if view.sort is None else PLACE_ORDERS.get(view.sort)
    return found if order is None else sorted(found, key=order)


def _matches(view: View, *texts: str) -> bool:
    return any(view.words in text.lower() for text in texts)


# Services ---------------------------------------------------------------------


def _service_rows(snapshot: Snapshot, view: View) -> Iterator[Row]:
    order = None if view.sort is None else SERVICE_ORDERS.get(view.sort)
    found = snapshot.services if order is None else sorted(snapshot.services, key=order)
    for service in found:
        members = [member.name for member in service.members]
        if view.words and not _matches(view, service.address, *members):
            continue
        yield Row(
            f"service {service.address}",
            (
                one_line(service.address, 60),
                count(len(members)) if service.served else "topic",
                count(service.waiting),
                count(service.in_flight),
                count(service.dead),
                per_second(service.told),
                per_second(service.done),
                per_second(service.asked),
                seconds(service.p50),
                seconds(service.p99),
            ),
            _service_tone(service),
            f"{one_line(service.address)}: {one_line(', '.join(members) or 'no members')}",
        )


def _service_tone(service: ServiceView) -> Tone:
    if service.served and not service.members:
        return "bad"
    return "warning" if service.grows or service.dead else "plain"
