"""The catalogue names each metric once, by one rule, and the docs show it."""

import re

import pytest
from tests.support.metric_catalogue import DOCS, renewed

from dynamirror.metrics.catalogue import CATALOGUE, Kind, Unit

NAMES = {metric.name: metric for metric in CATALOGUE}


@pytest.mark.parametrize(
    ("name", "openmetrics"),
    [
        ("Records", "dynamirror_records_total"),
        ("ReplicationLag", "dynamirror_replication_lag_seconds"),
        ("BatchDuration", "dynamirror_batch_duration_seconds"),
        ("MirrorComplete", "dynamirror_mirror_complete"),
        ("DriftRepaired", "dynamirror_drift_repaired_total"),
        ("CanaryLatency", "dynamirror_canary_latency_seconds"),
        ("ConsistentWithin60s", "dynamirror_consistent_within_60s_total"),
    ],
)
def test_one_name_follows_from_the_other(name: str, openmetrics: str) -> None:
    assert NAMES[name].openmetrics_name == openmetrics


def test_names_are_distinct_and_well_formed() -> None:
    assert len(NAMES) == len(CATALOGUE) == len({one.openmetrics_name for one in CATALOGUE})
    for metric in CATALOGUE:
        assert re.fullmatch(r"([A-Z][a-z]+)+(\d+s)?", metric.name)
        assert re.fullmatch("[a-z_0-9]+", metric.openmetrics_name)
        assert metric.help.endswith(".")
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_milliseconds_are_seconds_in_openmetrics() -> None:
    assert NAMES["BatchDuration"].unit is Unit.MILLISECONDS
    assert NAMES["BatchDuration"].in_openmetrics(1500) == 1.5
    assert NAMES["ReplicationLag"].in_openmetrics(1500) == 1500


def test_the_docs_have_the_catalogue_as_it_is() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert text == renewed(text), "renew it: python -m tests.support.metric_catalogue"
