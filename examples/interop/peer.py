"""A full peer of irismq nodes that imports nothing of irismq.

It is written from docs/protocol.md: every kind of envelope, every verb, in both
directions, presence, death watch, dead letters, and signatures when it is given
a key. It serves the address `interop.peer`. One thread; each line it prints is
one thing that it saw:

    python -m examples.interop.peer IRIS_HOST:PORT NSQD_HOST:PORT [KEY_ID=HEX]
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from examples.interop import envelopes as e
from examples.interop.plain_iris import BROADCAST, PUBLISH, REQUEST, Relay
from examples.interop.plain_nsq import Nsqd
from examples.interop.plain_tunnel import PlainTunnel

NAME = "interop.peer"
DESK = "interop.desk"
SOLD = "interop.sold"
NEWS = "interop.news"
EVERYBODY = "irismq.nodes"
URN = "urn:peer:1"


def show(what: str, value: object) -> None:
    """Print one line of what happened."""
    print(json.dumps({what: value}, default=str), flush=True)


class Talk:
    """One end of a tunnel to `cluster`; `verb` is "open" or "accept".

    All that is said in it has the id of its opening, and what comes after that is
    counted by each end, so that with keys nothing is left out or put in.
    """

    def __init__(self, peer: Peer, tunnel: PlainTunnel, cluster: str, verb: str) -> None:
        self.peer, self.tunnel = peer, tunnel
        self.mine = f"{verb} {cluster}"
        self.theirs = f"{'accept' if verb == 'open' else 'open'} {cluster}"
        self.id = b""
        self.said = self.heard = 0

    def begin(self, kind: int, body: object = None, **elements: Any) -> None:
        """Say what the tunnel is for."""
        self.id = os.urandom(16)
        self.tunnel.send(self.peer.pack(self.mine, kind, body, id=self.id, **elements))

    def say(self, kind: int, body: object = None) -> None:
        """Say what follows."""
        self.said += 1
        data = self.peer.pack(self.mine, kind, body, id=self.id, q=self.said)
        self.tunnel.send(data)

    def hear(self) -> e.Envelope:
        """Read what the other end says next."""
        said = self.peer.unpack(self.theirs, self.tunnel.receive() or b"")
        if not self.id:
            self.id = said.id
            return said
        self.heard += 1
        if self.peer.key and (said.id, said.headers.get("q")) != (self.id, self.heard):
            raise ValueError("not what follows in this tunnel")
        return said


class Peer:
    """The connections of the peer, and the steps of its conversation."""

    def __init__(self, iris: tuple[str, int], nsqd: tuple[str, int], key: e.Key | None) -> None:
        self.id = f"peer-{os.urandom(8).hex()}"
        self.key = key
        self.nodes = Relay(*iris, EVERYBODY)
        self.private = Relay(*iris, self.own)
        self.member = Relay(*iris, NAME)
        self.client = Relay(*iris)
        self.client.subscribe(SOLD)
        self.producer = Nsqd(*nsqd)
        self.mailbox, self.sold, self.dead = (Nsqd(*nsqd) for _ in range(3))
        self.mailbox.subscribe(NAME, "mailbox")
        self.sold.subscribe(SOLD, "peer")
        self.sold.forget(SOLD, self.producer)
        self.dead.subscribe(f"{DESK}.dead", "peer")

    # Envelopes ----------------------------------------------------------------

    def pack(self, place: str, kind: int, body: object = None, **elements: Any) -> bytes:
        """Pack an envelope of this node for one place: a verb and a name."""
        return e.pack(kind, body, key=self.key, place=place, n=self.id, **elements)

    def unpack(self, place: str, data: bytes) -> e.Envelope:
        """Read one; with a key, one that is not signed for this place is an error."""
        return e.unpack(data, self.key, place)

    @property
    def own(self) -> str:
        """The private cluster."""
        return f"irismq.node.{self.id}"

    def ask(self, body: object, *, cluster: str = DESK, **elements: Any) -> Any:
        """Ask one member; its answer, or the fault it answered with."""
        own = os.urandom(16)
        request = self.pack(f"request {cluster}", e.ASK, body, id=own, d=5000, **elements)
        answer = self.unpack(f"reply {cluster}", self.client.request(cluster, request))
        if answer.id != own or answer.kind not in {e.REPLY, e.ERROR}:
            raise ValueError(f"not the answer to this ask: {answer}")
        return answer.body

    def order(self, item: str, **fields: object) -> dict[str, Any]:
        """Return the elements of a `desk.order`."""
        return {"body": {"item": item, **fields}, "type": "desk.order"}

    def heard(self) -> e.Envelope:
        """The next live event."""
        return self.unpack(f"publish {SOLD}", self.client.next(PUBLISH)[1])

    def taken(self) -> e.Envelope:
        """The next stored event."""
        return self.unpack(f"store {SOLD}", self.sold.take())

    # Presence -----------------------------------------------------------------

    def announce(self, state: str = "up", want: str = "") -> None:
        """Say what this node serves, and ask the others to do the same."""
        said = {
            "node": self.id,
            "name": "peer",
            "state": state,
            "v": 1,
            "period": 60.0,
            "serves": [[NAME, URN]],
        }
        if want:
            said["want"] = want
        place = f"broadcast {EVERYBODY}"
        self.client.send(BROADCAST, EVERYBODY, self.pack(place, e.PRESENCE, said))

    def meet(self) -> str:
        """Announce; return the id of the node that serves the desk."""
        self.announce(want="*")
        while True:
            data = self.nodes.next(BROADCAST)[0]
            said = self.unpack(f"broadcast {EVERYBODY}", data).body
            if DESK in dict(said.get("serves", ())):
                show("serves the desk", said["name"])
                node: str = said["node"]
                return node

    # This peer to the actor ---------------------------------------------------

    def ask_in_every_way(self) -> None:
        """Answers, and each kind of fault."""
        show("receipt", self.ask(**self.order("tea", count=2)))
        fault = self.ask(**self.order("gold"))
        show("refused", [fault["kind"], fault["text"], fault["code"]])
        fault = self.ask(**self.order("tea", count="two"))
        show("invalid", [fault["kind"], fault["code"]])
        history = self.ask({"what": "history"}, type="desk.do")
        show("objects inside", [[receipt.type, receipt.fields["item"]] for receipt in history])
        fault = self.ask({"what": "crash"}, type="desk.do")
        show("crashed", [fault["kind"], fault["type"], fault["text"]])
        show("unknown", self.ask({}, type="desk.nothing")["code"])
        call = {"name": "price", "args": ["tea"], "kwargs": {"count": 3}}
        show("method", self.ask(call, type="irismq.call"))

    def tell_in_every_way(self) -> None:
        """To the mailbox, later, to all; stored and live events."""
        stored = f"store {DESK}"
        self.producer.publish(DESK, self.pack(stored, e.TELL, **self.order("milk")))
        show("stored event", self.taken().body["item"])  # tea, asked for
        show("stored event", self.taken().body["item"])
        due = time.time() + 0.2
        later = self.pack(stored, e.TELL, **self.order("jam"), t=int(due * 1000))
        self.producer.publish(DESK, later)
        event = self.taken()
        show("not before its time", event.body["item"] == "jam" and time.time() >= due)
        past = int(time.time() * 1000) - 1
        self.producer.publish(DESK, self.pack(stored, e.TELL, **self.order("late"), x=past))
        everybody = self.pack(f"broadcast {DESK}", e.TELL, **self.order("sugar"))
        self.client.send(BROADCAST, DESK, everybody)
        show("stored event", self.taken().body["item"])
        live = [self.heard().body["item"] for _ in range(4)]
        show("live events", live)
        self.producer.publish(NEWS, self.pack(f"store {NEWS}", e.EVENT, "stored news"))
        self.client.send(PUBLISH, NEWS, self.pack(f"publish {NEWS}", e.EVENT, "live news"))

    def ask_everybody(self) -> None:
        """The answers come to the private cluster, as requests to acknowledge."""
        own = os.urandom(16)
        place = f"broadcast {DESK}"
        question = self.pack(place, e.ASK, **self.order("buns"), id=own, d=5000)
        self.client.send(BROADCAST, DESK, question)
        number, data, _ = self.private.next(REQUEST)
        self.private.reply(number, b"taken")
        answer = self.unpack(f"reply {self.own}", data)
        show("from a member", [answer.id == own, "s" in answer.headers, answer.type])

    def give_up_an_ask(self) -> None:
        """A cancelled ask cancels its handler."""
        own = os.urandom(16)
        wait = {"what": "wait"}
        question = self.pack(f"request {DESK}", e.ASK, wait, type="desk.do", id=own, d=20_000)
        self.client.send(REQUEST, self.client.new_id(), DESK, question, 20_000)
        while self.heard().body != "waiting":
            pass
        self.client.send(BROADCAST, DESK, self.pack(f"broadcast {DESK}", e.CANCEL, id=own))
        show("handler", self.heard().body)

    def converse(self) -> None:
        """Hold a conversation in a tunnel, then read a stream."""
        talk = Talk(self, PlainTunnel.open(self.client, DESK), DESK, "open")
        talk.begin(e.TELL)
        for text in ("good day", "x" * 200_000):
            talk.say(e.STREAM, text)
            answer = talk.hear().body
            show("in the tunnel", answer if len(answer) < 20 else len(answer))
        talk.tunnel.close()
        talk = Talk(self, PlainTunnel.open(self.client, DESK), DESK, "open")
        talk.begin(e.ASK, {"last": 3}, type="desk.count")
        items = []
        while (item := talk.hear()).kind == e.STREAM:
            items.append(item.body)
        show("stream", [*items, "END" if item.kind == e.END else item.body])
        talk.tunnel.close()

    def watch_one_actor(self, node: str) -> None:
        """Reach one actor of one node, and hear of its end."""
        clerk = self.ask({"what": "clerk"}, type="desk.do")
        node_of_clerk, _, urn = clerk.text.partition("/")
        show("the clerk is there", node_of_clerk == node)
        private = f"irismq.node.{node}"
        watch = {"urn": urn, "watcher": self.id}
        show("it lives", self.ask(watch, cluster=private, type="irismq.watch", to="@node"))
        show("one actor", self.ask("hello", cluster=private, to=urn))
        self.ask("retire", cluster=private, to=urn)
        ended = self.unpack(f"broadcast {self.own}", self.private.next(BROADCAST)[0])
        show("ended", [ended.type, ended.body["urn"] == urn, ended.body["reason"]])
        fault = self.ask("hello", cluster=private, to=urn)
        show("after its end", fault["kind"])

    def read_a_dead_letter(self) -> None:
        """What the actor rejects is stored whole, and can be told again."""
        own = os.urandom(16)
        place = f"store {DESK}"
        told = self.pack(place, e.TELL, {"what": "reject"}, type="desk.do", id=own)
        self.producer.publish(DESK, told)
        while (letter := self.unpack(f"store {DESK}.dead", self.dead.take())).id != own:
            pass  # one of an earlier conversation
        same = letter.body["body"] == told and letter.body["id"] == own == letter.id
        show("dead letter", [letter.kind == e.DEAD, letter.body["reason"], same])

    # The actor to this peer ---------------------------------------------------

    def be_visited(self) -> None:
        """Answer everything that a node can send to a service."""
        visit = self.pack(f"store {DESK}", e.TELL, {"address": NAME}, type="desk.visit")
        self.producer.publish(DESK, visit)
        asked = self.answer(e.REPLY, "with butter")
        show("asked", [asked.type, asked.body["item"]])
        fault = {"kind": "refused", "text": "nor have I", "code": "no-gold"}
        show("asked", self.answer(e.ERROR, fault).body["item"])
        question = self.unpack(f"broadcast {NAME}", self.member.next(BROADCAST)[0])
        asker = f"irismq.node.{question.headers['n']}"
        place = f"reply {asker}"
        answer = self.pack(place, e.REPLY, 7, id=question.id, s=f"{self.id}/{URN}")
        self.client.request(asker, answer)
        show("asked with all", [question.body["item"], question.headers["d"] > 0])
        talk = Talk(self, PlainTunnel.accept(self.member), NAME, "accept")
        asked = talk.hear()
        for number in range(asked.body["last"]):
            talk.say(e.STREAM, number)
        talk.say(e.END)
        talk.tunnel.receive()  # the reader closes; to close here might overtake the END
        talk = Talk(self, PlainTunnel.accept(self.member), NAME, "accept")
        hello, text = talk.hear(), talk.hear()
        talk.say(e.STREAM, f"{text.body} to you")
        show("in its tunnel", [hello.kind == e.TELL, hello.body, text.body])
        talk.tunnel.receive()
        show("told", self.unpack(f"store {NAME}", self.mailbox.take()).body["item"])
        heard = self.unpack(f"broadcast {NAME}", self.member.next(BROADCAST)[0])
        show("told with all", heard.body)

    def answer(self, kind: int, body: object) -> e.Envelope:
        """Answer the next request."""
        number, data, _ = self.member.next(REQUEST)
        asked = self.unpack(f"request {NAME}", data)
        self.member.reply(number, self.pack(f"reply {NAME}", kind, body, id=asked.id))
        return asked

    def leave(self) -> None:
        """Say goodbye and end every connection in order."""
        self.announce("bye")
        for relay in (self.client, self.member, self.private, self.nodes):
            relay.close()
        for nsqd in (self.producer, self.mailbox, self.sold, self.dead):
            nsqd.close()


def endpoint(text: str) -> tuple[str, int]:
    """Return host and port of "host:port"."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run the whole conversation."""
    iris, nsqd, *keys = sys.argv[1:]
    key = None
    for text in keys:
        name, _, secret = text.partition("=")
        key = e.Key(name, bytes.fromhex(secret))
    peer = Peer(endpoint(iris), endpoint(nsqd), key)
    node = peer.meet()
    peer.ask_in_every_way()
    peer.tell_in_every_way()
    peer.ask_everybody()
    peer.give_up_an_ask()
    peer.converse()
    peer.watch_one_actor(node)
    peer.read_a_dead_letter()
    peer.be_visited()
    peer.leave()


if __name__ == "__main__":
    main()
