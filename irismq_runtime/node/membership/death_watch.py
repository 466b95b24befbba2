"""Death watch across nodes: who is told when an actor elsewhere ends.

Each side keeps one table. The watching node asks the other once per actor,
however many local actors watch it, and asks again from time to time: a lost
message, a node that joined the relay again, an actor that ended unheard are all
found by the answer. When presence says that the whole node is gone, everyone who
watched an actor there is told at once. A restart is not an end. Loop thread only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actors import Exit, Terminated
from actors.errors import ActorDeadError, ActorError, Overloaded
from actors.runtime import forget_watched
from irismq_runtime.errors import ConnectionLost, RuntimeFault
from irismq_runtime.messaging import NODE_TARGET, Ended, Unwatch, Watch, private_cluster
from irismq_runtime.refs import PeerRef
from irismq_runtime.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef
    from actors.exits import ExitReason
    from irismq_runtime.node.membership.member_table import Change
    from irismq_runtime.refs import Outbound

__all__ = ["DeathWatch"]

_LOG = logging.getLogger("irismq.watch")

#: Seconds between two questions whether a watched actor is still there.
RECHECK = 10.0


class DeathWatch:
    """Both tables of one node: what it watches elsewhere, and who watches its actors.

    `attach` names the outbound half of the node before anything is watched.
    """

    def __init__(self, find: Callable[[str], ActorRef[Any] | None]) -> None:
        self._find = find
        self._out: Outbound | None = None
        #: Actors elsewhere, and the local actors that watch each.
        self._watched: dict[PeerRef, dict[ActorRef[Any], None]] = {}
        #: Local actors by urn, and the nodes that watch each.
        self._watchers: dict[str, dict[str, None]] = {}
        self._recheck_planned = False

    def attach(self, outbound: Outbound) -> None:
        """Send through `outbound`."""
        self._out = outbound

    @property
    def outbound(self) -> Outbound:
        """What is sent goes through here. Raises `RuntimeError` before `attach`."""
        if self._out is None:
            raise RuntimeError("the node has not started")
        return self._out

    # The watching side --------------------------------------------------------

    def add(self, peer: PeerRef, watcher: ActorRef[Any]) -> None:
        """See `refs.Watching`."""
        watchers = self._watched.get(peer)
        if watchers is None:
            self._watched[peer] = {watcher: None}
            self._ask(peer)
            self._plan_recheck()
        else:
            watchers[watcher] = None

    def remove(self, peer: PeerRef, watcher: ActorRef[Any]) -> None:
        """See `refs.Watching`."""
        watchers = self._watched.get(peer)
        if watchers is None:
            return
        watchers.pop(watcher, None)
        if not watchers:
            del self._watched[peer]
            own = self.outbound.packer.node_id
            self._send(peer.node_id, Unwatch(peer.actor_urn, own))

    def _ask(self, peer: PeerRef) -> None:
        own = self.outbound.packer.node_id
        node = PeerRef(self.outbound, peer.node_id, NODE_TARGET)
        question = node.ask(Watch(peer.actor_urn, own))
        task = self.outbound.loop.create_task(self._answered(peer, question))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _answered(self, peer: PeerRef, question: Any) -> None:
        try:
            alive = await question
        except ActorDeadError as error:
            self._ended(peer, error.exit or Exit("noproc"))
        except (ActorError, RuntimeFault) as error:
            # Not known: the next question, or presence, will tell.
            _LOG.debug("Watching %s: %s", peer, error)
        else:
            if not alive:
                self._ended(peer, Exit("noproc"))

    def _ended(self, peer: PeerRef, exit_: Exit) -> None:
        for watcher in self._watched.pop(peer, ()):
            forget_watched(watcher, peer)
            try:
                watcher.tell(Terminated(peer, exit_))  # type: ignore[arg-type]  # as given to watch
            except ActorError as error:
                _LOG.debug("A watcher of %s was not told: %s", peer, error)

    def _plan_recheck(self) -> None:
        if not self._recheck_planned:
            self._recheck_planned = True
            self.outbound.clock.call_later(RECHECK, self._recheck)

    def _recheck(self) -> None:
        self._recheck_planned = False
        for peer, watchers in list(self._watched.items()):
            for watcher in [w for w in watchers if not w.is_alive()]:
                self.remove(peer, watcher)
            if peer in self._watched:
                self._ask(peer)
        if self._watched:
            self._plan_recheck()

    def close(self) -> None:
        """Forget everybody; nothing is sent any more."""
        self._watched.clear()
        self._watchers.clear()

    def changed(self, change: Change) -> None:
        """Presence has news."""
        if change.kind != "gone":
            return
        gone = [peer for peer in self._watched if peer.node_id == change.node]
        cause = ConnectionLost(f"node {change.node}", "unknown", "it is not announced any more")
        for peer in gone:
            self._ended(peer, Exit("noproc", error=cause))
        for watchers in self._watchers.values():
            watchers.pop(change.node, None)

    def heard_end(self, ended: Ended) -> None:
        """A node says that an actor of its has ended."""
        error: BaseException | None = RuntimeError(ended.error) if ended.error else None
        exit_ = Exit(
            _reason(ended.reason),
            error=error,
            message_type=ended.message_type,
            wall=ended.wall,
            restarts=ended.restarts,
        )
        self._ended(PeerRef(self.outbound, ended.node, ended.urn), exit_)

    # The watched side ---------------------------------------------------------

    def watch_from(self, request: Watch) -> bool:
        """Another node asks to be told; False when there is nothing to watch."""
        ref = self._find(request.urn)
        if ref is None or not ref.is_alive():
            return False
        self._watchers.setdefault(request.urn, {})[request.watcher] = None
        return True

    def unwatch_from(self, request: Unwatch) -> None:
        """Another node does not care any more."""
        watchers = self._watchers.get(request.urn)
        if watchers is not None:
            watchers.pop(request.watcher, None)
            if not watchers:
                del self._watchers[request.urn]

    def local_end(self, ref: ActorRef[Any], exit_: Exit) -> None:
        """A local actor has ended: tell the nodes that watch it."""
        if not self._watchers:
            return
        nodes = self._watchers.pop(ref.actor_urn, None)
        if nodes is None:
            return
        message = Ended(
            node=self.outbound.packer.node_id,
            urn=ref.actor_urn,
            reason=exit_.reason,
            error=exit_.cause,
            message_type=exit_.message_type,
            wall=exit_.wall,
            restarts=exit_.restarts,
        )
        for node in nodes:
            self._send(node, message)

    def _send(self, node: str, message: object) -> None:
        cluster = private_cluster(node)
        _, data, _ = self.outbound.packer.new(
            Kind.TELL, message, {"to": NODE_TARGET}, None, "broadcast", cluster
        )
        try:
            self.outbound.addresses.broadcast(cluster, data)
        except (RuntimeFault, Overloaded) as error:
            # The other side asks again.
            _LOG.debug("Node %s was not told: %s", node, error)


def _reason(text: str) -> ExitReason:
    known: dict[str, ExitReason] = {
        "normal": "normal",
        "shutdown": "shutdown",
        "killed": "killed",
        "crash": "crash",
        "start_failed": "start_failed",
    }
    return known.get(text, "noproc")
