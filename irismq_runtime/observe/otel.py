"""Spans through OpenTelemetry's API; the only module that imports it.

The SDK, sampler and exporter are the program's choice: it sets a tracer provider
before it enters the node. Names follow the semantic conventions: "send ADDRESS"
and "process ADDRESS" for messages, "ADDRESS/TYPE" for asks, attributes
`messaging.*` and `rpc.*`. Bodies are never in an attribute; what an exception
says is, as everywhere in OpenTelemetry.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from actors import message_name
from irismq_runtime.observe.tracing import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors import Clock, Outcome
    from irismq_runtime.observe.tracing import Tracing

__all__ = ["open_tracing"]

#: Marks what is in force for a message, also below the spans of its handler.
_HANDLING: Final = contexts.create_key("irismq-handling")
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
#: Outcomes that say that something is wrong on the handling side.
_FAILURES: Final = frozenset({"crashed", "dead"})


def open_tracing(clock: Clock, limit: int) -> Tracing | None:
    """Spans of the provider that the program has set; None when it has set none."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return OtelTracing(provider.get_tracer("irismq_runtime"), clock, limit)


def parent_of_untrusted(headers: Mapping[str, Any]) -> SpanContext | None:
    """The remote span that a header names; None when there is none, or nonsense."""
    text = headers.get(TRACEPARENT)
    match = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 255 else None
    if match is None or match[1] == "ff":
        return None
    flags = TraceFlags(int(match[4], 16) & TraceFlags.SAMPLED)
    found = SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=flags)
    return found if found.is_valid else None


def traceparent(span: SpanContext) -> str:
    """The header of a span."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


class OtelTracing:
    """Fills `Tracing`."""

    __slots__ = ("_clock", "_left", "_limit", "_refilled", "_tracer")

    def __init__(self, tracer: trace.Tracer, clock: Clock, limit: int) -> None:
        self._tracer = tracer
        self._clock = clock
        self._limit = limit
        self._left = limit
        self._refilled = clock.monotonic()

    # Sending ------------------------------------------------------------------

    def tell(
        self, headers: dict[str, object], address: str, message: object, *, system: str
    ) -> _Sent | None:
        """See `Tracing`."""
        if not self._wanted(headers):
            return None
        attributes = {
            "messaging.system": system,
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": address,
            "irismq.message.type": _type_name(message),
        }
        return self._sent(headers, f"send {address}", SpanKind.PRODUCER, attributes)

    def ask(
        self, headers: dict[str, object], target: str, message: object, *, method: str = ""
    ) -> _Sent | None:
        """See `Tracing`."""
        if not self._wanted(headers):
            return None
        method = method or _type_name(message)
        # A peer's name has ids in it: it is an attribute and no part of the span's name.
        service = "peer" if "/" in target else target
        attributes = {
            "rpc.system": "irismq",
            "rpc.service": service,
            "rpc.method": method,
            "server.address": target,
        }
        return self._sent(headers, f"{service}/{method}", SpanKind.CLIENT, attributes)

    def _wanted(self, headers: dict[str, object]) -> bool:
        """Whether to make a span; what is in force and not sampled goes on as it is."""
        now = contexts.get_current()
        if now:
            span = trace.get_current_span(now).get_span_context()
            if span.is_valid:
                if span.trace_flags.sampled:
                    return True
                headers[TRACEPARENT] = traceparent(span)
                return False
        # A handler whose scope is left already still passes on the trace it was sent in.
        return TRACEPARENT not in headers and self._may_begin()

    def _may_begin(self) -> bool:
        if self._left <= 0:
            now = self._clock.monotonic()
            if now - self._refilled < 1.0:
                return False
            self._refilled = now
            self._left = self._limit
        self._left -= 1
        return self._left >= 0

    def _sent(
        self, headers: dict[str, object], name: str, kind: SpanKind, attributes: Mapping[str, Any]
    ) -> _Sent:
        span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        headers[TRACEPARENT] = traceparent(span.get_span_context())
        return _Sent(span)

    # Handling -----------------------------------------------------------------

    def consumer(
        self, headers: Mapping[str, Any], address: str, *, system: str, about: Mapping[str, Any]
    ) -> _Handling | None:
        """See `Tracing`."""
        parent = parent_of_untrusted(headers)
        if parent is None:
            return None
        attributes = {
            "messaging.system": system,
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": address,
            **about,
        }
        name = f"process {address}"
        return _Handling(self._tracer, parent, name, SpanKind.CONSUMER, attributes)

    def server(
        self, headers: Mapping[str, Any], address: str, message: object, about: Mapping[str, Any]
    ) -> _Handling | None:
        """See `Tracing`."""
        parent = parent_of_untrusted(headers)
        if parent is None:
            return None
        method = _type_name(message)
        attributes = {
            "rpc.system": "irismq",
            "rpc.service": address,
            "rpc.method": method,
            **about,
        }
        name = f"{address}/{method}"
        return _Handling(self._tracer, parent, name, SpanKind.SERVER, attributes)

    @contextmanager
    def conversation(self, headers: Mapping[str, Any], address: str, method: str) -> Iterator[None]:
        """See `Tracing`."""
        parent = parent_of_untrusted(headers)
        if parent is None:
            yield
            return
        with self._tracer.start_as_current_span(
            f"{address}/{method}",
            context=trace.set_span_in_context(NonRecordingSpan(parent), contexts.Context()),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "irismq", "rpc.service": address, "rpc.method": method},
        ):
            yield


class _Sent:
    """Fills `Sending`."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, error: BaseException | None = None, *, members: int | None = None) -> None:
        """See `Sending`."""
        span = self._span
        if error is not None:
            _fail(span, error)
        if members is not None:
            span.set_attribute("irismq.members.answered", members)
        span.end()


class _Handling:
    """Fills `actors.delivery.Scope`; the span begins when the handler does.

    What is in force is put back only where it was put in force: an actor that is
    killed meanwhile loses its context with its incarnation.
    """

    __slots__ = (
        "_attributes",
        "_before",
        "_context",
        "_kind",
        "_name",
        "_parent",
        "_span",
        "_tracer",
    )

    def __init__(
        self,
        tracer: trace.Tracer,
        parent: SpanContext,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
    ) -> None:
        self._tracer = tracer
        self._parent = parent
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._span: trace.Span | None = None
        self._context: contexts.Context | None = None
        self._before: contexts.Context | None = None

    def enter(self) -> None:
        """The handler is about to run."""
        context = self._context
        if context is None:
            context = self._context = contexts.set_value(_HANDLING, self, self._begin())
        self._before = contexts.get_current()
        contexts.attach(context)

    def _begin(self) -> contexts.Context:
        parent = NonRecordingSpan(self._parent)
        above = trace.set_span_in_context(parent, contexts.Context())
        if not self._parent.trace_flags.sampled:
            return above
        span = self._span = self._tracer.start_span(
            self._name, context=above, kind=self._kind, attributes=self._attributes
        )
        return trace.set_span_in_context(span, above)

    def leave(self) -> None:
        """It does not run any more."""
        before, self._before = self._before, None
        if before is not None and contexts.get_value(_HANDLING) is self:
            contexts.attach(before)

    def end(self, outcome: Outcome) -> None:
        """What came of it."""
        span = self._span
        if span is None:
            return
        span.set_attribute("irismq.outcome", outcome.kind)
        if outcome.kind in _FAILURES:
            _fail(span, outcome.error, outcome.kind)
        elif outcome.error is not None:
            span.set_attribute("error.type", type(outcome.error).__qualname__)
        span.end()


def _fail(span: trace.Span, error: BaseException | None, kind: str = "") -> None:
    if error is None:
        span.set_status(Status(StatusCode.ERROR, kind))
        return
    span.record_exception(error)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def _type_name(message: object) -> str:
    """What a message is called: of a call through a proxy, the method's name."""
    kind = type(message)
    name = message_name(kind) or kind.__name__
    if name == "irismq.call":
        name = str(getattr(message, "name", name))
    elif name == "ProxyCall":
        name = ".".join(getattr(message, "attr_path", (name,)))
    return name
