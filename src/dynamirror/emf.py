"""Metrics for CloudWatch: one line of embedded metric format in the log, which costs no call.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from aws_lambda_powertools.metrics import EphemeralMetrics

from dynamirror.metrics import DIMENSION, NAMESPACE, Values, of_batch
from dynamirror.report import Batch


def tell(table: str, values: Values) -> None:
    """Write one line.

    Args:
        table: the table's name.
        values: at least one, each finite.
    """
    # Without a service, POWERTOOLS_SERVICE_NAME would be one more dimension, of other metrics.
    metrics = EphemeralMetrics(namespace=NAMESPACE, service="")
    metrics.add_dimension(DIMENSION, table)
    for metric, value in values.items():
        metrics.add_metric(metric.name, metric.unit.value, value)
    metrics.flush_metrics()


def tell_batch(batch: Batch) -> None:
    """Write one line for a batch; none for an empty one."""
    if batch.records:
        tell(batch.table, of_batch(batch))
