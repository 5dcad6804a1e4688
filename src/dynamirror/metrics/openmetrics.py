"""The metrics of this process in OpenMetrics format, at http://HOST:PORT/metrics."""

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
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from dynamirror.listening import authority, listening
from dynamirror.metrics.catalogue import (
    CANARY_LATENCY,
    CANARY_SEEN,
    CATALOGUE,
    DIMENSION,
    MIRROR_COMPLETE,
    QUARANTINE_SIZE,
    SHARD_BEHIND,
    Kind,
    Metric,
    Origin,
    Values,
    of_batch,
)
from dynamirror.views.batch_result import BatchResult

_HOST = "127.0.0.1"


class Endpoint:
    """Serves the metrics of one table until it is closed.

    Args:
        table: the table's name.
        port: the port; 0 for any free one.
        host: the address to listen on.

    Raises:
        ConfigError: the address is not available.
    """

    def __init__(self, table: str, port: int, *, host: str = _HOST) -> None:
        self._table = table
        # They are a series beside each counter and histogram. The library leaves it untyped.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._collectors: dict[Metric, Counter | Histogram] = {
            metric: _collector(metric, self._registry)
            for metric in CATALOGUE
            if metric.origin is Origin.REPLICATOR or metric is CANARY_LATENCY
        }
        self._canary_seen: float | None = None
        self.show(CANARY_SEEN, lambda: self._canary_seen)
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
            self.add(of_batch(batch))

    def add(self, values: Values) -> None:
        """Add values to the metrics."""
        for metric, value in values.items():
            if metric is CANARY_SEEN:
                self._canary_seen = value
                continue
            collector = self._collectors[metric].labels(self._table)
            if isinstance(collector, Counter):
                collector.inc(metric.in_openmetrics(value))
            else:
                collector.observe(metric.in_openmetrics(value))

    def show_mirror(
        self,
        *,
        complete: Callable[[], bool | None],
        quarantined: Callable[[], int | None],
        behind: Callable[[], dict[str, float]],
    ) -> None:
        """Serve the state of the mirror, read at each scrape.

        Args:
            complete: returns whether the mirror is complete; None if unknown.
            quarantined: returns the number of items in quarantine; None if unknown.
            behind: returns, by shard, the seconds since it was last read to its end.
        """
        self.show(MIRROR_COMPLETE, complete)
        self.show(QUARANTINE_SIZE, quarantined)
        self._registry.register(_Shards(self._table, behind))

    def show(self, metric: Metric, value: Callable[[], float | None]) -> None:
        """Serve the value that a function returns at each scrape, unless it is None."""
        self._registry.register(_Gauge(self._table, metric, value))


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


class _Gauge(Collector):
    """A number that is read at each scrape."""

    def __init__(self, table: str, metric: Metric, value: Callable[[], float | None]) -> None:
        self._table = table
        self._metric = metric
        self._value = value

    def collect(self) -> Iterator[Family]:
        value = self._value()
        if value is not None:
            family = _family(self._metric, (DIMENSION,))
            family.add_metric((self._table,), self._metric.in_openmetrics(value))
            yield family


class _Shards(Collector):
    """The seconds that each shard is behind."""

    def __init__(self, table: str, behind: Callable[[], dict[str, float]]) -> None:
        self._table = table
        self._behind = behind

    def collect(self) -> Iterator[Family]:
        family = _family(SHARD_BEHIND, (DIMENSION, "shard"))
        for shard, seconds in self._behind().items():
            family.add_metric((self._table, shard), seconds)
        yield family


def _family(metric: Metric, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metric.openmetrics_name, metric.help, labels=labels, unit=metric.openmetrics_unit
    )
