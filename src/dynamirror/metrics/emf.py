"""Metrics for CloudWatch, in embedded metric format: lines of the log, without an API call.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from aws_lambda_powertools.metrics import EphemeralMetrics

from dynamirror.metrics.catalogue import DIMENSION, NAMESPACE, Values, of_batch
from dynamirror.views.batch_result import BatchResult


def emit(table: str, values: Values) -> None:
    """Write metrics as one line.

    Args:
        table: the table's name.
        values: at least one value, each finite.
    """
    # POWERTOOLS_SERVICE_NAME would add a dimension, and so make other metrics.
    metrics = EphemeralMetrics(namespace=NAMESPACE, service="")
    metrics.add_dimension(DIMENSION, table)
    for metric, value in values.items():
        metrics.add_metric(metric.name, metric.unit.value, value)
    metrics.flush_metrics()


def emit_batch(batch: BatchResult) -> None:
    """Write the metrics of a batch as one line, unless the batch is empty."""
    if batch.records:
        emit(batch.table, of_batch(batch))
