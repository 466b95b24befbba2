"""For tests: servers that do wrong, and messages of one process that travel all the same.

A test that passes while its node's own broker and relay lose things shows what happens on a
bad day. `irismq_runtime.simulation` has the rest: kills, networks that are cut, and time.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from actors import ProxyCall, Reply, current_system
from irismq_runtime.node.current import RUNNING
from irismq_runtime.wire import Serializer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import CallNext, Context
    from irismq_runtime.embedded import Faults, NsqdFaults
    from irismq_runtime.node import Node

__all__ = ["all_travel", "faulty"]


async def all_travel(_context: Context, message: Any, call_next: CallNext) -> Any:
    """A middleware with which what is sent within a process is encoded as well.

    `Node.embedded(middleware=[all_travel])` or `System("test", middleware=[all_travel])`: each
    handler gets its message as from another process, a copy that is checked, and so does who
    asked the answer. What cannot travel fails here, and not first in production. Calls
    through a proxy, answers that come later and the items of a stream are as they are.

    Args:
        message: What is handled.
        call_next: The handler, or the next middleware.

    Returns:
        The answer.

    Raises:
        EncodeError: The message, or the answer, cannot be written.
        ValidationError: It does not fit its own type.
    """
    if isinstance(message, ProxyCall):
        return await call_next(message)
    system = current_system()
    node = None if system is None else RUNNING.get(system)
    serializer = Serializer() if node is None else node.parts.outbound.packer.serializer
    answer = await call_next(_again(serializer, message))
    return answer if isinstance(answer, Reply | AsyncIterable) else _again(serializer, answer)


def _again(serializer: Serializer, value: Any) -> Any:
    type_name, body, codec_name = serializer.dump(value, None)
    return serializer.load(type_name, body, codec_name)


@contextmanager
def faulty(
    node: Node, *, broker: NsqdFaults | None = None, relay: Faults | None = None
) -> Iterator[None]:
    """Let the servers of an embedded node do wrong within the block.

        with faulty(node, broker=NsqdFaults(lose_finish=0.3), relay=Faults(lose_replies=0.3)):
            ...

    Args:
        node: One of `Node.embedded()`, entered.
        broker: What its broker does wrong; None: what it did before.
        relay: What its relay does wrong; None: what it did before.

    Raises:
        ValueError: The node has no such server of its own.
    """
    own: dict[str, Any] = {server.name: server for server in node.own_servers.own}
    with ExitStack() as stack:
        for name, faults in (("nsqd", broker), ("iris", relay)):
            if faults is None:
                continue
            if name not in own:
                raise ValueError(f"the node runs no {name} of its own: use Node.embedded()")
            stack.callback(own[name].faults, own[name].faults(faults))
        yield
