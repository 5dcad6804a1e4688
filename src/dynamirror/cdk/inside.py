"""A function inside the network, that uses the table and the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.cache import CacheEndpoint, grant_connect
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.mirror import MirroredTable, environment
from dynamirror.cdk.network import Network

_READS = ("DescribeTable", "Scan", "GetItem", "BatchGetItem")
# The most that Lambda gives.
LONGEST = Duration.minutes(15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What the functions of a mirror have in common.

    Args:
        source: the table.
        endpoint: the cache.
        network: where they run; it must reach both.
        code: what they run.
        memory_mb: memory of each; 1,769 is one vCPU.
        tracing: whether to trace with X-Ray.
        log_retention: how long logs are kept.
        removal_policy: what becomes of the logs with the stack.
    """

    source: MirroredTable
    endpoint: CacheEndpoint
    network: Network
    code: LambdaCode
    memory_mb: int = 1769
    tracing: bool = False
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    removal_policy: RemovalPolicy = RemovalPolicy.DESTROY

    def log_group(self, scope: Construct) -> logs.LogGroup:
        """Make a log group."""
        return logs.LogGroup(
            scope, "Logs", retention=self.log_retention, removal_policy=self.removal_policy
        )


class InsideFunction(Construct):
    """A function that may read the table, connect to the cache and write its logs.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what it has in common with others.
        handler: what is called.
        description: what it does.
        variables: settings beside those of the cache and the table.
        timeout: of one invocation.
        memory_mb: of the function; default that of the others.
        reads: what it may do with the table.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        handler: str,
        description: str,
        variables: Mapping[str, str] | None = None,
        timeout: Duration = LONGEST,
        memory_mb: int | None = None,
        reads: Sequence[str] = _READS,
    ) -> None:
        super().__init__(scope, id)
        source = inside.source
        settings = environment(self, source=source, endpoint=inside.endpoint, code=inside.code)
        named = {"DYNAMODB_TABLE": source.table.table_name}
        self.function = inside.code.function(
            self,
            "Function",
            handler=handler,
            description=description,
            environment={**settings, **named, **(variables or {})},
            log_group=inside.log_group(self),
            timeout=timeout,
            memory_mb=memory_mb or inside.memory_mb,
            network=inside.network,
            reads_table=True,
            tracing=inside.tracing,
        )
        if reads:
            source.table.grant(self.function, *(f"dynamodb:{one}" for one in reads))
        if source.table.encryption_key:
            source.table.encryption_key.grant_decrypt(self.function)
        grant_connect(inside.endpoint, self.function)
