"""Lambda functions: what they run, and the least that each of them may do."""

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
        if not asset.compiled:
            Annotations.of(scope).add_info_v2(
                "dynamirror:asset-not-compiled",
                f"Lambda asset: no python{python} is here to compile it with, so each cold start "
                "takes about 0.1 s longer; install it, or name the version that is here, as in "
                f"-c python={sys.version_info.major}.{sys.version_info.minor}",
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
    ) -> lambda_.Function:
        """Make a function that runs it, and may do nothing yet but write its logs.

        Args:
            scope: the construct that the function and its role are part of; one function each.
            id: its name there.
            handler: what is called.
            description: what it does.
            environment: its settings.
            log_group: where it writes.
            timeout: of one invocation.
            memory_mb: its memory; 1,769 is one vCPU.
            network: where it runs; None for outside any VPC.
            reads_table: whether it must reach DynamoDB from there, and not the cache alone.
            tracing: whether to trace with X-Ray.
        """
        groups = None
        if network:
            inside = network.operator_security_group
            groups = [inside if reads_table else network.replicator_security_group]
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
        )


def _role(scope: Construct, log_group: logs.ILogGroup, *, in_vpc: bool) -> iam.Role:
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
                    "resource for that; listing streams and X-Ray have none either."
                ),
            )
        )
    return role
