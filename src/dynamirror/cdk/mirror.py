"""The mirror: the replicator function and its event source mappings."""

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.asset import PACKAGED_CONFIG
from dynamirror.cdk.cache_endpoint import CacheEndpoint, MirrorCache
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.mirrored_table import (
    MirroredTable,
    check_tables,
    construct_ids,
    declared_keys,
)
from dynamirror.cdk.monitored_mirror import MINUTE, MonitoredTable, function_metric
from dynamirror.cdk.network import Network
from dynamirror.metrics import catalogue
from dynamirror.metrics.catalogue import Metric
from dynamirror.settings import Settings


class Mirror(Construct):
    """Deploy the replicator, fed by the streams of the tables.

    Args:
        tables: tables to mirror.
        cache: cache to write to: a `Cache`, a `NodeCache` or an `ExistingCache`.
        network: network of the replicator, with a route to the cache; None for no VPC.
        code: code that the function runs.
        batch_size: maximum number of records of one invocation.
        parallelization_factor: number of concurrent invocations of one shard.
        max_batching_window: time that Lambda gathers records for one batch; each change may wait
            for so long. Default none.
        timeout: limit of one invocation; default one minute.
        memory_mb: memory of the function in MB; 1,769 is one vCPU.
        reserved_concurrent_executions: number of concurrent invocations that are reserved for each
            function; None for none.
        function_per_table: whether each table has a function of its own.
        log_retention: time for which logs are kept.
        tracing: whether X-Ray traces the function.
        log_batches: whether the function and Lambda log each batch. Such lines cost more than the
            batches.
        log_sequences: whether the function's lines of metrics have sequence numbers, by which the
            violations that an `Inspector` finds lead to their batch.
        filter_records: whether Lambda skips the records that no view needs.
        removal_policy: what happens to the logs when the stack is deleted.

    Raises:
        ConfigError: a view does not fit a table, or a stream cannot feed it.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        tables: Sequence[MirroredTable],
        cache: MirrorCache,
        network: Network | None,
        code: LambdaCode,
        batch_size: int = 1000,
        parallelization_factor: int = 1,
        max_batching_window: Duration | None = None,
        timeout: Duration | None = None,
        memory_mb: int = 1024,
        reserved_concurrent_executions: int | None = None,
        function_per_table: bool = False,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        tracing: bool = False,
        log_batches: bool = False,
        log_sequences: bool = False,
        filter_records: bool = True,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        check_tables(tables, code.config)
        self.tables = tuple(tables)
        self.log_group = logs.LogGroup(
            self, "Logs", retention=log_retention, removal_policy=removal_policy
        )
        # By the ends of the ids of what each table has, see `construct_ids`.
        self.functions: dict[str, lambda_.Function] = {}
        groups: dict[str, Sequence[MirroredTable]] = {"": tables}
        if function_per_table:
            groups = {end: [table] for end, table in construct_ids(tables).items()}
        for end, group in groups.items():
            function = code.function(
                # Each function has a scope of its own, because its role needs one.
                Construct(self, f"Table{end}") if end else self,
                "Replicator",
                handler="dynamirror.handler.handler",
                description="DynamoDB stream records into the cache",
                environment=environment(
                    self, tables=group, endpoint=cache.endpoint(Role.REPLICATOR), code=code
                )
                | _logged(batches=log_batches, sequences=log_sequences),
                log_group=self.log_group,
                timeout=timeout or Duration.minutes(1),
                memory_mb=memory_mb,
                network=network,
                tracing=tracing,
                reserved_concurrent_executions=reserved_concurrent_executions,
                log_invocations=log_batches,
            )
            cache.grant_connect(function, Role.REPLICATOR)
            for table in group:
                function.add_event_source(
                    sources.DynamoEventSource(
                        table.table,
                        # All that the stream still has: records that were applied before do no
                        # harm.
                        starting_position=lambda_.StartingPosition.TRIM_HORIZON,
                        batch_size=batch_size,
                        parallelization_factor=parallelization_factor,
                        max_batching_window=max_batching_window,
                        report_batch_item_failures=True,
                        bisect_batch_on_error=True,
                        filters=(table.filters(code.config) if filter_records else None) or None,
                        # No limit of attempts or age, and no queue for failed batches. While the
                        # cache is down, every batch fails, and a limit would lose changes. A queue
                        # would hold only the positions of records, not the records. An item that
                        # can never be written is quarantined and blocks no other.
                        retry_attempts=-1,
                        max_record_age=None,
                    )
                )
            self.functions[end] = function

    @property
    def function(self) -> lambda_.Function:
        """The replicator of all tables, or of the first one."""
        return next(iter(self.functions.values()))

    def metric(
        self,
        metric: Metric,
        *,
        table: dynamodb.ITable | None = None,
        statistic: str = "Sum",
        period: Duration = MINUTE,
    ) -> cloudwatch.Metric:
        """Return one of dynamirror's own metrics, from `dynamirror.metrics.catalogue`.

        Args:
            metric: the metric.
            table: the table; default the first one.
            statistic: how the values of a period become one.
            period: time that one value stands for.
        """
        named = (table or self.tables[0].table).table_name
        return MonitoredTable(name=named).own_metric(metric, statistic, period)

    def metric_applied(self, *, table: dynamodb.ITable | None = None) -> cloudwatch.Metric:
        """Return the metric of the entries applied to the cache."""
        return self.metric(catalogue.APPLIED, table=table)

    def metric_failed(self, *, table: dynamodb.ITable | None = None) -> cloudwatch.Metric:
        """Return the metric of the entries that were not applied, and come again."""
        return self.metric(catalogue.FAILED, table=table)

    def metric_quarantine_size(self, *, table: dynamodb.ITable | None = None) -> cloudwatch.Metric:
        """Return the metric of the items in quarantine."""
        return self.metric(catalogue.QUARANTINE_SIZE, table=table, statistic="Maximum")

    def metric_complete(self, *, table: dynamodb.ITable | None = None) -> cloudwatch.Metric:
        """Return the metric that is 1 while the cache holds all of the table."""
        return self.metric(catalogue.MIRROR_COMPLETE, table=table, statistic="Minimum")

    def metric_replication_lag(
        self, *, table: dynamodb.ITable | None = None, statistic: str = "p99"
    ) -> cloudwatch.Metric:
        """Return the metric of the seconds from a record's creation to the end of its batch."""
        return self.metric(catalogue.REPLICATION_LAG, table=table, statistic=statistic)

    def metric_iterator_age(self) -> cloudwatch.Metric:
        """Return Lambda's metric of the age of the oldest record in a batch, in milliseconds."""
        return function_metric(self.function, "IteratorAge", "Maximum")


def _logged(**chosen: bool) -> dict[str, str]:
    return {f"DYNAMIRROR_LOG_{name.upper()}": str(it).lower() for name, it in chosen.items()}


def environment(
    scope: Construct,
    *,
    tables: Sequence[MirroredTable],
    endpoint: CacheEndpoint,
    code: LambdaCode,
) -> dict[str, str]:
    """Return the settings of a function that uses the cache, as environment variables."""
    settings = Settings(
        host=endpoint.host,
        port=endpoint.port,
        tls=endpoint.tls,
        authorities=endpoint.trusted,
        iam_cache=endpoint.iam_cache,
        kind=endpoint.kind,
        user=endpoint.user,
        secret_arn=endpoint.secret.secret_arn if endpoint.secret else None,
        # Lambda sets the variable itself and reserves its name.
        region=Stack.of(scope).region if endpoint.iam_cache else None,
        key_schema=declared_keys(tables, code.config, Stack.of(scope)),
        config=PACKAGED_CONFIG if code.config else None,
    )
    return {name: value for name, value in settings.to_env().items() if name != "AWS_REGION"}
