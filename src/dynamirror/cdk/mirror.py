"""The mirror: the replicator Lambda and its event source mapping."""

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aws_cdk import Acknowledgment, Annotations, Duration, RemovalPolicy, Stack, Token, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.asset import build_asset
from dynamirror.cdk.cache import CacheEndpoint, grant_connect
from dynamirror.cdk.network import Network
from dynamirror.config import Settings, check_views, load_views

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaCode:
    """What the functions run.

    Args:
        code: the asset.
        architecture: what it is built for.
        runtime: the Python it is built for.
        config: path of the `mirror.toml` in it; None for none.
    """

    code: lambda_.Code
    architecture: lambda_.Architecture
    runtime: lambda_.Runtime
    config: str | None

    @classmethod
    def build(
        cls,
        scope: Construct,
        *,
        architecture: Literal["arm64", "x86_64"] = "arm64",
        python: str = "3.14",
        config: str | None = None,
    ) -> "LambdaCode":
        """Build the asset, without Docker; says how large it is.

        Raises:
            DynamirrorError: it cannot be built.
        """
        # CDK reads it until the end, and keeps a copy of its own.
        folder = Path(tempfile.mkdtemp(prefix="dynamirror-asset-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        asset = build_asset(
            folder / "lambda.zip",
            architecture=architecture,
            python=python,
            config=Path(config) if config else None,
        )
        Annotations.of(scope).add_info_v2(
            "dynamirror:asset-size",
            f"Lambda asset: {asset.zipped / 1e6:.1f} MB zipped, {asset.unpacked / 1e6:.1f} MB",
        )
        return cls(
            # The digest of its content, so that nothing is deployed when nothing changed.
            code=lambda_.Code.from_asset(str(asset.path), asset_hash=asset.sha256),
            architecture=lambda_.Architecture.ARM_64
            if architecture == "arm64"
            else lambda_.Architecture.X86_64,
            runtime=lambda_.Runtime(f"python{python}", lambda_.RuntimeFamily.PYTHON),
            config=config,
        )


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
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        source.key_patterns(code.config)
        self.log_group = logs.LogGroup(
            self, "Logs", retention=log_retention, removal_policy=removal_policy
        )
        self.function = lambda_.Function(
            self,
            "Replicator",
            description="dynamirror: DynamoDB stream records into the cache",
            code=code.code,
            handler="dynamirror.handler.handler",
            runtime=code.runtime,
            architecture=code.architecture,
            role=lambda_role(self, self.log_group, in_vpc=True),
            vpc=network.vpc,
            vpc_subnets=network.subnets,
            security_groups=[network.replicator_security_group],
            environment=_environment(self, source, endpoint, code),
            timeout=timeout or Duration.minutes(1),
            memory_size=memory_mb,
            log_group=self.log_group,
            tracing=lambda_.Tracing.ACTIVE if tracing else lambda_.Tracing.DISABLED,
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
                # No limit of attempts or age, and no queue for what failed. While the cache is out,
                # every batch fails: with a limit, an outage would turn into changes given up, and a
                # queue (which holds no records, only where they were) would hand them back out of
                # reach. What cannot be written at all is quarantined, and blocks nobody.
                retry_attempts=-1,
                max_record_age=None,
            )
        )


def _environment(
    scope: Construct, source: MirroredTable, endpoint: CacheEndpoint, code: LambdaCode
) -> dict[str, str]:
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


def lambda_role(scope: Construct, log_group: logs.ILogGroup, *, in_vpc: bool) -> iam.Role:
    """A role that may write its own logs, and nothing else yet."""
    role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    if in_vpc:
        role.add_to_policy(
            iam.PolicyStatement(
                actions=[
                    "ec2:CreateNetworkInterface",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSubnets",
                    "ec2:DeleteNetworkInterface",
                    "ec2:AssignPrivateIpAddresses",
                    "ec2:UnassignPrivateIpAddresses",
                ],
                resources=["*"],
            )
        )
        Validations.of(role).acknowledge(
            Acknowledgment(
                id="AwsSolutions-IAM5[Resource::*]",
                reason=(
                    "Lambda makes its network interfaces with this role, and EC2 knows no narrower "
                    "resource for that; listing streams has none either."
                ),
            )
        )
    return role
