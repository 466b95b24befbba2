"""A service that traces: its spans go to standard error, one JSON object a line."""

from __future__ import annotations

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from actors import Actor, receives
from supervisors import Supervisor, child


class Lines(SpanExporter):
    """Writes each span as it ends."""

    def export(self, spans):
        for span in spans:
            told = {
                "span": span.name,
                "trace": f"{span.context.trace_id:032x}",
                "id": f"{span.context.span_id:016x}",
                "parent": f"{span.parent.span_id:016x}" if span.parent is not None else None,
                "kind": span.kind.name,
            }
            sys.stderr.write(f"{json.dumps(told)}\n")
            sys.stderr.flush()
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Lines()))
trace.set_tracer_provider(provider)
tracer = provider.get_tracer("traced_service")


class Twice(Actor):
    """Doubles, inside a span of its own."""

    address = "traced.twice"

    @receives(int)
    async def twice(self, number: int) -> int:
        with tracer.start_as_current_span("doubling"):
            return 2 * number


tree = Supervisor.of(child(Twice))
