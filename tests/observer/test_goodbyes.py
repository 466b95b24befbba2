"""What the others hear and see of a node whose tree gave up, on servers of ours."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from tornado.httpclient import AsyncHTTPClient

from actors import Actor, receives
from irismq_runtime import Node
from irismq_runtime.observe.events import PresenceGone
from irismq_runtime.observer import Gatherer
from irismq_runtime.observer.page import ObserverPage, new_token
from supervisors import Supervisor, child
from tests.support.until import until


class Brittle(Actor):
    """Breaks at the first word."""

    address = "seen.brittle"

    @receives(str)
    def hear(self, word: str) -> None:
        raise ValueError(word)


class Unspeakable(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Mute(Actor):
    """Breaks, and cannot say of what."""

    address = "seen.mute"

    @receives(str)
    def hear(self, word: str) -> None:
        raise Unspeakable


TREE = Supervisor.of(child(Brittle, name="brittle"), max_restarts=0, name="top")


class Sight:
    """A node with the page and the events, and another one that is looked at."""

    def __init__(self, eye, other, gatherer, page):
        self.eye = eye
        self.other = other
        self.gatherer = gatherer
        self.page = page
        self.gone = []
        self.unsubscribe = eye.on_event(self._take)

    def _take(self, record):
        if isinstance(record, PresenceGone):
            self.gone.append((record.node, record.why))

    async def seen(self):
        """The node as the page has it, once it is there no more."""
        client = AsyncHTTPClient(force_instance=True)
        try:
            while True:
                await self.gatherer.changed(self.gatherer.latest.version)
                answer = await client.fetch(f"{self.page.url}api/snapshot", request_timeout=60.0)
                told = json.loads(answer.body)
                if told["nodes"][self.other.id]["state"] not in {"new", "up"}:
                    return told["nodes"][self.other.id], told["problems"]
        finally:
            client.close()


@pytest.fixture
async def sight():
    async with Node.embedded(name="eye") as eye:
        where = {name: eye.endpoints[name] for name in ("nsqd", "iris")}
        async with (
            Node(name="shop", drain=3.0, **where) as other,
            Gatherer(eye) as gatherer,
            ObserverPage(gatherer, nsqd=[], token=new_token()) as page,
        ):
            made = Sight(eye, other, gatherer, page)
            await until(lambda: (view := gatherer.latest.node(other.id)) and view.ready)
            yield made
            made.unsubscribe()


async def given_up(sight, tree, address):
    """The node and the reason of the goodbye after a message that `tree` does not survive."""
    await sight.other.start(tree)
    with suppress(Exception):  # it crashes of it; that of a stored message would not count
        await sight.eye.ref(address).ask("anything")
    await until(lambda: not sight.other.health().live)
    await sight.other.stop()
    await until(lambda: sight.gone)
    (goodbye,) = sight.gone
    return goodbye


async def test_a_tree_that_gave_up_is_told_to_the_others_with_its_exit(sight):
    node, why = await given_up(sight, TREE, "seen.brittle")
    assert node == sight.other.id
    assert why.startswith("tree gave up: shutdown (RestartLimitReached: ")
    assert "ValueError: anything" in why
    view, problems = await sight.seen()
    assert (view["state"], view["why"]) == ("left", why)
    assert [(p["kind"], p["severity"]) for p in problems] == [("gave-up", "error")]
    assert problems[0]["text"].startswith("shop ended by itself: tree gave up: shutdown")


async def test_an_end_that_was_asked_for_is_no_more_than_that(sight):
    await sight.other.start(TREE)
    await sight.other.stop()
    await until(lambda: sight.gone)
    assert sight.gone == [(sight.other.id, "")]
    view, problems = await sight.seen()
    assert (view["state"], view["why"], problems) == ("left", "", [])


async def test_an_error_without_a_text_ends_the_node_all_the_same(sight):
    _, why = await given_up(sight, Mute, "seen.mute")
    assert why.startswith(
        "tree gave up: crash (Unspeakable: (its text cannot be had: RuntimeError))"
    )
