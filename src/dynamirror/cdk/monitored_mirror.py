"""The parts of a mirror that alarms and dashboard watch, and the metrics of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn

from dynamirror.cdk.cache_metrics import serverless_metric
from dynamirror.metrics.catalogue import DIMENSION, NAMESPACE, Metric

MINUTE = Duration.minutes(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredTable:
    """Describe a table of a mirror to alarms and dashboard.

    Args:
        name: name of the table.
        id: end of the names of its alarms, which tells several tables apart.
        canary: whether a canary writes to the table.
    """

    name: str
    id: str = ""
    canary: bool = False

    def own_metric(
        self, metric: Metric, statistic: str, period: Duration = MINUTE, *, label: str | None = None
    ) -> cloudwatch.Metric:
        """Return one of dynamirror's own metrics, with an optional label for graphs."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=metric.name,
            dimensions_map={DIMENSION: self.name},
            statistic=statistic,
            period=period,
            label=label,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredInspector:
    """Describe an inspector to alarms and dashboard.

    Args:
        function: function that samples the streams.
        judge: function that asks the cache.
        failures: queue of what neither could do.
    """

    function: lambda_.Function
    judge: lambda_.Function
    failures: sqs.IQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredMirror:
    """Describe a mirror to its alarms and its dashboard.

    Args:
        tables: tables of the mirror.
        replicators: functions that apply changes to the cache, by the ends of the names of their
            alarms, as in `Mirror.functions`.
        rebuild: state machine that completes the mirror; None for none.
        watchdog: state machine that starts it; None for none.
        worker: function that runs the state machine's steps; None for none.
        auditor: function that compares tables and cache; None for none.
        audit_interval_minutes: minutes between two audits of a table.
        canary: function that writes canary items each minute; None for none.
        inspector: the inspector; None for none.
        cache: name of the serverless cache; None for a cache of another kind.
        max_storage_gb: storage limit of the cache in GB; None for no limit.
        max_ecpu: limit of the cache's processing units a second; None for no limit.
    """

    tables: Sequence[MonitoredTable]
    replicators: Mapping[str, lambda_.Function]
    rebuild: sfn.IStateMachine | None = None
    watchdog: sfn.IStateMachine | None = None
    worker: lambda_.Function | None = None
    auditor: lambda_.Function | None = None
    audit_interval_minutes: int = 5
    canary: lambda_.Function | None = None
    inspector: MonitoredInspector | None = None
    cache: str | None = None
    max_storage_gb: int | None = None
    max_ecpu: int | None = None

    def cache_metric(
        self, name: str, statistic: str, period: Duration = MINUTE
    ) -> cloudwatch.Metric:
        """Return one of ElastiCache's metrics of the serverless cache."""
        assert self.cache
        return serverless_metric(self.cache, name, statistic, period)

    @property
    def replicator(self) -> lambda_.Function:
        """The replicator of all tables, or of the first one."""
        return next(iter(self.replicators.values()))

    def replicator_of(self, table: MonitoredTable) -> lambda_.Function:
        """Return the function that applies a table's changes."""
        return self.replicators.get(table.id, self.replicator)

    @property
    def audit_interval(self) -> Duration:
        """The time between two audits."""
        return Duration.minutes(self.audit_interval_minutes)

    @property
    def functions(self) -> dict[str, lambda_.Function]:
        """The functions that this mirror has, by role."""
        functions = {
            **{
                f"replicator{number if number > 1 else ''}": function
                for number, function in enumerate(self.replicators.values(), 1)
            },
            "canary": self.canary,
            "auditor": self.auditor,
            "worker": self.worker,
            "inspector": self.inspector.function if self.inspector else None,
            "judge": self.inspector.judge if self.inspector else None,
        }
        return {name: function for name, function in functions.items() if function}

    def check_interval(self, table: MonitoredTable) -> Duration | None:
        """Return the time between two checks of a table's mirror; None if nothing checks it."""
        if table.canary:
            return MINUTE
        return self.audit_interval if self.auditor else None


def machine_metric(
    machine: sfn.IStateMachine, name: str, statistic: str, period: Duration
) -> cloudwatch.Metric:
    """Return one of Step Functions' metrics of a state machine.

    The names are in https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html.
    """
    return cloudwatch.Metric(
        namespace="AWS/States",
        metric_name=name,
        dimensions_map={"StateMachineArn": machine.state_machine_arn},
        statistic=statistic,
        period=period,
    )


def function_metric(
    function: lambda_.IFunction, name: str, statistic: str, period: Duration = MINUTE
) -> cloudwatch.Metric:
    """Return one of Lambda's metrics of a function.

    The names are in https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html.
    """
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=name,
        dimensions_map={"FunctionName": function.function_name},
        statistic=statistic,
        period=period,
    )


def log_metric(
    function: lambda_.Function, name: str, statistic: str, period: Duration = MINUTE
) -> cloudwatch.Metric:
    """Return one of CloudWatch Logs' metrics of what a function logs.

    The names are in
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch-Logs-Monitoring-CloudWatch-Metrics.html.
    """
    resource = function.node.default_child
    assert isinstance(resource, lambda_.CfnFunction)
    config = resource.logging_config
    group = getattr(config, "log_group", None) or f"/aws/lambda/{function.function_name}"
    return cloudwatch.Metric(
        namespace="AWS/Logs",
        metric_name=name,
        dimensions_map={"LogGroupName": group},
        statistic=statistic,
        period=period,
    )
