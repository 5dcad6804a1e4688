"""What is measured of a mirror: our own metrics, and those of AWS about its parts."""

from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn

from dynamirror.metrics import DIMENSION, NAMESPACE, Metric

MINUTE = Duration.minutes(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A mirror, as its alarms and its dashboard must know it.

    Args:
        table: the table's name.
        replicator: the function that writes the changes.
        rebuild: the state machine that makes it complete; None for none.
        worker: does that machine's steps; None for none.
        auditor: compares table and cache; None for none.
        audit_every: minutes between two audits.
        canary: writes an item each minute and looks for it; None for none.
        cache: name of the serverless cache; None for another kind.
        max_storage_gb: limit of that cache's storage; None for no limit.
        max_ecpu: limit of its processing units a second; None for no limit.
    """

    table: str
    replicator: lambda_.Function
    rebuild: sfn.IStateMachine | None = None
    worker: lambda_.Function | None = None
    auditor: lambda_.Function | None = None
    audit_every: int = 5
    canary: lambda_.Function | None = None
    cache: str | None = None
    max_storage_gb: int | None = None
    max_ecpu: int | None = None

    def ours(
        self, metric: Metric, statistic: str, period: Duration = MINUTE, *, label: str | None = None
    ) -> cloudwatch.Metric:
        """One of our own metrics, as the functions write it.

        Args:
            metric: one of the catalogue.
            statistic: what is made of the values of a period.
            period: how long that is.
            label: what a graph calls it; default the name.
        """
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=metric.name,
            dimensions_map={DIMENSION: self.table},
            statistic=statistic,
            period=period,
            label=label,
        )

    def of_cache(self, name: str, statistic: str, period: Duration = MINUTE) -> cloudwatch.Metric:
        """One of ElastiCache's metrics of a serverless cache.

        The names are in
        https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/serverless-metrics-events-redis.html.
        That page does not tell the dimension, and aws-cdk's own construct names another; it is
        `clusterId`, as `aws cloudwatch list-metrics` shows:
        https://github.com/open-constructs/aws-cdk-library/pull/68

        Args:
            name: of the metric.
            statistic: what is made of the values of a period.
            period: how long that is.
        """
        assert self.cache
        return cloudwatch.Metric(
            namespace="AWS/ElastiCache",
            metric_name=name,
            dimensions_map={"clusterId": self.cache},
            statistic=statistic,
            period=period,
        )

    @property
    def functions(self) -> dict[str, lambda_.Function]:
        """The functions that there are, by what they are called."""
        found = {
            "replicator": self.replicator,
            "canary": self.canary,
            "auditor": self.auditor,
            "worker": self.worker,
        }
        return {name: function for name, function in found.items() if function}

    @property
    def looked_at(self) -> Duration | None:
        """How often the mirror is looked at from outside; None if it never is."""
        if self.canary:
            return MINUTE
        return Duration.minutes(self.audit_every) if self.auditor else None


def of_function(
    function: lambda_.IFunction, name: str, statistic: str, period: Duration = MINUTE
) -> cloudwatch.Metric:
    """One of Lambda's metrics of a function.

    The names are in https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html.

    Args:
        function: the function.
        name: of the metric.
        statistic: what is made of the values of a period.
        period: how long that is.
    """
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=name,
        dimensions_map={"FunctionName": function.function_name},
        statistic=statistic,
        period=period,
    )
