"""The metrics of this process in OpenMetrics format, at http://HOST:PORT/metrics."""

import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from dynamirror.listening import authority, listening
from dynamirror.metrics.catalogue import (
    CANARY_LATENCY,
    CATALOGUE,
    DIMENSION,
    FAILED,
    INVOCATION_ERRORS,
    LEADER,
    MIRROR_COMPLETE,
    QUARANTINE_SIZE,
    SHARD_BEHIND,
    Inspected,
    Kind,
    Metric,
    Origin,
    Values,
    of_batch,
)
from dynamirror.metrics.openmetrics_inspection import InspectionCollector
from dynamirror.views.batch_result import BatchResult

logger = logging.getLogger("dynamirror")

_HOST = "127.0.0.1"


class Endpoint:
    """Serves the metrics of tables until it is closed.

    Args:
        port: the port; 0 for any free one.
        host: the address to listen on.

    Raises:
        ConfigError: the address is not available.
    """

    def __init__(self, port: int, *, host: str = _HOST) -> None:
        # They are a series beside each counter and histogram. The library leaves it untyped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._collectors: dict[Metric, Counter | Histogram] = {
            metric: _collector(metric, self._registry)
            for metric in CATALOGUE
            if metric.origin is Origin.REPLICATOR or metric in (CANARY_LATENCY, INVOCATION_ERRORS)
        }
        self._read: dict[Metric, _Read] = {}
        self._shards = _Shards()
        self._registry.register(self._shards)
        self._inspections = InspectionCollector()
        self._registry.register(self._inspections)
        with listening("--metrics", host, port):
            self._server, self._thread = start_http_server(port, addr=host, registry=self._registry)
        self.url = f"http://{authority(host, self._server.server_port)}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def observe(self, batch: BatchResult) -> None:
        """Count one batch."""
        if batch.records:
            errors = {INVOCATION_ERRORS: 1} if batch.error else {}
            self.add(batch.table, {**of_batch(batch), **errors})

    def add(self, table: str, values: Values) -> None:
        """Add values to the metrics of a table."""
        for metric, value in values.items():
            collector = self._collectors[metric].labels(table)
            if isinstance(collector, Counter):
                collector.inc(metric.in_openmetrics(value))
            else:
                collector.observe(metric.in_openmetrics(value))

    def show_mirror(
        self,
        table: str,
        *,
        complete: Callable[[], bool | None],
        quarantined: Callable[[], int | None],
        behind: Callable[[], dict[str, float]],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """Serve the state of the mirror of a table, read at each scrape.

        Args:
            table: the table's name.
            complete: returns whether the mirror is complete; None if unknown.
            quarantined: returns the number of items in quarantine; None if unknown.
            behind: returns, by shard, the seconds since it was last read to its end.
            leads: returns whether this process replicates the table.
        """
        self.show(table, LEADER, leads)
        self.show(table, MIRROR_COMPLETE, complete)
        self.show(table, QUARANTINE_SIZE, quarantined)
        self._shards.behind[table] = behind
        # An increase is seen only of what was 0 before.
        for metric in (FAILED, INVOCATION_ERRORS):
            self._collectors[metric].labels(table)

    def show_inspection(self, table: str, read: Callable[[], Inspected | None]) -> None:
        """Serve the counts of a table's inspection, read at each scrape; None for none yet."""
        self._inspections.tables[table] = read

    def show(self, table: str, metric: Metric, value: Callable[[], float | None]) -> None:
        """Serve the value that a function returns at each scrape, unless it is None."""
        if metric not in self._read:
            self._read[metric] = _Read(metric)
            self._registry.register(self._read[metric])
        self._read[metric].values[table] = value


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    # The library adds a counter's `_total`.
    name = metric.openmetrics_name.removesuffix("_total")
    if metric.kind is Kind.COUNTER:
        return Counter(name, metric.help, (DIMENSION,), registry=registry)
    return Histogram(
        name,
        metric.help,
        (DIMENSION,),
        unit=metric.openmetrics_unit,
        buckets=metric.buckets,
        registry=registry,
    )


class _Read(Collector):
    """A number for each table that is read at each scrape."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.values: dict[str, Callable[[], float | None]] = {}

    def collect(self) -> Iterator[Family]:
        family = _family(self._metric, (DIMENSION,))
        for table, read in dict(self.values).items():
            try:
                value = read()
            except Exception:  # which must not cost the scraper all other metrics
                logger.exception("fault of the program", extra={"table": table})
                continue
            if value is not None:
                family.add_metric((table,), self._metric.in_openmetrics(value))
        if family.samples:
            yield family


class _Shards(Collector):
    """The seconds that each shard is behind."""

    def __init__(self) -> None:
        self.behind: dict[str, Callable[[], dict[str, float]]] = {}

    def collect(self) -> Iterator[Family]:
        family = _family(SHARD_BEHIND, (DIMENSION, "shard"))
        for table, read in dict(self.behind).items():
            for shard, seconds in read().items():
                family.add_metric((table, shard), seconds)
        if self.behind:
            yield family


def _family(metric: Metric, labels: tuple[str, ...]) -> GaugeMetricFamily | CounterMetricFamily:
    if metric.kind is Kind.COUNTER:
        name = metric.openmetrics_name.removesuffix("_total")
        return CounterMetricFamily(name, metric.help, labels=labels)
    return GaugeMetricFamily(
        metric.openmetrics_name, metric.help, labels=labels, unit=metric.openmetrics_unit
    )
