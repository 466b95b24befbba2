"""What a node shows Prometheus can be scraped: no series is there twice."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from actors import Actor, receives
from irismq_runtime import Node


def made(answer: str) -> type[Actor]:
    class Clerk(Actor):
        @receives(str)
        def take(self, message: str) -> str:
            return answer

    return Clerk


async def test_classes_of_one_name_are_one_series_and_their_sum():
    """162: Prometheus refuses a page on which a series is twice, with all others of it."""
    async with Node.embedded() as node:
        refs = [node.system.start(made(answer)) for answer in ("a", "b")]
        assert [await ref.ask("what") for ref in refs] == ["a", "b"]
        await refs[0].ask("again")
        families = list(text_string_to_metric_families(node.metrics()))
    series = Counter(
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    )
    assert [each for each, times in series.items() if times > 1] == []
    values = {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("class", "").endswith("Clerk")
    }
    assert values["irismq_actors"] == 2
    assert values["irismq_handled_total"] == 3
