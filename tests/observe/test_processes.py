"""Looking at processes as users run them: JSON logs, the status page, a trace across two."""

from __future__ import annotations

import json
import signal

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from irismq_runtime import Node
from tests.integration.processes import running

#: A process of Python takes its time to start on a machine that has other work.
pytestmark = pytest.mark.timeout(90)


async def test_with_log_json_every_line_is_an_object():
    tree = "tests.observe.traced_service:tree"
    async with running("run", tree, "--embedded", "--name", "shop", "--log-json") as shop:
        await shop.says('"phase": "runs"')
        shop.signal(signal.SIGTERM)
        assert await shop.ends() == 0
    told = [json.loads(line) for line in shop.said]
    phases = [line["phase"] for line in told if "phase" in line]
    assert phases[:2] == ["connected", "runs"]
    assert all(line["node"].startswith("shop-") for line in told if "phase" in line)


async def test_the_level_of_the_log_is_that_of_its_option():
    tree = ("run", "tests.observe.traced_service:tree", "--embedded", "--log-json")
    for level, expected in (("debug", {"DEBUG", "INFO"}), ("INFO", {"INFO"})):
        async with running(*tree, IRISMQ_LOG_LEVEL=level) as shop:
            await shop.says('"phase": "runs"')
            shop.signal(signal.SIGTERM)
            assert await shop.ends() == 0
        assert {json.loads(line)["level"] for line in shop.said} == expected


async def test_a_trace_goes_on_in_another_process(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    async with Node.embedded(name="client", drain=1.0) as client:
        ends = client.endpoints
        where = ("--nsqd", ends["nsqd"], "--iris", ends["iris"])
        async with running("run", "tests.observe.traced_service:tree", *where) as service:
            await service.says("runs")
            assert await client.ref("traced.twice").ask(21, timeout=15.0) == 42
            await client.ref("traced.twice").tell(4)
            for name in ('"traced.twice/int"', '"process traced.twice"'):
                await service.says(f'"span": {name}')
            service.signal(signal.SIGTERM)
            assert await service.ends() == 0
    there = [json.loads(line) for line in service.said if line.startswith('{"span"')]
    here = {span.name: span for span in exporter.get_finished_spans()}
    for sent, handled in (
        ("traced.twice/int", "SERVER"),
        ("send traced.twice", "CONSUMER"),
    ):
        span = here[sent]
        served = next(each for each in there if each["kind"] == handled)
        assert served["trace"] == f"{span.context.trace_id:032x}"
        assert served["parent"] == f"{span.context.span_id:016x}"
        below = next(each for each in there if each["parent"] == served["id"])
        assert below["span"] == "doubling"
    provider.shutdown()


@pytest.mark.parametrize("extra", ["opentelemetry", "prometheus_client"])
def test_a_package_of_an_extra_is_imported_in_one_module_alone(extra):
    from pathlib import Path

    import irismq_runtime

    root = Path(irismq_runtime.__file__).parent
    importers = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if f"import {extra}" in path.read_text() or f"from {extra}" in path.read_text()
    ]
    expected = {"opentelemetry": "observe/otel.py", "prometheus_client": "observe/metrics.py"}
    assert importers == [expected[extra]]
