"""The mirror: the replicator function and its event source mapping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack, Token
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.asset import PACKAGED_CONFIG
from dynamirror.cdk.cache import CacheEndpoint, grant_connect
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.network import Network
from dynamirror.settings import Settings, load_views
from dynamirror.views.event_filter import patterns
from dynamirror.views.mirror_toml import check_views
from dynamirror.views.view import Schema

# Placeholder for a table name that CloudFormation only knows after it creates the table.
UNNAMED = "dynamirror_unnamed_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredTable:
    """Describe the table to mirror, new or existing.

    Args:
        table: table with its stream; for an existing one,
            `Table.from_table_attributes(..., table_arn=..., table_stream_arn=...)`.
        keys: names of the key attributes, partition key first.
        view_type: view type of the stream.
    """

    table: dynamodb.ITable
    keys: tuple[str, ...]
    view_type: dynamodb.StreamViewType = dynamodb.StreamViewType.NEW_AND_OLD_IMAGES

    def key_patterns(self, config: str | None) -> tuple[str, ...]:
        """Return the glob patterns of the keys that the views of a `mirror.toml` write.

        Raises:
            ConfigError: a view is malformed, does not fit the table, or the stream cannot feed it.
        """
        name = self.table.table_name
        views = load_views(config)
        globs = check_views(views, self._known_name, self.keys, self.view_type.value)
        return tuple(glob.replace(UNNAMED, name) for glob in globs)

    def filters(self, config: str | None) -> list[Mapping[str, Any]]:
        """Return Lambda's filters for the records that the views need; none if they need all.

        Raises:
            ConfigError: a view is malformed, or does not fit the table.
        """
        schema = Schema(self._known_name, self.keys)
        return [
            lambda_.FilterCriteria.filter(pattern)
            for pattern in patterns(load_views(config), schema, self.view_type.value)
        ]

    @property
    def _known_name(self) -> str:
        name = self.table.table_name
        return UNNAMED if Token.is_unresolved(name) else name


class Mirror(Construct):
    """Deploy the replicator, fed by the table's stream.

    Args:
        source: table to mirror.
        endpoint: cache to write to, from `Cache` or an existing one.
        network: network of the replicator, with a route to the cache.
        code: code that the function runs.
        batch_size: maximum number of records of one invocation.
        parallelization_factor: number of concurrent invocations of one shard.
        max_batching_window: time that Lambda gathers records for one batch; each change may wait
            for so long. Default none.
        timeout: limit of one invocation; default one minute.
        memory_mb: memory of the function in MB; 1,769 is one vCPU.
        log_retention: time for which logs are kept.
        tracing: whether X-Ray traces the function.
        log_batches: whether the function and Lambda log each batch. Such lines cost more than the
            batches.
        filter_records: whether Lambda skips the records that no view needs.
        removal_policy: what happens to the logs when the stack is deleted.

    Raises:
        ConfigError: a view does not fit the table, or the stream cannot feed it.
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
        log_batches: bool = False,
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
            environment=environment(self, source=source, endpoint=endpoint, code=code)
            | {"DYNAMIRROR_LOG_BATCHES": str(log_batches).lower()},
            log_group=self.log_group,
            timeout=timeout or Duration.minutes(1),
            memory_mb=memory_mb,
            network=network,
            tracing=tracing,
            log_invocations=log_batches,
        )
        grant_connect(endpoint, self.function)
        self.function.add_event_source(
            sources.DynamoEventSource(
                source.table,
                # All that the stream still has: records that were applied before do no harm.
                starting_position=lambda_.StartingPosition.TRIM_HORIZON,
                batch_size=batch_size,
                parallelization_factor=parallelization_factor,
                max_batching_window=max_batching_window,
                report_batch_item_failures=True,
                bisect_batch_on_error=True,
                filters=(source.filters(code.config) if filter_records else None) or None,
                # No limit of attempts or age, and no queue for failed batches. While the cache is
                # down, every batch fails, and a limit would lose changes. A queue would hold only
                # the positions of records, not the records. An item that can never be written is
                # quarantined and blocks no other.
                retry_attempts=-1,
                max_record_age=None,
            )
        )


def environment(
    scope: Construct, *, source: MirroredTable, endpoint: CacheEndpoint, code: LambdaCode
) -> dict[str, str]:
    """Return the settings of a function that uses the cache, as environment variables."""
    settings = Settings(
        host=endpoint.host,
        port=endpoint.port,
        tls=endpoint.tls,
        authorities=endpoint.trusted,
        iam_cache=endpoint.name,
        user=endpoint.user,
        # Lambda sets the variable itself and reserves its name.
        region=Stack.of(scope).region if endpoint.name else None,
        key_schema=",".join(source.keys),
        config=PACKAGED_CONFIG if code.config else None,
    )
    return {name: value for name, value in settings.to_env().items() if name != "AWS_REGION"}
