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
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from actors import message_name
from actors.texts import full_class_name, line_of, text_of, trace_of
from irismq_runtime.observe.tracing import TRACEPARENT
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors import Clock, Outcome
    from actors.delivery import Scope
    from irismq_runtime.observe.tracing import Tracing

__all__ = ["open_tracing"]

_EMPTY: Final = contexts.Context()
#: Under which key a context has its span.
_SPAN: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, _EMPTY)))
#: Last digits of flags whose lowest bit, "sampled", is not set.
_EVEN: Final = "02468ace"
#: Characters of a traceparent of version 00.
_LENGTH: Final = 55
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
    flags = TraceFlags(int(match[4], 16))
    found = SpanContext(int(match[2], 16), int(match[3], 16), is_remote=True, trace_flags=flags)
    return found if found.is_valid else None


def traceparent(span: SpanContext) -> str:
    """Return a span's identity as a W3C traceparent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


class OtelTracing:
    """Fills `Tracing`."""

    __slots__ = ("_clock", "_left", "_limit", "_refilled", "_unsampled", "in_force", "tracer")

    def __init__(self, tracer: trace.Tracer, clock: Clock, limit: int) -> None:
        self.tracer = tracer
        self._clock = clock
        self._limit = limit
        self._left = limit
        self.in_force: set[object] = set()
        self._refilled = clock.monotonic()
        #: The last context in which nothing is sampled, and its header.
        self._unsampled: tuple[contexts.Context | None, str] = (None, "")

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
        service = "peer" if "/urn:" in target else target
        attributes = {
            "rpc.system": "irismq",
            "rpc.service": service,
            "rpc.method": method,
            "irismq.target": target,
        }
        return self._sent(headers, f"{service}/{method}", SpanKind.CLIENT, attributes)

    def _wanted(self, headers: dict[str, object]) -> bool:
        """Whether to make a span; what is in force and not sampled goes on as it is."""
        now = contexts.get_current()
        known, header = self._unsampled
        if now is known:
            headers[TRACEPARENT] = header
            return False
        if now:
            current = trace.get_current_span(now)
            if type(current) is _NotSampled:
                headers[TRACEPARENT] = current.header
                return False
            span = current.get_span_context()
            if span.is_valid:
                if not span.trace_flags.sampled:
                    # Many messages are sent in one context: its header is made once.
                    headers[TRACEPARENT] = header = traceparent(span)
                    self._unsampled = (now, header)
                return span.trace_flags.sampled
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
        span = self.tracer.start_span(name, kind=kind, attributes=attributes)
        headers[TRACEPARENT] = traceparent(span.get_span_context())
        return _Sent(span)

    # Handling -----------------------------------------------------------------

    def consumer(
        self,
        headers: Mapping[str, Any],
        address: str,
        *,
        system: str,
        about: Callable[[], Mapping[str, Any]],
    ) -> Scope | None:
        """See `Tracing`."""
        parent = self._above(headers)
        if not isinstance(parent, SpanContext):
            return parent
        attributes = {
            "messaging.system": system,
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": address,
            **about(),
        }
        name = f"process {address}"
        return _Handling(self, parent, name, SpanKind.CONSUMER, attributes)

    def server(
        self,
        headers: Mapping[str, Any],
        address: str,
        message: object,
        about: Callable[[], Mapping[str, Any]],
    ) -> Scope | None:
        """See `Tracing`."""
        parent = self._above(headers)
        if not isinstance(parent, SpanContext):
            return parent
        method = _type_name(message)
        attributes = {
            "rpc.system": "irismq",
            "rpc.service": address,
            "rpc.method": method,
            **about(),
        }
        name = f"{address}/{method}"
        return _Handling(self, parent, name, SpanKind.SERVER, attributes)

    def here(self) -> Scope | None:
        """See `Tracing`."""
        now = contexts.get_current()
        return _Carrying(self.in_force, now) if now else None

    def _above(self, headers: Mapping[str, Any]) -> SpanContext | _Carrying | None:
        """The parent of a new span; what goes on where nothing is sampled; None: nothing came."""
        text = headers.get(TRACEPARENT)
        if _is_unsampled(text):  # what is below stays so
            return _Carrying(self.in_force, contexts.Context({_SPAN: _NotSampled(text)}))
        return parent_of_untrusted(headers)

    @contextmanager
    def conversation(self, headers: Mapping[str, Any], address: str, method: str) -> Iterator[None]:
        """See `Tracing`."""
        parent = parent_of_untrusted(headers)
        if parent is None:
            yield
            return
        above = trace.set_span_in_context(NonRecordingSpan(parent), _EMPTY)
        attributes = {"rpc.system": "irismq", "rpc.service": address, "rpc.method": method}
        with self.tracer.start_as_current_span(
            f"{address}/{method}",
            context=above,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            self.in_force.add(span)
            try:
                yield
            except Exception as error:
                _fail(span, error)
                raise
            finally:
                self.in_force.discard(span)


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


class _NotSampled(NonRecordingSpan):
    """The remote span of a trace that is not sampled; its header is read when asked for."""

    def __init__(self, header: str) -> None:
        # Not NonRecordingSpan's constructor: it wants the context that is made below.
        self.header = header

    def get_span_context(self) -> SpanContext:
        """What the header says; no valid span when it is nonsense."""
        return parent_of_untrusted({TRACEPARENT: self.header}) or INVALID_SPAN_CONTEXT


class _Carrying:
    """Fills `actors.delivery.Scope` with a context, without a span of its own."""

    __slots__ = ("_before", "_context", "_in_force")

    def __init__(self, in_force: set[object], context: contexts.Context) -> None:
        self._in_force = in_force
        self._context = context
        self._before: contexts.Context | None = None

    def enter(self) -> None:
        """The handler is about to run."""
        self._in_force.add(self)
        self._before = contexts.get_current()
        contexts.attach(self._context)

    def leave(self) -> None:
        """It does not run any more."""
        self._in_force.discard(self)
        before, self._before = self._before, None
        if before is not None and contexts.get_current() is self._context:
            contexts.attach(before)

    def end(self, outcome: Outcome) -> None:
        """Nobody looks."""


class _Handling:
    """Fills `actors.delivery.Scope`; the span begins when the handler does."""

    __slots__ = ("_attributes", "_before", "_kind", "_name", "_parent", "_span", "_tracing")

    def __init__(
        self,
        tracing: OtelTracing,
        parent: SpanContext,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
    ) -> None:
        self._tracing = tracing
        self._parent = parent
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._span: trace.Span | None = None
        self._before: contexts.Context | None = None

    def enter(self) -> None:
        """The handler is about to run."""
        above = trace.set_span_in_context(NonRecordingSpan(self._parent), _EMPTY)
        if self._span is None:
            self._span = self._tracing.tracer.start_span(
                self._name, context=above, kind=self._kind, attributes=self._attributes
            )
        self._tracing.in_force.add(self)
        self._before = contexts.get_current()
        contexts.attach(trace.set_span_in_context(self._span, above))

    def leave(self) -> None:
        """It does not run any more."""
        self._tracing.in_force.discard(self)
        _put_back(self._before, self._span)
        self._before = None

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


def _put_back(before: contexts.Context | None, span: trace.Span | None) -> None:
    """End what is in force, where it is in force.

    Elsewhere there is nothing to end: an actor that is killed loses its context
    with its incarnation.
    """
    if before is not None and trace.get_current_span() is span:
        contexts.attach(before)


def _is_unsampled(header: object) -> TypeGuard[str]:
    """Whether a header says, in the form that we write, that nothing is sampled."""
    return isinstance(header, str) and len(header) == _LENGTH and header[-1] in _EVEN


def _fail(span: trace.Span, error: BaseException | None, kind: str = "") -> None:
    if error is None:
        span.set_status(Status(StatusCode.ERROR, kind))
        return
    # What `record_exception` adds; that asks the exception itself, which is a user's.
    about = {
        "exception.type": full_class_name(error).removeprefix("builtins."),
        "exception.message": safe(text_of(error), "\n\t"),
        "exception.stacktrace": safe(trace_of(error), "\n\t"),
        "exception.escaped": "False",
    }
    span.add_event("exception", about)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, safe(line_of(error), "\n\t")))


def _type_name(message: object) -> str:
    """What a message is called: of a call through a proxy, the method's name."""
    kind = type(message)
    name = message_name(kind) or kind.__name__
    if name == "irismq.call":
        name = str(getattr(message, "name", name))
    elif name == "ProxyCall":
        name = ".".join(getattr(message, "attr_path", (name,)))
    return name
