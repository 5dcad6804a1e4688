"""The catalogue of metrics, with their names in CloudWatch and in OpenMetrics."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from math import isfinite
from typing import Final

import msgspec

from dynamirror.views.batch_result import BatchResult

NAMESPACE: Final = "dynamirror"
DIMENSION: Final = "table"
# A further dimension, of violations.
KIND: Final = "kind"
# Ages in seconds at which the inspector asks, unless another choice is made.
AGES: Final = (1, 10, 60, 300, 600)
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z0-9])")


class Unit(StrEnum):
    """CloudWatch's units.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
    """

    COUNT = "Count"
    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"


class Kind(StrEnum):
    """The type of a metric in OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Origin(StrEnum):
    """The source of a metric."""

    REPLICATOR = "replicator, each batch"
    AUDITOR = "auditor"
    BOTH = "auditor and canary"
    CANARY = "canary"
    WATCHDOG = "watchdog"
    WORKER = "state machine, auditor"
    INSPECTOR = "inspector"
    RUN = "`run --metrics` only"


class Metric(msgspec.Struct, frozen=True, cache_hash=True):
    """One metric.

    Args:
        name: the name in CloudWatch.
        unit: the unit in CloudWatch.
        kind: the type in OpenMetrics.
        origin: the source.
        help: the meaning.
        buckets: upper bounds of a histogram, in OpenMetrics' unit.
        labels: dimensions beside the table.
    """

    name: str
    unit: Unit
    kind: Kind
    origin: Origin
    help: str
    buckets: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def openmetrics_unit(self) -> str:
        """The unit in OpenMetrics, which measures time in seconds; empty for none."""
        return "" if self.unit is Unit.COUNT else "seconds"

    @property
    def openmetrics_name(self) -> str:
        """`dynamirror_`, the name in snake case, the unit, and `_total` for a counter.

        https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
        """
        parts = [NAMESPACE, _WORDS.sub("_", self.name).lower(), self.openmetrics_unit]
        if self.kind is Kind.COUNTER:
            parts.append("total")
        return "_".join(filter(None, parts))

    def in_openmetrics(self, value: float) -> float:
        """Return a value in OpenMetrics' unit."""
        return value / 1000 if self.unit is Unit.MILLISECONDS else value


Values = Mapping[Metric, float]

_LAG_BUCKETS = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
_DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
STALENESS_BUCKETS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 45.0)


def _count(name: str, origin: Origin, help_: str, kind: Kind = Kind.COUNTER) -> Metric:
    return Metric(name, Unit.COUNT, kind, origin, help_)


RECORDS: Final = _count("Records", Origin.REPLICATOR, "Records received.")
APPLIED: Final = _count("Applied", Origin.REPLICATOR, "Entries applied to the cache.")
STALE: Final = _count(
    "Stale", Origin.REPLICATOR, "Entries not applied: the cache held a version at least as new."
)
COALESCED: Final = _count(
    "Coalesced", Origin.REPLICATOR, "Entries not sent: the same batch held a newer version."
)
QUARANTINED: Final = _count("Quarantined", Origin.REPLICATOR, "Items put into quarantine.")
FAILED: Final = _count(
    "Failed",
    Origin.REPLICATOR,
    "Entries not applied, or all records of a batch that failed; they are delivered again.",
)
REPLICATION_LAG: Final = Metric(
    "ReplicationLag",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    Origin.REPLICATOR,
    "Time from the creation of a batch's oldest record, in whole seconds, to the batch's end.",
    _LAG_BUCKETS,
)
BATCH_DURATION: Final = Metric(
    "BatchDuration",
    Unit.MILLISECONDS,
    Kind.HISTOGRAM,
    Origin.REPLICATOR,
    "Time the replicator took for a batch.",
    _DURATION_BUCKETS,
)
MIRROR_COMPLETE: Final = _count(
    "MirrorComplete", Origin.BOTH, "1 if the cache holds all of the table, else 0.", Kind.GAUGE
)
MIRROR_DOUBTFUL: Final = _count(
    "MirrorDoubtful",
    Origin.AUDITOR,
    "1 if the cache may have evicted fences since all entries were written or compared, else 0.",
    Kind.GAUGE,
)
REBUILD_GIVEN_UP: Final = _count(
    "RebuildGivenUp",
    Origin.WATCHDOG,
    "1 while no rebuild is started any more, since three failed in a row.",
    Kind.GAUGE,
)
LONG_JOBS: Final = _count(
    "LongJobs",
    Origin.WORKER,
    "Jobs over a whole table that began and take more than a day, or cannot end and were refused.",
)
QUARANTINE_SIZE: Final = _count("QuarantineSize", Origin.BOTH, "Items in quarantine.", Kind.GAUGE)
ITEMS_AUDITED: Final = _count("ItemsAudited", Origin.AUDITOR, "Items compared with the cache.")
DRIFT_FOUND: Final = _count("DriftFound", Origin.AUDITOR, "Entries that differ from the table.")
DRIFT_REPAIRED: Final = _count(
    "DriftRepaired", Origin.AUDITOR, "Differing entries that the auditor corrected."
)
CANARY_SEEN: Final = _count(
    "CanarySeen",
    Origin.CANARY,
    "1 if the item just written to the table was seen in the cache in time (45 s), else 0.",
    Kind.GAUGE,
)
CANARY_LATENCY: Final = Metric(
    "CanaryLatency",
    Unit.MILLISECONDS,
    Kind.HISTOGRAM,
    Origin.CANARY,
    "Time from the acknowledged write of that item until the cache showed it, if it did.",
    _LATENCY_BUCKETS,
)
CONSISTENCY_CHECKS: Final = _count(
    "ConsistencyChecks",
    Origin.INSPECTOR,
    "Checks: one change in one view, which is asked for at several ages.",
)
CONSISTENCY_VIOLATIONS: Final = Metric(
    "ConsistencyViolations",
    Unit.COUNT,
    Kind.COUNTER,
    Origin.INSPECTOR,
    "Checks that found the cache wrong at the last age, or going back in time; also by kind.",
    labels=(KIND,),
)
CONSISTENCY_UNDECIDED: Final = _count(
    "ConsistencyUndecided",
    Origin.INSPECTOR,
    "Questions without an answer: they were late, the cache did not answer, or the item moved on.",
)
STALENESS: Final = Metric(
    "Staleness",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    Origin.INSPECTOR,
    "Age of a change, in seconds, when the inspector first saw it in the cache.",
    STALENESS_BUCKETS,
)


@cache
def asked_within(seconds: float) -> Metric:
    """Return the metric of the questions that were answered at an age."""
    return _count(
        f"AskedWithin{seconds:g}s",
        Origin.INSPECTOR,
        f"Questions that were answered {seconds:g} s after the change.",
    )


@cache
def consistent_within(seconds: float) -> Metric:
    """Return the metric of the answers that were right at an age."""
    return _count(
        f"ConsistentWithin{seconds:g}s",
        Origin.INSPECTOR,
        f"Answers {seconds:g} s after the change that showed it, or a newer one.",
    )


SHARD_BEHIND: Final = Metric(
    "ShardBehind",
    Unit.SECONDS,
    Kind.GAUGE,
    Origin.RUN,
    "Time that a shard is behind at the most: since it was last read to its end, or since its "
    "newest applied record was created.",
)
INVOCATION_ERRORS: Final = _count(
    "InvocationErrors", Origin.RUN, "Batches that ended with an error; they are delivered again."
)
CHECK_AGE: Final = Metric(
    "CheckAge",
    Unit.SECONDS,
    Kind.GAUGE,
    Origin.RUN,
    "Time since it was last checked whether the mirror is complete; 0 during a rebuild.",
)
CHECK_ERRORS: Final = _count(
    "CheckErrors", Origin.RUN, "Checks of whether the mirror is complete that failed."
)
REBUILD_ERRORS: Final = _count(
    "RebuildErrors", Origin.RUN, "Rebuilds that ended with an error, or found no room."
)
REBUILD_RUNNING: Final = Metric(
    "RebuildRunning",
    Unit.SECONDS,
    Kind.GAUGE,
    Origin.RUN,
    "Time since the rebuild under way began; 0 for none.",
)
INSPECTION_ERRORS: Final = _count(
    "InspectionErrors", Origin.RUN, "Failures of the inspection to read records, or to ask."
)
CACHE_MEMORY_SHARE: Final = _count(
    "CacheMemoryShare",
    Origin.RUN,
    "Share of its memory limit that the fullest node of the cache uses, from 0 to 1.",
    Kind.GAUGE,
)
LEADER: Final = _count(
    "Leader",
    Origin.RUN,
    "1 if this process replicates the table, 0 if it stands by.",
    Kind.GAUGE,
)
CATALOGUE: Final = (
    *(RECORDS, APPLIED, STALE, COALESCED, QUARANTINED, FAILED, REPLICATION_LAG, BATCH_DURATION),
    *(MIRROR_COMPLETE, MIRROR_DOUBTFUL, REBUILD_GIVEN_UP, LONG_JOBS, QUARANTINE_SIZE),
    *(ITEMS_AUDITED, DRIFT_FOUND, DRIFT_REPAIRED),
    *(CANARY_SEEN, CANARY_LATENCY),
    *(CONSISTENCY_CHECKS, CONSISTENCY_VIOLATIONS, CONSISTENCY_UNDECIDED),
    *(metric(age) for age in AGES for metric in (asked_within, consistent_within)),
    *(STALENESS, SHARD_BEHIND, INVOCATION_ERRORS),
    *(CHECK_AGE, CHECK_ERRORS, REBUILD_ERRORS, REBUILD_RUNNING),
    *(INSPECTION_ERRORS, CACHE_MEMORY_SHARE, LEADER),
)


def of_batch(batch: BatchResult) -> dict[Metric, float]:
    """Return the metrics of one batch."""
    report = batch.report
    values: dict[Metric, float] = {
        RECORDS: batch.records,
        APPLIED: report.applied,
        STALE: report.stale,
        COALESCED: report.coalesced,
        QUARANTINED: batch.parked,
        FAILED: batch.failed,
        BATCH_DURATION: batch.seconds * 1000,
    }
    if batch.lag is not None:
        values[REPLICATION_LAG] = batch.lag
    return {metric: round(value, 3) for metric, value in values.items() if isfinite(value)}


class Inspected(msgspec.Struct, frozen=True):
    """The counts of one table's inspection so far.

    Args:
        counts: counts by metric.
        violations: violations by kind.
        staleness: changes by the age at which they were first seen, in the buckets of the metric,
            and those beyond.
    """

    counts: Mapping[Metric, float]
    violations: Mapping[str, int]
    staleness: Sequence[int]
