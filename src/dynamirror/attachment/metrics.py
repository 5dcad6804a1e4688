"""The counters of attachments in a registry of prometheus_client."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from dynamirror.attachment.counts import Counts

_READS: Final = "dynamirror_attached_reads", "Reads, by where they were answered and why there."
_SHADOWS: Final = "dynamirror_attached_shadow_reads", "Answers of the cache that were compared."
_FAULTS: Final = "dynamirror_attached_faults", "Exceptions of dynamirror that no caller saw."

_collectors: "WeakKeyDictionary[CollectorRegistry, _Attachments]" = WeakKeyDictionary()


def register(registry: "CollectorRegistry", counts: "Counts") -> None:
    """Serve counters from a registry, added to those of other attachments there."""
    collector = _collectors.get(registry)
    if collector is None:
        collector = _collectors[registry] = _Attachments()
        registry.register(collector)
    collector.counts.add(counts)


class _Attachments(Collector):
    """The sums of all attachments in a registry."""

    def __init__(self) -> None:
        self.counts: WeakSet[Counts] = WeakSet()

    def collect(self) -> Iterator[CounterMetricFamily]:
        reads: Counter[tuple[str, ...]] = Counter()
        shadows: Counter[tuple[str, ...]] = Counter()
        faults = 0
        for counts in tuple(self.counts):
            reads.update(counts.reads())
            shadows.update(counts.shadows())
            faults += counts.faults
        yield _family(_READS, ("operation", "source", "reason"), reads)
        yield _family(_SHADOWS, ("operation", "result"), shadows)
        yield _family(_FAULTS, (), Counter({(): faults}))


def _family(names: tuple[str, str], labels: tuple[str, ...], values: Any) -> CounterMetricFamily:
    family = CounterMetricFamily(*names, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
