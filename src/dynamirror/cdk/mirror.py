"""The mirror: the replicator Lambda and its event source mapping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack, Token
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.cache import CacheEndpoint, grant_connect
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.network import Network
from dynamirror.config import Settings, check_views, load_views
from dynamirror.filters import patterns
from dynamirror.view import Schema

# Stands for a name that is not known before the table is made.
_UNNAMED = "dynamirror_unnamed_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredTable:
    """A table, new or existing, as a mirror must know it.

    Args:
        table: the table, with its stream; `Table.from_table_attributes(..., table_arn=...,
            table_stream_arn=...)` for an existing one.
        keys: names of its key attributes, partition key first.
        view_type: of its stream.
    """

    table: dynamodb.ITable
    keys: tuple[str, ...]
    view_type: dynamodb.StreamViewType = dynamodb.StreamViewType.NEW_AND_OLD_IMAGES

    def key_patterns(self, config: str | None) -> tuple[str, ...]:
        """Check that the views fit, and tell the glob patterns of the keys that they write.

        Raises:
            ConfigError: the views are wrong, do not fit the table, or its stream cannot feed them.
        """
        name = self.table.table_name
        known = _UNNAMED if Token.is_unresolved(name) else name
        patterns = check_views(load_views(config), known, self.keys, self.view_type.value)
        return tuple(pattern.replace(_UNNAMED, name) for pattern in patterns)

    def filters(self, config: str | None) -> list[Mapping[str, Any]]:
        """The patterns of the records that the views need, for Lambda; none if they need all.

        Raises:
            ConfigError: the views are wrong, or do not fit the table.
        """
        name = self.table.table_name
        known = _UNNAMED if Token.is_unresolved(name) else name
        found = patterns(load_views(config), Schema(known, self.keys), self.view_type.value)
        return [lambda_.FilterCriteria.filter(pattern) for pattern in found]


class Mirror(Construct):
    """Keeps a cache in step with a table.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        source: the table.
        endpoint: the cache, of `Cache` or an existing one.
        network: where the replicator runs; it must reach the cache.
        code: what it runs.
        batch_size: records of one invocation at the most.
        parallelization_factor: invocations of one shard at a time.
        max_batching_window: how long to wait for a full batch.
        timeout: of one invocation.
        memory_mb: of the function; 1,769 is one vCPU.
        log_retention: how long logs are kept.
        tracing: whether to trace with X-Ray.
        filter_records: whether Lambda passes over the records that no view needs.
        removal_policy: what becomes of the logs with the stack.

    Raises:
        ConfigError: a view does not fit the table, or its stream cannot feed the views.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        source: MirroredTable,
        endpoint: CacheEndpoint,
        network: Network,
        code: LambdaCode,
        batch_size: int = 1000,
        parallelization_factor: int = 1,
        max_batching_window: Duration | None = None,
        timeout: Duration | None = None,
        memory_mb: int = 1024,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        tracing: bool = False,
        filter_records: bool = True,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        source.key_patterns(code.config)
        self.log_group = logs.LogGroup(
            self, "Logs", retention=log_retention, removal_policy=removal_policy
        )
        self.function = code.function(
            self,
            "Replicator",
            handler="dynamirror.handler.handler",
            description="DynamoDB stream records into the cache",
            environment=environment(self, source=source, endpoint=endpoint, code=code),
            log_group=self.log_group,
            timeout=timeout or Duration.minutes(1),
            memory_mb=memory_mb,
            network=network,
            tracing=tracing,
        )
        grant_connect(endpoint, self.function)
        self.function.add_event_source(
            sources.DynamoEventSource(
                source.table,
                # Everything that the stream still has; what was there already is harmless.
                starting_position=lambda_.StartingPosition.TRIM_HORIZON,
                batch_size=batch_size,
                parallelization_factor=parallelization_factor,
                max_batching_window=max_batching_window,
                report_batch_item_failures=True,
                bisect_batch_on_error=True,
                filters=(source.filters(code.config) if filter_records else None) or None,
                # No limit of attempts or age, and no queue for what failed. While the cache is out,
                # every batch fails: with a limit, an outage would turn into changes given up, and a
                # queue (which holds no records, only where they were) would hand them back out of
                # reach. What cannot be written at all is quarantined, and blocks nobody.
                retry_attempts=-1,
                max_record_age=None,
            )
        )


def environment(
    scope: Construct, *, source: MirroredTable, endpoint: CacheEndpoint, code: LambdaCode
) -> dict[str, str]:
    """The settings of a function that uses the cache, as environment variables.

    Args:
        scope: tells the region.
        source: the table.
        endpoint: the cache.
        code: what the function runs.
    """
    settings = Settings(
        host=endpoint.host,
        port=endpoint.port,
        tls=endpoint.tls,
        iam_cache=endpoint.name,
        user=endpoint.user,
        # Given by Lambda itself, which reserves the name.
        region=Stack.of(scope).region if endpoint.name else None,
        key_schema=",".join(source.keys),
        config="mirror.toml" if code.config else None,
    )
    return {name: value for name, value in settings.to_env().items() if name != "AWS_REGION"}
