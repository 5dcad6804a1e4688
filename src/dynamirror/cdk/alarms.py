"""Alarms: what must not stay unseen, each with a page of the runbook."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from dynamirror import metrics
from dynamirror.cdk.measures import MINUTE, Watched, of_function

RUNBOOK = "docs/runbook.md"

_FIVE_MINUTES = Duration.minutes(5)
_GB = 1_000_000_000
_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_GOOD = cloudwatch.TreatMissingData.NOT_BREACHING
_BAD = cloudwatch.TreatMissingData.BREACHING
_AS_BEFORE = cloudwatch.TreatMissingData.IGNORE
_UNKNOWN = cloudwatch.TreatMissingData.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When an alarm is raised.

    Args:
        iterator_age_seconds: age of the oldest record that the replicator is given.
        canary_missing_minutes: so long the canary's item is not seen.
        canary_late_seconds: what the canary's item takes from table to cache.
        quarantine_items: more items than this in quarantine.
        drift_items: more items than this that an audit found different.
        mirror_incomplete_minutes: so long the mirror is incomplete; more than a rebuild takes, so
            that what heals by itself wakes nobody.
        cache_storage_percent: of the cache's storage limit.
        cache_ecpu_percent: of the cache's limit of processing units.
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
class Rule:
    """One alarm.

    Args:
        name: in PascalCase.
        section: of the runbook: the alarm's name in lower case with dashes, without the function's.
        meaning: what it says, in one sentence.
        metric: what is looked at.
        comparison: with the threshold.
        threshold: beyond which a period is bad.
        bad: so many bad periods raise the alarm...
        of: ...of so many in a row.
        missing: what a period without data is taken for.
        because: why.
    """

    name: str
    section: str
    meaning: str
    metric: cloudwatch.IMetric
    threshold: float
    missing: cloudwatch.TreatMissingData
    because: str
    comparison: cloudwatch.ComparisonOperator = _ABOVE
    bad: int = 1
    of: int = 1


class Alarms(Construct):
    """The alarms of one mirror; those that need a part which is not there are left out.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        watched: the mirror.
        thresholds: when alarms are raised.
        topic: is told when an alarm is raised, and when it is over; None for nobody.
        runbook: address of the runbook, as it stands in the alarms' descriptions.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        watched: Watched,
        thresholds: Thresholds | None = None,
        topic: sns.ITopic | None = None,
        runbook: str = RUNBOOK,
    ) -> None:
        super().__init__(scope, id)
        given = thresholds or Thresholds()
        self.alarms: dict[str, cloudwatch.Alarm] = {}
        for rule in _rules(watched, given):
            alarm = cloudwatch.Alarm(
                self,
                rule.name,
                metric=rule.metric,
                comparison_operator=rule.comparison,
                threshold=rule.threshold,
                datapoints_to_alarm=rule.bad,
                evaluation_periods=rule.of,
                treat_missing_data=rule.missing,
                alarm_description=(
                    f"{rule.meaning} Without data: {rule.because} {runbook}#{rule.section}"
                ),
            )
            if topic:
                alarm.add_alarm_action(actions.SnsAction(topic))
                alarm.add_ok_action(actions.SnsAction(topic))
            self.alarms[rule.name] = alarm


def _rules(watched: Watched, given: Thresholds) -> Iterator[Rule]:
    yield from _replicator(watched, given)
    if watched.canary:
        yield from _canary(watched, given)
    if watched.looked_at:
        yield from _state(watched, watched.looked_at, given)
    yield from _operating(watched)
    if watched.cache:
        yield from _cache(watched, given)


def _replicator(watched: Watched, given: Thresholds) -> Iterator[Rule]:
    """Whether changes get through, in time."""
    idle = "good: nothing was written to the table."
    yield Rule(
        name="IteratorAge",
        section="iterator-age",
        meaning=f"The replicator is more than {given.iterator_age_seconds} s behind the table.",
        metric=of_function(watched.replicator, "IteratorAge", "Maximum"),
        threshold=given.iterator_age_seconds * 1000,
        bad=3,
        of=5,
        missing=_GOOD,
        because=idle,
    )
    yield Rule(
        name="EntriesFailed",
        section="entries-failed",
        meaning="Entries cannot be written; their batches come again until they are.",
        metric=watched.ours(metrics.FAILED, "Sum"),
        threshold=0,
        bad=3,
        of=5,
        missing=_GOOD,
        because=idle,
    )
    yield Rule(
        name="ReplicatorErrors",
        section="replicator-errors",
        meaning="The replicator ends with an error; its batches come again until it does not.",
        metric=of_function(watched.replicator, "Errors", "Sum"),
        threshold=0,
        bad=3,
        of=5,
        missing=_GOOD,
        because=idle,
    )
    yield Rule(
        name="ReplicatorThrottles",
        section="replicator-throttles",
        meaning="Lambda does not run the replicator as often as the stream needs it.",
        metric=of_function(watched.replicator, "Throttles", "Sum"),
        threshold=0,
        bad=3,
        of=5,
        missing=_GOOD,
        because=idle,
    )


def _canary(watched: Watched, given: Thresholds) -> Iterator[Rule]:
    """Whether an item that was just written is seen."""
    minutes = given.canary_missing_minutes
    yield Rule(
        name="CanaryMissing",
        section="canary-missing",
        meaning=f"For {minutes} minutes no item that was written to the table came to the cache.",
        metric=watched.ours(metrics.CANARY_SEEN, "Maximum"),
        comparison=_BELOW,
        threshold=1,
        bad=minutes,
        of=minutes,
        missing=_BAD,
        because="bad: a canary that does not run must be noticed.",
    )
    yield Rule(
        name="CanaryLate",
        section="canary-late",
        meaning=f"A change takes more than {given.canary_late_seconds} s from table to cache.",
        metric=watched.ours(metrics.CANARY_LATENCY, "Maximum"),
        threshold=given.canary_late_seconds * 1000,
        bad=3,
        of=5,
        missing=_GOOD,
        because="good: an item that was not seen is told of by CanaryMissing.",
    )


def _state(watched: Watched, every: Duration, given: Thresholds) -> Iterator[Rule]:
    """Whether the mirror holds what the table holds, as far as the canary and audits tell."""
    blind = "as before: nobody looked, which CanaryMissing or OperatingErrors tells."
    # So that each period has a look at least, though one may be a little late.
    period = _longer(every)
    # One more: looks at both ends of so many periods may lie a period less apart.
    periods = ceil(given.mirror_incomplete_minutes / period.to_minutes()) + 1
    yield Rule(
        name="MirrorIncomplete",
        section="mirror-incomplete",
        meaning=f"The mirror has been incomplete for {given.mirror_incomplete_minutes} minutes.",
        # The auditor asks the table, too, which the canary must not: it may know better.
        metric=watched.ours(metrics.MIRROR_COMPLETE, "Minimum", period),
        comparison=_BELOW,
        threshold=1,
        bad=periods,
        of=periods,
        missing=_AS_BEFORE,
        because=blind,
    )
    yield Rule(
        name="QuarantineNotEmpty",
        section="quarantine-not-empty",
        meaning="Items could not become entries, and are in quarantine.",
        metric=watched.ours(metrics.QUARANTINE_SIZE, "Maximum", period),
        threshold=given.quarantine_items,
        missing=_AS_BEFORE,
        because=blind,
    )
    if watched.auditor:
        yield Rule(
            name="DriftFound",
            section="drift-found",
            meaning="An audit found entries that were not as their items.",
            metric=watched.ours(
                metrics.DRIFT_FOUND, "Sum", _longer(Duration.minutes(watched.audit_every))
            ),
            threshold=given.drift_items,
            missing=_GOOD,
            because="good: nothing was compared, so nothing was found.",
        )


def _operating(watched: Watched) -> Iterator[Rule]:
    """Whether what looks after the mirror works itself."""
    audits = _longer(Duration.minutes(watched.audit_every))
    operating: dict[str, tuple[lambda_.Function | None, Duration]] = {
        "Auditor": (watched.auditor, audits),
        "Canary": (watched.canary, _FIVE_MINUTES),
        "Worker": (watched.worker, _FIVE_MINUTES),
    }
    for name, (function, period) in operating.items():
        if function:
            yield Rule(
                name=f"OperatingErrors{name}",
                section="operating-errors",
                meaning=f"The {name.lower()} function fails again and again.",
                metric=of_function(function, "Errors", "Sum", period),
                threshold=0,
                bad=2,
                of=2,
                missing=_GOOD,
                because="good: it was not run.",
            )
    if watched.rebuild:
        yield Rule(
            name="RebuildFailed",
            section="rebuild-failed",
            meaning="A rebuild or a verification ended with an error.",
            metric=cloudwatch.Metric(
                namespace="AWS/States",
                metric_name="ExecutionsFailed",
                dimensions_map={"StateMachineArn": watched.rebuild.state_machine_arn},
                statistic="Sum",
                period=_FIVE_MINUTES,
            ),
            threshold=0,
            missing=_GOOD,
            because="good: none was run.",
        )


def _cache(watched: Watched, given: Thresholds) -> Iterator[Rule]:
    """Whether the cache has room and time left."""
    if watched.max_storage_gb:
        percent = given.cache_storage_percent
        yield Rule(
            name="CacheNearStorageLimit",
            section="cache-near-storage-limit",
            meaning=f"The cache holds more than {percent} % of what it may.",
            metric=watched.of_cache("BytesUsedForCache", "Maximum", _FIVE_MINUTES),
            threshold=watched.max_storage_gb * _GB * percent / 100,
            missing=_UNKNOWN,
            because="unknown: ElastiCache always tells it, so something is amiss.",
        )
    yield Rule(
        name="CacheThrottled",
        section="cache-throttled",
        meaning="ElastiCache refuses commands.",
        metric=watched.of_cache("ThrottledCmds", "Sum"),
        threshold=0,
        bad=3,
        of=5,
        missing=_GOOD,
        because="good: no command was refused.",
    )
    if watched.max_ecpu:
        percent = given.cache_ecpu_percent
        yield Rule(
            name="CacheNearEcpuLimit",
            section="cache-near-ecpu-limit",
            meaning=f"The cache does more than {percent} % of what it may.",
            metric=watched.of_cache("ElastiCacheProcessingUnits", "Sum"),
            # The metric counts the units of a period, the limit those of a second.
            threshold=watched.max_ecpu * MINUTE.to_seconds() * percent / 100,
            bad=3,
            of=5,
            missing=_GOOD,
            because="good: nobody used the cache.",
        )


def _longer(every: Duration) -> Duration:
    """The interval, or five minutes if that is longer."""
    return every if every.to_minutes() > _FIVE_MINUTES.to_minutes() else _FIVE_MINUTES
