"""A program that knows nothing of irismq, and talks to an actor all the same.

It speaks JSON over a plain Iris relay connection and a plain NSQ connection. To
the rest of the world it is the address `interop.stranger`: a member of that
cluster, and a consumer of that topic. Each line that it prints is one thing it
was told or answered:

    python -m examples.interop.stranger IRIS_HOST:PORT NSQD_HOST:PORT
"""

from __future__ import annotations

import json
import sys
from typing import Any

from examples.interop.plain_iris import BROADCAST, PUBLISH, REQUEST, FaultError, Relay
from examples.interop.plain_nsq import Nsqd

NAME = "interop.stranger"
DESK = "interop.desk"
SOLD = "interop.sold.json"
NEWS = "interop.news"


def show(what: str, value: object) -> None:
    """Print one line of what happened."""
    print(json.dumps({what: value}), flush=True)


def packed(value: object) -> bytes:
    """Return `value` as it goes over the wire."""
    return json.dumps(value).encode()


class Stranger:
    """The connections of the program; each is used by one step at a time."""

    def __init__(self, iris: tuple[str, int], nsqd: tuple[str, int]) -> None:
        self.member = Relay(*iris, NAME)
        self.client = Relay(*iris)
        self.client.subscribe(SOLD)
        self.producer = Nsqd(*nsqd)
        self.mailbox = Nsqd(*nsqd)
        self.mailbox.subscribe(NAME, "mailbox")
        self.sold = Nsqd(*nsqd)
        self.sold.subscribe(SOLD, "stranger")
        self.sold.forget(SOLD, self.producer)

    def ask(self, value: object) -> Any:
        """Ask the actor; its answer, or its fault as text."""
        try:
            return json.loads(self.client.request(DESK, packed(value)))
        except FaultError as fault:
            return str(fault)

    def talk_to_the_actor(self) -> None:
        """Ask, tell, tell-all, publish; and listen to what the actor publishes."""
        show("answer", self.ask({"order": "tea"}))
        show("stored event", json.loads(self.sold.take()))
        show("live event", json.loads(self.client.next(PUBLISH)[1]))
        show("fault", self.ask({"order": "gold"}))
        self.producer.publish(DESK, packed({"order": "milk"}))
        show("stored event", json.loads(self.sold.take()))
        self.client.send(BROADCAST, DESK, packed({"order": "sugar"}))
        show("stored event", json.loads(self.sold.take()))
        self.producer.publish(NEWS, packed({"news": "stored"}))
        self.client.send(PUBLISH, NEWS, packed({"news": "live"}))

    def be_talked_to(self) -> None:
        """Have the actor ask, tell and tell-all this program."""
        self.producer.publish(DESK, packed({"visit": NAME}))
        number, question, _ = self.member.next(REQUEST)
        show("asked", json.loads(question))
        self.member.reply(number, packed({"cups": 2}))
        number, question, _ = self.member.next(REQUEST)
        show("asked", json.loads(question))
        self.member.fail(number, "no coffee here")
        show("told", json.loads(self.mailbox.take()))
        show("told with all", json.loads(self.member.next(BROADCAST)[0]))

    def close(self) -> None:
        """End every connection in order."""
        for connection in (self.member, self.client, self.producer, self.mailbox, self.sold):
            connection.close()


def endpoint(text: str) -> tuple[str, int]:
    """Return host and port of "host:port"."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run the whole conversation."""
    stranger = Stranger(endpoint(sys.argv[1]), endpoint(sys.argv[2]))
    stranger.talk_to_the_actor()
    stranger.be_talked_to()
    stranger.close()


if __name__ == "__main__":
    main()
