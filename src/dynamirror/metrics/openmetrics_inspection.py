"""The counts of inspections in OpenMetrics format, read at each scrape."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from dynamirror.metrics.catalogue import (
    CONSISTENCY_VIOLATIONS,
    DIMENSION,
    STALENESS,
    Inspected,
    Kind,
    Metric,
)


class InspectionCollector(Collector):
    """The counts of all tables that are inspected."""

    def __init__(self) -> None:
        self.tables: dict[str, Callable[[], Inspected | None]] = {}

    def collect(self) -> Iterator[Family]:
        """Yield the metrics of all tables; none of those that are not inspected yet."""
        families: dict[Metric, Family] = {}
        for table, read in dict(self.tables).items():
            found = read()
            if found is None:
                continue
            for metric, value in found.counts.items():
                family = families.setdefault(metric, _counter(metric))
                assert isinstance(family, CounterMetricFamily)
                family.add_metric((table,), value)
            violations = families.setdefault(
                CONSISTENCY_VIOLATIONS, _counter(CONSISTENCY_VIOLATIONS)
            )
            assert isinstance(violations, CounterMetricFamily)
            for kind, count in found.violations.items():
                violations.add_metric((table, kind), count)
            histogram = families.setdefault(STALENESS, _histogram(STALENESS))
            assert isinstance(histogram, HistogramMetricFamily)
            bounds = [*(str(bound) for bound in STALENESS.buckets), "+Inf"]
            counts = accumulate(found.staleness)
            histogram.add_metric((table,), list(zip(bounds, counts, strict=True)), None)
        yield from families.values()


def _counter(metric: Metric) -> CounterMetricFamily:
    assert metric.kind is Kind.COUNTER
    name = metric.openmetrics_name.removesuffix("_total")
    return CounterMetricFamily(name, metric.help, labels=(DIMENSION, *metric.labels))


def _histogram(metric: Metric) -> HistogramMetricFamily:
    return HistogramMetricFamily(
        metric.openmetrics_name,
        metric.help,
        labels=(DIMENSION,),
        unit=metric.openmetrics_unit,
    )
