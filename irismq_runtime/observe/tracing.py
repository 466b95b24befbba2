"""The interface between the runtime and tracing; it knows nothing of OpenTelemetry.

`tracing_of` gives the tracing of a node, or None: when the extra `otel` is not
installed, or the program has set no tracer provider. None is what the hot paths
test, once for each message; that is all that tracing costs then.

A trace is carried from node to node in the header "tp" (W3C traceparent):

    who sends     a span of the sending (PRODUCER or CLIENT), child of the span in
                  force; its own traceparent goes into the header
    who handles   a span of the handling (CONSUMER or SERVER), child of that one, in
                  force while the handler runs: what it sends and the spans it makes
                  itself are its children

A sender inside a span goes by what was decided there: sampled or not. Outside of
any, a node begins at most `limit` traces a second by itself, so that tracing a
busy node costs what tracing a quiet one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager

    from actors import Clock
    from actors.delivery import Scope

__all__ = ["TRACES_PER_SECOND", "Sending", "Tracing", "tracing_of"]

#: Traces that a node begins by itself in a second.
TRACES_PER_SECOND: Final = 100

#: Kept in the headers under this key; see `wire.headers`.
TRACEPARENT: Final = "tp"


class Sending(Protocol):
    """The span of something that was sent."""

    def end(self, error: BaseException | None = None, *, members: int | None = None) -> None:
        """It is done: confirmed, answered, or failed. Once."""
        ...


class Tracing(Protocol):
    """The tracing of one node. Senders on any thread, the rest on the loop."""

    def tell(
        self, headers: dict[str, object], address: str, message: object, *, system: str
    ) -> Sending | None:
        """A tell or an event is about to be packed; sets its traceparent.

        `system`: "nsq" or "iris", what carries it. None: it is not sampled.
        """
        ...

    def ask(
        self, headers: dict[str, object], target: str, message: object, *, method: str = ""
    ) -> Sending | None:
        """An ask is about to be packed; as `tell`. `method`: instead of the message's type."""
        ...

    def consumer(
        self,
        headers: Mapping[str, Any],
        address: str,
        *,
        system: str,
        about: Callable[[], Mapping[str, Any]],
    ) -> Scope | None:
        """A message that nobody waits for came; `about` gives further attributes.

        None: there is nothing to carry on.
        """
        ...

    def server(
        self,
        headers: Mapping[str, Any],
        address: str,
        message: object,
        about: Callable[[], Mapping[str, Any]],
    ) -> Scope | None:
        """A request came; as `consumer`."""
        ...

    @property
    def in_force(self) -> Collection[object]:
        """The scopes that are in force in handlers now."""
        ...

    def here(self) -> Scope | None:
        """What is in force where it is called, for local messages; None: nothing is."""
        ...

    def conversation(
        self, headers: Mapping[str, Any], address: str, method: str
    ) -> AbstractContextManager[object]:
        """What a tunnel's serving end does, from its first message to its end.

        `method`: "tunnel", or the type of the message that asks for a stream.
        """
        ...


def tracing_of(clock: Clock, limit: int) -> Tracing | None:
    """The tracing of a node that begins at most `limit` traces a second; see the module."""
    try:
        from irismq_runtime.observe.otel import open_tracing
    except ImportError:
        return None
    return open_tracing(clock, limit)
