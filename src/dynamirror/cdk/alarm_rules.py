"""The rules that decide when an alarm is raised."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_

from dynamirror.cdk.monitored_mirror import (
    MINUTE,
    MonitoredMirror,
    MonitoredTable,
    function_metric,
    machine_metric,
)
from dynamirror.metrics import catalogue as metrics

_FIVE_MINUTES = Duration.minutes(5)
_HALF_AN_HOUR = Duration.minutes(30)
_GB = 1_000_000_000
_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_NOT_BREACHING = cloudwatch.TreatMissingData.NOT_BREACHING
_BREACHING = cloudwatch.TreatMissingData.BREACHING
_IGNORE = cloudwatch.TreatMissingData.IGNORE
_MISSING = cloudwatch.TreatMissingData.MISSING
EVICTIONS = "CacheEvictions"
_TABLE_IDLE = "good: nothing was written to the table."


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Set the values beyond which alarms are raised.

    Args:
        iterator_age_seconds: age of the oldest record in a batch.
        canary_missing_minutes: minutes without a canary item that arrived.
        canary_late_seconds: time of a canary item from table to cache.
        quarantine_items: number of quarantined items.
        drift_items: number of items that an audit found different.
        mirror_incomplete_minutes: minutes for which the mirror is incomplete. Allow more than a
            rebuild takes, so that an automatic rebuild raises no alarm.
        cache_storage_percent: percentage of the cache's storage limit.
        cache_ecpu_percent: percentage of the cache's limit of processing units.
    """

    iterator_age_seconds: int = 300
    canary_missing_minutes: int = 5
    canary_late_seconds: int = 10
    quarantine_items: int = 0
    drift_items: int = 0
    mirror_incomplete_minutes: int = 30
    cache_storage_percent: int = 80
    cache_ecpu_percent: int = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """Describe one alarm.

    Args:
        name: name in PascalCase.
        section: heading of the runbook's section: the name in lower case with dashes.
        meaning: one sentence that describes the fault.
        metric: the metric that the alarm evaluates.
        threshold: value that a breaching period is compared with.
        missing_data: how CloudWatch treats a period without data.
        reason: one sentence that explains `missing_data`.
        comparison: operator between metric and threshold.
        datapoints_to_alarm: number of breaching periods that raise the alarm.
        evaluation_periods: number of consecutive periods that are evaluated.
    """

    name: str
    section: str
    meaning: str
    metric: cloudwatch.IMetric
    threshold: float
    missing_data: cloudwatch.TreatMissingData
    reason: str
    comparison: cloudwatch.ComparisonOperator = _ABOVE
    datapoints_to_alarm: int = 1
    evaluation_periods: int = 1


def alarm_rules(mirror: MonitoredMirror, thresholds: Thresholds) -> Iterator[AlarmRule]:
    """Yield the rules for the parts that a mirror has."""
    for end, replicator in mirror.replicators.items():
        for rule in _replicator(replicator, thresholds):
            yield replace(rule, name=f"{rule.name}{end}")
    for table in mirror.tables:
        for rule in _table(mirror, table, thresholds):
            yield replace(rule, name=f"{rule.name}{table.id}")
    yield from _operating(mirror)
    if mirror.cache:
        yield from _cache(mirror, thresholds)
        yield _evictions(mirror.cache_metric("Evictions", "Sum", _FIVE_MINUTES))
    elif mirror.auditor:
        # It sees evictions where the nodes report them.
        period = _at_least_five_minutes(mirror.audit_interval)
        for table in mirror.tables:
            metric = table.own_metric(metrics.MIRROR_DOUBTFUL, "Maximum", period)
            yield replace(_evictions(metric), name=f"{EVICTIONS}{table.id}")


def _table(
    mirror: MonitoredMirror, table: MonitoredTable, thresholds: Thresholds
) -> Iterator[AlarmRule]:
    yield AlarmRule(
        name="EntriesFailed",
        section="entries-failed",
        meaning="The replicator cannot write entries; Lambda retries their batches.",
        metric=table.own_metric(metrics.FAILED, "Sum"),
        threshold=0,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason=_TABLE_IDLE,
    )
    if table.canary:
        yield from _canary(table, thresholds)
    if interval := mirror.check_interval(table):
        yield from _state(mirror, table, interval, thresholds)
    if mirror.inspector:
        yield AlarmRule(
            name="ConsistencyViolated",
            section="consistency-violated",
            meaning="The inspector found an entry that is wrong.",
            metric=table.own_metric(metrics.CONSISTENCY_VIOLATIONS, "Sum", _FIVE_MINUTES),
            threshold=0,
            missing_data=_NOT_BREACHING,
            reason="good: nothing was wrong; InspectorFailed reports what could not be checked.",
        )


def _replicator(replicator: lambda_.Function, thresholds: Thresholds) -> Iterator[AlarmRule]:
    seconds = thresholds.iterator_age_seconds
    yield AlarmRule(
        name="IteratorAge",
        section="iterator-age",
        meaning=f"The replicator is more than {seconds} s behind the table.",
        metric=function_metric(replicator, "IteratorAge", "Maximum"),
        threshold=seconds * 1000,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason=_TABLE_IDLE,
    )
    yield AlarmRule(
        name="ReplicatorErrors",
        section="replicator-errors",
        meaning="The replicator ends with an error; Lambda retries its batches.",
        metric=function_metric(replicator, "Errors", "Sum"),
        threshold=0,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason=_TABLE_IDLE,
    )
    yield AlarmRule(
        name="ReplicatorThrottles",
        section="replicator-throttles",
        meaning="Lambda throttles the replicator.",
        metric=function_metric(replicator, "Throttles", "Sum"),
        threshold=0,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason=_TABLE_IDLE,
    )


def _canary(table: MonitoredTable, thresholds: Thresholds) -> Iterator[AlarmRule]:
    minutes = thresholds.canary_missing_minutes
    yield AlarmRule(
        name="CanaryMissing",
        section="canary-missing",
        meaning=f"For {minutes} minutes no canary item reached the cache.",
        metric=table.own_metric(metrics.CANARY_SEEN, "Maximum"),
        comparison=_BELOW,
        threshold=1,
        datapoints_to_alarm=minutes,
        evaluation_periods=minutes,
        missing_data=_BREACHING,
        reason="bad: a canary that does not run must be noticed.",
    )
    yield AlarmRule(
        name="CanaryLate",
        section="canary-late",
        meaning=f"A change takes more than {thresholds.canary_late_seconds} s from table to cache.",
        metric=table.own_metric(metrics.CANARY_LATENCY, "Maximum"),
        threshold=thresholds.canary_late_seconds * 1000,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason="good: CanaryMissing reports an item that does not arrive.",
    )


def _state(
    mirror: MonitoredMirror, table: MonitoredTable, interval: Duration, thresholds: Thresholds
) -> Iterator[AlarmRule]:
    unchecked = "as before: nothing checked; CanaryMissing or OperatingErrors reports why."
    # A check may be a little late, and each period must still contain one.
    period = _at_least_five_minutes(interval)
    minutes = thresholds.mirror_incomplete_minutes
    # One more: the first and the last check of n periods may be n - 1 periods apart.
    periods = ceil(minutes / period.to_minutes()) + 1
    yield AlarmRule(
        name="MirrorIncomplete",
        section="mirror-incomplete",
        meaning=f"The mirror has been incomplete for {minutes} minutes.",
        # The auditor may read the table's description, and finds gaps that the canary cannot.
        metric=table.own_metric(metrics.MIRROR_COMPLETE, "Minimum", period),
        comparison=_BELOW,
        threshold=1,
        datapoints_to_alarm=periods,
        evaluation_periods=periods,
        missing_data=_IGNORE,
        reason=unchecked,
    )
    yield AlarmRule(
        name="QuarantineNotEmpty",
        section="quarantine-not-empty",
        meaning="Items could not become entries and are quarantined.",
        metric=table.own_metric(metrics.QUARANTINE_SIZE, "Maximum", period),
        threshold=thresholds.quarantine_items,
        missing_data=_IGNORE,
        reason=unchecked,
    )
    if mirror.auditor:
        yield AlarmRule(
            name="DriftFound",
            section="drift-found",
            meaning="An audit found entries that differ from their items.",
            metric=table.own_metric(
                metrics.DRIFT_FOUND, "Sum", _at_least_five_minutes(mirror.audit_interval)
            ),
            threshold=thresholds.drift_items,
            missing_data=_NOT_BREACHING,
            reason="good: nothing was compared, so nothing was found.",
        )


def _operating(mirror: MonitoredMirror) -> Iterator[AlarmRule]:
    audit_period = _at_least_five_minutes(mirror.audit_interval)
    functions: dict[str, tuple[lambda_.Function | None, Duration]] = {
        "Auditor": (mirror.auditor, audit_period),
        "Canary": (mirror.canary, _FIVE_MINUTES),
        "Worker": (mirror.worker, _FIVE_MINUTES),
    }
    for name, (function, period) in functions.items():
        if function:
            yield AlarmRule(
                name=f"OperatingErrors{name}",
                section="operating-errors",
                meaning=f"The {name.lower()} function fails repeatedly.",
                metric=function_metric(function, "Errors", "Sum", period),
                threshold=0,
                datapoints_to_alarm=2,
                evaluation_periods=2,
                missing_data=_NOT_BREACHING,
                reason="good: the function did not run.",
            )
    if mirror.inspector:
        yield AlarmRule(
            name="InspectorFailed",
            section="inspector-failed",
            meaning="The inspector could not read records, or ask a question.",
            metric=mirror.inspector.failures.metric_approximate_number_of_messages_visible(
                statistic="Maximum", period=_FIVE_MINUTES
            ),
            threshold=0,
            missing_data=_NOT_BREACHING,
            reason="good: SQS reports nothing of a queue that is empty for long.",
        )
    if mirror.rebuild:
        yield AlarmRule(
            name="RebuildFailed",
            section="rebuild-failed",
            meaning="A rebuild or a verification ended with an error.",
            metric=machine_metric(mirror.rebuild, "ExecutionsFailed", "Sum", _FIVE_MINUTES),
            threshold=0,
            missing_data=_NOT_BREACHING,
            reason="good: no execution ran.",
        )
        for table in mirror.tables:
            yield AlarmRule(
                name=f"JobTakesLong{table.id}",
                section="job-takes-long",
                meaning="A job over the whole table takes more than a day, or cannot end.",
                metric=table.own_metric(metrics.LONG_JOBS, "Sum", _FIVE_MINUTES),
                threshold=0,
                missing_data=_NOT_BREACHING,
                reason="good: no such job began.",
            )
    if mirror.watchdog:
        yield AlarmRule(
            name="WatchdogSilent",
            section="watchdog-silent",
            meaning="For half an hour no check of the watchdog succeeded.",
            metric=machine_metric(mirror.watchdog, "ExecutionsSucceeded", "Sum", _HALF_AN_HOUR),
            comparison=_BELOW,
            threshold=1,
            missing_data=_BREACHING,
            reason="bad: a watchdog that does not run must be noticed.",
        )
        for table in mirror.tables:
            yield AlarmRule(
                name=f"RebuildGivenUp{table.id}",
                section="rebuild-given-up",
                meaning="Three rebuilds in a row failed, and the watchdog starts no other.",
                metric=table.own_metric(metrics.REBUILD_GIVEN_UP, "Maximum", _HALF_AN_HOUR),
                threshold=0,
                missing_data=_NOT_BREACHING,
                reason="good: the watchdog has not given up; WatchdogSilent reports one that "
                "does not run.",
            )


def _cache(mirror: MonitoredMirror, thresholds: Thresholds) -> Iterator[AlarmRule]:
    if mirror.max_storage_gb:
        percent = thresholds.cache_storage_percent
        yield AlarmRule(
            name="CacheNearStorageLimit",
            section="cache-near-storage-limit",
            meaning=f"The cache uses more than {percent} % of its storage limit.",
            metric=mirror.cache_metric("BytesUsedForCache", "Maximum", _FIVE_MINUTES),
            threshold=mirror.max_storage_gb * _GB * percent / 100,
            missing_data=_MISSING,
            reason="unknown: ElastiCache always reports this metric, so check the cache.",
        )
    yield AlarmRule(
        name="CacheThrottled",
        section="cache-throttled",
        meaning="ElastiCache refuses commands.",
        metric=mirror.cache_metric("ThrottledCmds", "Sum"),
        threshold=0,
        datapoints_to_alarm=3,
        evaluation_periods=5,
        missing_data=_NOT_BREACHING,
        reason="good: no command was refused.",
    )
    if mirror.max_ecpu:
        percent = thresholds.cache_ecpu_percent
        yield AlarmRule(
            name="CacheNearEcpuLimit",
            section="cache-near-ecpu-limit",
            meaning=f"The cache uses more than {percent} % of its limit of processing units.",
            metric=mirror.cache_metric("ElastiCacheProcessingUnits", "Sum"),
            # The metric counts the units of a period, the limit those of a second.
            threshold=mirror.max_ecpu * MINUTE.to_seconds() * percent / 100,
            datapoints_to_alarm=3,
            evaluation_periods=5,
            missing_data=_NOT_BREACHING,
            reason="good: nobody used the cache.",
        )


def _evictions(metric: cloudwatch.IMetric) -> AlarmRule:
    """Return the rule for a cache that evicts."""
    return AlarmRule(
        name=EVICTIONS,
        section="cache-evictions",
        meaning="The cache is full and evicts keys with an expiry: fences, which keep the order.",
        metric=metric,
        threshold=0,
        missing_data=_NOT_BREACHING,
        reason="good: nobody used the cache.",
    )


def _at_least_five_minutes(interval: Duration) -> Duration:
    return interval if interval.to_minutes() > _FIVE_MINUTES.to_minutes() else _FIVE_MINUTES
