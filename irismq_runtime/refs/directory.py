"""What refs ask of presence: who serves an address, and whether that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import ActorRef
    from irismq_runtime.refs.peer import PeerRef

__all__ = ["MemberInfo", "ServiceDirectory", "Watching"]


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One actor that serves an address.

    Attributes:
        node: The id of its node.
        name: The name of its node, for people.
        address: What it serves.
        urn: Its urn on that node.
    """

    node: str
    name: str
    address: str
    urn: str


class ServiceDirectory(Protocol):
    """Presence as refs see it. An aid: when not `trusted`, deadlines decide."""

    @property
    def trusted(self) -> bool:
        """True while this node hears announcements, its own among them."""
        ...

    @property
    def settling(self) -> bool:
        """True shortly after the start, while other nodes still introduce themselves."""
        ...

    @property
    def whole(self) -> bool:
        """Whether all that nodes have announced of themselves is known."""
        ...

    def nobody_serves(self, address: str) -> bool:
        """Whether it is certain that nobody serves `address`: `trusted`, and `whole`."""
        ...

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once `settling` is over, at once when it is already."""
        ...

    def when_known(self, address: str, callback: Callable[[], None]) -> None:
        """Call `callback` when somebody who serves `address` is confirmed.

        At the latest once it is clear that nobody is: after settling, or after all
        nodes have been asked whether they serve it. Those who are expected
        get longer; while the relay is away it is called at once.
        """
        ...

    def is_confirmed(self, cluster: str) -> bool:
        """Whether a member of `cluster` is known, and was heard since the relay was away."""
        ...

    def is_expected(self, cluster: str) -> bool:
        """Whether a member of `cluster` was known, and is yet to be heard again."""
        ...

    def serves(self, address: str) -> bool:
        """Whether anybody is known to serve `address`."""
        ...

    def members(self, address: str) -> tuple[MemberInfo, ...]:
        """Everybody known to serve `address`."""
        ...

    def on_change(self, listener: Callable[[Any], None]) -> None:
        """Call `listener` for each member or node that comes or goes, from now on."""
        ...

    def knows_node(self, node_id: str) -> bool:
        """Whether the node is known to be up."""
        ...


class Watching(Protocol):
    """Death watch across nodes, as a `PeerRef` needs it."""

    def add(self, peer: PeerRef, watcher: ActorRef[Any]) -> None:
        """Tell `watcher` a `Terminated` when that actor, or its node, is gone."""
        ...

    def remove(self, peer: PeerRef, watcher: ActorRef[Any]) -> None:
        """Forget the above."""
        ...
