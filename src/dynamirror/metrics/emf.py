"""Metrics for CloudWatch, in embedded metric format: lines of the log, without an API call.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import functools
import logging
import os
from math import isfinite
from time import time
from typing import Any

import msgspec

from dynamirror.log_lines import write_line
from dynamirror.metrics.catalogue import DIMENSION, NAMESPACE, Metric, Values, of_batch
from dynamirror.views.batch_result import BatchResult

logger = logging.getLogger("dynamirror")

_TRUE = frozenset({"1", "y", "yes", "t", "true", "on"})
_FALSE = frozenset({"0", "n", "no", "f", "false", "off", ""})


def emit(table: str, values: Values) -> None:
    """Write metrics as one line; leave out values that are not finite.

    POWERTOOLS_METRICS_DISABLED switches the lines off. A line that cannot be written is reported in
    the log, and raises nothing.

    Args:
        table: the table's name.
        values: the values.
    """
    try:
        finite = {metric: value for metric, value in values.items() if isfinite(value)}
        if not finite or _is_true(os.environ.get("POWERTOOLS_METRICS_DISABLED", "")):
            return
        line: dict[str, Any] = {
            "_aws": {
                "Timestamp": int(time() * 1000),
                "CloudWatchMetrics": _directives(tuple(finite)),
            },
            DIMENSION: table,
        }
        for metric, value in finite.items():
            line[metric.name] = [float(value)]
        write_line(line)
    except Exception:  # metrics must not break an invocation
        logger.exception("metrics not written", extra={"table": table})


def emit_batch(batch: BatchResult) -> None:
    """Write the metrics of a batch as one line, unless the batch is empty."""
    if batch.records:
        emit(batch.table, of_batch(batch))


@functools.cache
def _directives(metrics: tuple[Metric, ...]) -> msgspec.Raw:
    """Return the definitions of metrics, encoded."""
    defined = [{"Name": metric.name, "Unit": metric.unit} for metric in metrics]
    directive = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": defined}
    return msgspec.Raw(msgspec.json.encode([directive]))


@functools.cache
def _is_true(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        reason = f"POWERTOOLS_METRICS_DISABLED must be true or false, not {text!r}"
        logger.warning("metrics not switched off", extra={"reason": reason})
    return text.lower() in _TRUE
