"""Finds what is wrong in the system at one moment. Pure.

Each problem has a key that names it as long as it lasts, and the time since when
it is so. A dead node stays a problem until a node of the same name has come after
it, or until it is forgotten.
"""

from __future__ import annotations

import bisect
import difflib
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from irismq_runtime.messaging import MAILBOX_CHANNEL
from irismq_runtime.observer.model import PlaceView, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from irismq_runtime.observer.model import BrokerView, NodeView, ProblemKind, ServiceView

__all__ = ["kept_since", "places", "problems"]

#: The kinds for which somebody should get up at night.
_ERRORS: Final = frozenset({"relay", "dead-node", "gave-up", "crash-loop", "unserved"})
#: How alike a mistyped address is to one that is served, from 0 to 1.
_ALIKE: Final = 0.7
#: With how many on each side it is compared.
_NEAR: Final = 100


def places(trees: Iterable[PlaceView]) -> Iterator[PlaceView]:
    """All places of some trees, each before those below it."""
    for place in trees:
        yield place
        yield from places(place.children)


def problems(
    nodes: Sequence[NodeView],
    services: Sequence[ServiceView],
    brokers: Sequence[BrokerView],
    *,
    arrived: Mapping[str, int],
    unready: Mapping[str, bool],
    cut_off: str,
    now: float,
    unattended: Mapping[tuple[str, str], int] = MappingProxyType({}),
    letters: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Problem, ...]:
    """What is wrong, the worst first. `now`: wall-clock seconds.

    `arrived`: dead letters that came lately, by address; `letters`: all that are there.
    `unattended`: messages that nobody takes, by address and channel. `unready`: the nodes whose
    lack of readiness has lasted. `cut_off`: why nobody can be asked now; then nothing
    is said of nodes, since nothing is known.
    """
    found = [
        *(_of_relay(cut_off, now) if cut_off else _of_nodes(nodes, unready, now)),
        *_of_unattended(services, unattended, now),
        *_of_services(services, arrived, letters, now),
        *_of_brokers(brokers, now),
    ]
    return tuple(sorted(found, key=_order))


def kept_since(before: Sequence[Problem], now: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems of `now`; one that was there before keeps its beginning."""
    began = {problem.key: problem.since for problem in before}
    dated = (
        msgspec.structs.replace(one, since=min(began.get(one.key, one.since), one.since))
        for one in now
    )
    return tuple(sorted(dated, key=_order))


def _order(problem: Problem) -> tuple[bool, float, str]:
    return (problem.severity != "error", -problem.since, problem.key)


def _of_relay(reason: str, now: float) -> Iterator[Problem]:
    text = f"the relay does not answer, so nothing new is known of the nodes: {reason}"
    yield _problem("relay", "relay", text, now)


def _of_nodes(
    nodes: Sequence[NodeView], unready: Mapping[str, bool], now: float
) -> Iterator[Problem]:
    newest: dict[str, float] = {}
    for node in nodes:
        if node.state in {"new", "up"}:
            newest[node.name] = max(node.since, newest.get(node.name, node.since))
    for node in nodes:
        if node.state != "up":
            yield from _of_node(node, replaced=newest.get(node.name, -math.inf) >= node.since)
            continue
        if unready.get(node.id):
            reasons = "; ".join(node.reasons[:3]) or "it does not say why"
            yield _problem("not-ready", node.name, f"not ready: {reasons}", now, node)
        for place in places(node.trees):
            yield from _of_place(node, place, now)


def _of_node(node: NodeView, *, replaced: bool) -> Iterator[Problem]:
    if node.state == "silent":
        text = f"{node.name} does not answer: {node.error or 'no reason known'}"
        yield _problem("dead-node", node.name, text, node.since, node)
    elif node.state == "lost" and not replaced:
        text = f"{node.name} is gone without a goodbye"
        yield _problem("dead-node", node.name, text, node.since, node)
    elif node.why and not replaced:
        text = f"{node.name} ended by itself: {node.why}"
        yield _problem("gave-up", node.name, text, node.since, node)


def _of_place(node: NodeView, place: PlaceView, now: float) -> Iterator[Problem]:
    subject = "/".join(place.path)
    if place.loops:
        last = place.last
        cause = f": {last.error}: {last.text}" if last is not None and last.error else ""
        text = f"{place.name} crashes again and again{cause}"
        yield _problem("crash-loop", subject, text, now, node)
    if place.grows:
        text = f"the inbox of {place.name} grows: {place.inbox:,} wait"
        yield _problem("growing-mailbox", subject, text, now, node)


def _of_unattended(
    services: Sequence[ServiceView], unattended: Mapping[tuple[str, str], int], now: float
) -> Iterator[Problem]:
    """The commonest: a worker that was not started, an address that was mistyped."""
    served = [service.address for service in services if service.members]
    there = frozenset(served) if unattended else frozenset()
    for (address, channel), count in unattended.items():
        waits = f"{count:,} message{' waits' if count == 1 else 's wait'}"
        if channel not in {"", MAILBOX_CHANNEL}:
            text = f"{waits} in channel {channel} of {address}, which nobody consumes"
        elif address in there:
            text = f"{waits} for {address}: its members are there, but consume nothing"
        else:
            text = f"{waits} for {address}, which nobody serves: its worker is not running"
            alike = difflib.get_close_matches(address, _near(address, served), 1, _ALIKE)
            text += f", or was {alike[0]} meant?" if alike else ""
        subject = address if channel in {"", MAILBOX_CHANNEL} else f"{address}/{channel}"
        yield _problem("unserved", subject, text, now)


def _near(address: str, served: Sequence[str]) -> Sequence[str]:
    """Of many served addresses, which are sorted, those that it would stand among."""
    at = bisect.bisect(served, address)
    return served[max(0, at - _NEAR) : at + _NEAR]


def _of_services(
    services: Sequence[ServiceView],
    arrived: Mapping[str, int],
    letters: Mapping[str, int],
    now: float,
) -> Iterator[Problem]:
    for service in services:
        if service.grows:
            text = f"the mailbox of {service.address} grows: {service.waiting or 0:,} wait"
            yield _problem("growing-mailbox", service.address, text, now)
    for address in dict.fromkeys((*arrived, *letters)):
        lately, all_of_them = arrived.get(address, 0), letters.get(address, 0)
        text = f"{_letters(lately or all_of_them)} for {address}"
        text += " lately" if lately else ", see irismq dead list"
        if lately and all_of_them > lately:
            text += f", {all_of_them:,} in all"
        yield _problem("dead-letters", address, text, now)


def _letters(count: int) -> str:
    return "a dead letter" if count == 1 else f"{count:,} dead letters"


def _of_brokers(brokers: Sequence[BrokerView], now: float) -> Iterator[Problem]:
    for broker in brokers:
        if broker.error:
            text = f"nsqd at {broker.endpoint} does not answer HTTP: {broker.error}"
            yield _problem("broker", broker.endpoint, text, now)


def _problem(
    kind: ProblemKind,
    subject: str,
    text: str,
    since: float,
    node: NodeView | None = None,
) -> Problem:
    where = "" if node is None else node.id
    return Problem(
        key=f"{kind}:{where}:{subject}",
        kind=kind,
        severity="error" if kind in _ERRORS else "warning",
        text=text if len(text) <= 300 else f"{text[:299]}…",
        subject=subject,
        since=since,
        node=where,
    )
