"""ElastiCache's metrics of a serverless cache."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch


def serverless_metric(cache: str, name: str, statistic: str, period: Duration) -> cloudwatch.Metric:
    """Return one of ElastiCache's metrics of a serverless cache.

    AWS lists the names in
    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/serverless-metrics-events-redis.html
    but not the dimension, and aws-cdk's own construct uses another one.
    `aws cloudwatch list-metrics` shows `clusterId`:
    https://github.com/open-constructs/aws-cdk-library/pull/68

    Args:
        cache: name of the cache.
        name: name of the metric.
        statistic: how the values of a period become one.
        period: time that one value stands for.
    """
    return cloudwatch.Metric(
        namespace="AWS/ElastiCache",
        metric_name=name,
        dimensions_map={"clusterId": cache},
        statistic=statistic,
        period=period,
    )
