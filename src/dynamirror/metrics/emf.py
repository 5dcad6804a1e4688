"""Metrics for CloudWatch, in embedded metric format: lines of the log, without an API call.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import functools
import logging
import os
from collections.abc import Mapping
from math import isfinite
from time import time
from typing import Any, Final

import msgspec

from dynamirror.log_lines import write_line
from dynamirror.metrics.catalogue import (
    BATCH_DURATION,
    DIMENSION,
    NAMESPACE,
    REPLICATION_LAG,
    Metric,
    of_batch,
)
from dynamirror.views.batch_result import BatchResult

logger = logging.getLogger("dynamirror")

_TRUE = frozenset({"1", "y", "yes", "t", "true", "on"})
_FALSE = frozenset({"0", "n", "no", "f", "false", "off", ""})


# A sandbox writes the metrics of its batches this often at the most: not quite a minute, so that
# the batch of each minute's canary is not late.
SECONDS: Final = 55.0
# Most values of one metric in one line. CloudWatch takes 100, but each is paid for.
MOST_VALUES: Final = 20
# How many batches the line sums up, if more than one. It is no metric.
BATCHES: Final = "batches"
# What the lines of single batches call their sequence numbers, too.
FIRST: Final = "first_sequence_number"
LAST: Final = "last_sequence_number"
_SAMPLED = (BATCH_DURATION, REPLICATION_LAG)


def emit(
    table: str,
    values: Mapping[Metric, float | list[float]],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Write metrics as one line; leave out values that are not finite.

    POWERTOOLS_METRICS_DISABLED switches the lines off. A line that cannot be written is reported in
    the log, and raises nothing.

    Args:
        table: the table's name.
        values: a value for each metric, or several, of which `MOST_VALUES` are written.
        labels: further dimensions; the values count with them, and without them.
    """
    finite = {
        metric: _short(_sample(found)) if isinstance(value, list) else found
        for metric, value in values.items()
        if (found := [float(each) for each in _as_list(value) if isfinite(each)])
    }
    _write(table, finite, time(), labels)


def _as_list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


class BatchMetrics:
    """Writes the metrics of one sandbox's batches, several batches a line.

    The first batch after a pause is written at once, and so is every batch with failed or
    quarantined entries. Others wait for the next line, at most `SECONDS` while batches come. A
    count of 0 is left out. Of many durations and lags, a line has `MOST_VALUES`, evenly spaced by
    rank, from the lowest to the highest. Batches that wait when Lambda ends the sandbox are not
    counted.

    Args:
        sequences: whether a line has the lowest and the highest sequence number of its batches.
    """

    def __init__(self, *, sequences: bool = False) -> None:
        self._sequences = sequences
        self._waiting: dict[str, _Waiting] = {}

    def add(self, batch: BatchResult) -> None:
        """Take a batch, and write a line if it is time; an empty batch does not count."""
        if not batch.records:
            return
        now = time()
        for table, waiting in self._waiting.items():
            if waiting.batches and _is_over(waiting.newest, now):
                waiting.write(table)  # with the time of its own batches
        waiting = self._waiting.setdefault(batch.table, _Waiting())
        waiting.add(batch, now)
        if self._sequences and batch.sequence_numbers:
            waiting.numbers += batch.sequence_numbers
        if _is_over(waiting.written, now) or batch.failed or batch.parked:
            waiting.write(batch.table)


class _Waiting:
    """The batches of one table that wait for the next line."""

    def __init__(self) -> None:
        self.batches = 0
        self.newest = self.written = float("-inf")
        self._values: dict[Metric, list[float]] = {}
        self.numbers: list[str] = []

    def add(self, batch: BatchResult, now: float) -> None:
        """Add the values of a batch."""
        self.batches += 1
        self.newest = now
        for metric, value in of_batch(batch).items():
            if metric in _SAMPLED:
                self._values.setdefault(metric, []).append(value)
            elif value:
                (sum_,) = self._values.setdefault(metric, [0])
                self._values[metric] = [sum_ + value]

    def write(self, table: str) -> None:
        """Write all as one line, and wait for others."""
        values, self._values = self._values, {}
        batches, self.batches, self.written = self.batches, 0, self.newest
        extra: dict[str, Any] = {BATCHES: batches} if batches > 1 else {}
        if numbers := self.numbers:
            extra |= {FIRST: min(numbers, key=int), LAST: max(numbers, key=int)}
            self.numbers = []
        sampled = {metric: _short(_sample(found)) for metric, found in values.items()}
        _write(table, sampled, self.newest, extra=extra)


def _is_over(since: float, now: float) -> bool:
    """Return whether the seconds between two lines are over, or the clock was set back."""
    return not 0 <= now - since < SECONDS


def _sample(values: list[float]) -> list[float]:
    """Return values evenly spaced by rank, the lowest and the highest among them."""
    last = len(values) - 1
    if last < MOST_VALUES:
        return values
    ranked = sorted(values)
    return [ranked[round(index * last / (MOST_VALUES - 1))] for index in range(MOST_VALUES)]


def _short(values: list[float]) -> float | list[float]:
    return values if len(values) > 1 else values[0]


def _write(
    table: str,
    values: Mapping[Metric, Any],
    at: float,
    labels: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    try:
        if not values or _is_true(os.environ.get("POWERTOOLS_METRICS_DISABLED", "")):
            return
        line: dict[str, Any] = {
            "_aws": {
                "Timestamp": int(at * 1000),
                "CloudWatchMetrics": _directives(tuple(values), tuple(labels or ())),
            },
            DIMENSION: table,
            **(labels or {}),
            **(extra or {}),
        }
        for metric, value in values.items():
            line[metric.name] = value
        write_line(line)
    except Exception:  # metrics must not break an invocation
        logger.exception("metrics not written", extra={"table": table})


@functools.cache
def _directives(metrics: tuple[Metric, ...], labels: tuple[str, ...]) -> msgspec.Raw:
    """Return the definitions of metrics, encoded."""
    defined = [{"Name": metric.name, "Unit": metric.unit} for metric in metrics]
    dimensions = [[DIMENSION], [DIMENSION, *labels]] if labels else [[DIMENSION]]
    directive = {"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": defined}
    return msgspec.Raw(msgspec.json.encode([directive]))


@functools.cache
def _is_true(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        reason = f"POWERTOOLS_METRICS_DISABLED must be true or false, not {text!r}"
        logger.warning("metrics not switched off", extra={"reason": reason})
    return text.lower() in _TRUE
