"""Alarms over metrics of AWS itself, which the emulator lacks, are raised beyond a threshold."""

import pytest
from tests.support.alarm_watch import NAMES
from tests.support.cloudwatch import Definition, Points, state

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("page", "name", "values"),
    [
        ("iterator-age", "AWS/Lambda IteratorAge", (300_000, 301_000)),
        ("replicator-throttles", "AWS/Lambda Throttles", (0, 1)),
        ("inspector-failed", "AWS/SQS ApproximateNumberOfMessagesVisible", (0, 1)),
        ("rebuild-failed", "AWS/States ExecutionsFailed", (0, 1)),
        ("cache-near-storage-limit", "AWS/ElastiCache BytesUsedForCache", (3 * GB, 4.1 * GB)),
        ("cache-evictions", "AWS/ElastiCache Evictions", (0, 1)),
        ("cache-throttled", "AWS/ElastiCache ThrottledCmds", (0, 1)),
        # Of 5,000 a second, in a minute.
        ("cache-near-ecpu-limit", "AWS/ElastiCache ElastiCacheProcessingUnits", (1e5, 2.9e5)),
    ],
)
def test_an_alarm_is_raised_beyond_its_threshold_and_is_over_below(
    alarms: dict[str, list[Definition]], page: str, name: str, values: tuple[float, float]
) -> None:
    (alarm,), (well, bad) = alarms[page], values
    namespace, metric = name.split()
    (dimension,) = alarm["Dimensions"]
    dimensions = {dimension["Name"]: NAMES[dimension["Name"]]}
    points, seen, before = Points(), [], "INSUFFICIENT_DATA"
    for minute in range(30):
        points.add(namespace, metric, dimensions, bad if 10 <= minute < 20 else well, minute)
        before = state(alarm, points, NAMES, now=minute, before=before)
        seen.append(before)
    assert "ALARM" not in seen[5:10]
    assert set(seen[14:20]) == {"ALARM"}
    assert set(seen[25:]) == {"OK"}


@pytest.mark.parametrize(
    ("page", "name", "raised"),
    [
        ("watchdog-silent", "AWS/States ExecutionsSucceeded", None),
        ("rebuild-given-up", "dynamirror RebuildGivenUp", 1.0),
        ("job-takes-long", "dynamirror LongJobs", 1.0),
    ],
)
def test_an_alarm_of_the_watchdog_is_raised_within_half_an_hour_and_is_over_as_soon(
    alarms: dict[str, list[Definition]], page: str, name: str, raised: float | None
) -> None:
    """The watchdog's checks are five minutes apart; those that do not run leave no value."""
    (alarm,) = alarms[page]
    namespace, metric = name.split()
    names = {"table": "it", **NAMES}
    (dimension,) = alarm["Dimensions"]
    dimensions = {dimension["Name"]: names[dimension["Name"]]}
    good = 1.0 if raised is None else None
    points, seen, before = Points(), [], "INSUFFICIENT_DATA"
    for minute in range(180):
        value = raised if 60 <= minute < 120 else good
        if value is not None and minute % 5 == 0:
            points.add(namespace, metric, dimensions, value, minute)
        before = state(alarm, points, names, now=minute, before=before)
        seen.append(before)
    assert set(seen[31:60]) == {"OK"}
    assert set(seen[90:120]) == {"ALARM"}
    assert set(seen[150:]) == {"OK"}
