"""Numbers of a node in the text format that Prometheus reads.

Samples in, text out; the format itself is prometheus-client's, an extra that is
loaded when somebody asks for metrics. The numbers are read at that moment and
cost nothing otherwise. Names follow Prometheus' rules: base units, `_total` for
what only grows. Labels are classes, addresses, outcomes: things of which there
are few. An id of a message, an actor or a node is never one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from irismq_runtime.errors import ConfigError
from irismq_runtime.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

__all__ = ["Sample", "histogram", "prometheus_text", "require_metrics"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a metric. A value, for any thread.

    Args:
        name: The metric's name without the prefix "irismq_", in base units.
        value: The number.
        kind: "counter" for what only grows, "gauge", or "histogram".
        help: One line about the metric.
        labels: Name to value: classes, addresses, outcomes; never an id.
        part: Of a histogram, the end of the sample's own name ("_bucket", ...).
    """

    name: str
    value: float
    kind: Literal["counter", "gauge", "histogram"] = "gauge"
    help: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    part: str = ""


def histogram(
    name: str,
    buckets: Sequence[int],
    bounds: Sequence[float],
    total: float,
    *,
    help: str,  # noqa: A002  # Prometheus' word
    labels: Mapping[str, str],
) -> Iterator[Sample]:
    """The samples of a histogram. `buckets`: one for each of `bounds`, and one beyond."""

    def sample(part: str, value: float, **more: str) -> Sample:
        return Sample(name, value, "histogram", help, {**labels, **more}, part)

    below = 0
    for bound, count in zip((*bounds, float("inf")), buckets, strict=True):
        below += count
        yield sample("_bucket", below, le="+Inf" if bound == float("inf") else f"{bound:g}")
    yield sample("_count", below)
    yield sample("_sum", total)


def require_metrics() -> None:
    """Load the extra `metrics` now, before the loop runs: an import reads files.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import prometheus_client  # noqa: F401  # loaded for later
    except ImportError as error:
        raise ConfigError(
            "metrics",
            "prometheus-client is not installed",
            "install the extra: pip install 'irismq-runtime[metrics]'",
        ) from error


def prometheus_text(samples: Iterable[Sample]) -> str:
    """Write samples in Prometheus' exposition format, version 0.0.4. For any thread.

    Args:
        samples: The numbers; those of one metric have the same `help` and `kind`.

    Returns:
        The text of a scrape.

    Raises:
        ConfigError: The extra `metrics` is not installed.
    """
    require_metrics()
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            return iter(_families(samples))

    # A registry of our own: the package's default one is global to the process.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry).decode()


def _families(samples: Iterable[Sample]) -> list[Metric]:
    from prometheus_client.metrics_core import Metric

    families: dict[str, Metric] = {}
    for sample in sorted(samples, key=lambda s: s.name):
        name = f"irismq_{sample.name}"
        # A counter's family is named without the suffix that its samples carry.
        family = name.removesuffix("_total") if sample.kind == "counter" else name
        metric = families.setdefault(family, Metric(family, sample.help, sample.kind))
        labels = {key: safe(text, "\n") for key, text in sample.labels.items()}
        metric.add_sample(f"{name}{sample.part}", labels, sample.value)
    return list(families.values())
