"""Functions that read the table and use the cache, and the context that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.cache_endpoint import MirrorCache
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.mirror import environment
from dynamirror.cdk.mirrored_table import MirroredTable
from dynamirror.cdk.network import Network

TABLE_READS = ("DescribeTable", "Scan", "BatchGetItem")
# Lambda's limit.
MAX_TIMEOUT = Duration.minutes(15)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionContext:
    """Hold what the functions of one mirror share.

    Args:
        tables: tables that the functions read.
        cache: cache that the functions use.
        network: network with a route to both; None for no VPC.
        code: code that the functions run.
        memory_mb: memory of each function in MB; 1,769 is one vCPU.
        tracing: whether X-Ray traces the functions.
        log_retention: time for which logs are kept.
        removal_policy: what happens to the logs when the stack is deleted.
    """

    tables: Sequence[MirroredTable]
    cache: MirrorCache
    network: Network | None
    code: LambdaCode
    memory_mb: int = 1769
    tracing: bool = False
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY

    def log_group(self, scope: Construct) -> logs.LogGroup:
        """Create a log group named `Logs` in a construct, and return it."""
        return logs.LogGroup(
            scope, "Logs", retention=self.log_retention, removal_policy=self.removal_policy
        )


class MirrorFunction(Construct):
    """Create a function that may read the tables, connect to the cache and write its logs.

    Args:
        context: what the mirror's functions share.
        handler: dotted name of the handler.
        description: what the function does.
        role: as whom it connects to the cache.
        variables: environment variables beside those of the cache and the tables.
        timeout: limit of one invocation.
        memory_mb: memory in MB; default that of the context.
        reads: DynamoDB actions on the tables that are granted.
        tables: tables that the function reads; default those of the context.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        handler: str,
        description: str,
        role: Role = Role.OPERATOR,
        variables: Mapping[str, str] | None = None,
        timeout: Duration = MAX_TIMEOUT,
        memory_mb: int | None = None,
        reads: Sequence[str] = TABLE_READS,
        tables: Sequence[MirroredTable] | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.tables = context.tables if tables is None else tables
        names = [table.table.table_name for table in self.tables]
        settings = environment(
            self, tables=self.tables, endpoint=context.cache.endpoint(role), code=context.code
        )
        settings |= {"DYNAMODB_TABLE": names[0], "DYNAMODB_TABLES": ",".join(names)}
        self.log_group = context.log_group(self)
        self.function = context.code.function(
            self,
            "Function",
            handler=handler,
            description=description,
            environment={**settings, **(variables or {})},
            log_group=self.log_group,
            timeout=timeout,
            memory_mb=memory_mb or context.memory_mb,
            network=context.network,
            reads_table=True,
            tracing=context.tracing,
        )
        for table in (table.table for table in self.tables):
            if reads:
                table.grant(self.function, *(f"dynamodb:{action}" for action in reads))
            if table.encryption_key:
                table.encryption_key.grant_decrypt(self.function)
        context.cache.grant_connect(self.function, role)
