"""Lambda functions with least privilege."""

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aws_cdk import Acknowledgment, Annotations, Duration, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.asset import build_asset
from dynamirror.cdk.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaCode:
    """Hold the code that the functions run.

    Args:
        code: Lambda asset.
        architecture: processor architecture of the asset.
        runtime: Python runtime of the asset.
        config: path of the packaged `mirror.toml`; None for none.
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
        """Build the asset without Docker, and annotate the scope with its size.

        Args:
            scope: construct that receives the annotations.
            architecture: processor architecture of the functions.
            python: Python version of the functions.
            config: path of a `mirror.toml` to package; None for the default view.

        Raises:
            DynamirrorError: the asset cannot be built.
        """
        # CDK copies the asset when the app is synthesised, so the folder lives as long as we do.
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
        if not asset.compiled:
            Annotations.of(scope).add_info_v2(
                "dynamirror:asset-not-compiled",
                f"Lambda asset: this machine has no python{python} to compile it, so each cold "
                "start takes about 0.1 s longer; install that version, or deploy with the one "
                f"that runs here: -c python={sys.version_info.major}.{sys.version_info.minor}",
            )
        return cls(
            # With a digest of the content, an unchanged asset is not deployed again.
            code=lambda_.Code.from_asset(str(asset.path), asset_hash=asset.sha256),
            architecture=lambda_.Architecture.ARM_64
            if architecture == "arm64"
            else lambda_.Architecture.X86_64,
            runtime=lambda_.Runtime(f"python{python}", lambda_.RuntimeFamily.PYTHON),
            config=config,
        )

    def function(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        description: str,
        environment: Mapping[str, str],
        log_group: logs.ILogGroup,
        timeout: Duration,
        memory_mb: int,
        network: Network | None = None,
        reads_table: bool = False,
        tracing: bool = False,
        reserved_concurrent_executions: int | None = None,
    ) -> lambda_.Function:
        """Create a function that runs this code and may write its logs only.

        Args:
            scope: construct that contains the function and its role; one function each.
            id: name of the function in that scope.
            handler: dotted name of the handler.
            description: what the function does.
            environment: environment variables of the function.
            log_group: log group that the function writes to.
            timeout: limit of one invocation.
            memory_mb: memory in MB; 1,769 is one vCPU.
            network: network of the function; None to run outside any VPC.
            reads_table: whether the function must reach DynamoDB beside the cache.
            tracing: whether X-Ray traces the function.
            reserved_concurrent_executions: number of concurrent invocations that are reserved for
                the function; None for none.
        """
        groups = None
        if network:
            groups = [
                network.operator_security_group
                if reads_table
                else network.replicator_security_group
            ]
        return lambda_.Function(
            scope,
            id,
            description=f"dynamirror: {description}",
            code=self.code,
            handler=handler,
            runtime=self.runtime,
            architecture=self.architecture,
            role=_role(scope, log_group, in_vpc=network is not None),
            vpc=network.vpc if network else None,
            vpc_subnets=network.subnets if network else None,
            security_groups=groups,
            environment=dict(environment),
            timeout=timeout,
            memory_size=memory_mb,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE if tracing else lambda_.Tracing.DISABLED,
            reserved_concurrent_executions=reserved_concurrent_executions,
        )


def _role(scope: Construct, log_group: logs.ILogGroup, *, in_vpc: bool) -> iam.Role:
    """Return a role that may write to one log group, and join a VPC if needed."""
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
                    "Lambda creates its network interfaces with this role, and EC2 has no narrower "
                    "resource for that. Listing streams and X-Ray have none either."
                ),
            )
        )
    return role
