"""Refuses a deployment that would turn a mirror into another."""

from collections.abc import Sequence

from aws_cdk import CfnOutput, CfnResource, CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from dynamirror.cdk.function import LambdaCode
from dynamirror.deployment.identity import Identity


class IdentityGuard(Construct):
    """Fail an update of the stack whose tables, keys or cache are those of another mirror.

    CloudFormation itself asks the guard before it changes anything else of the stack, whoever
    deploys. The stack's output `MirrorIdentity` holds the identity, for `dynamirror preflight`.

    Args:
        mirror: name of the mirror.
        identity: tables and cache of the mirror.
        removed_tables: tables that the mirror gives up on purpose.
        code: code that the function runs.
        removal_policy: what happens to the logs when the stack is deleted.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        mirror: str,
        identity: Identity,
        removed_tables: Sequence[str],
        code: LambdaCode,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id)
        function = code.function(
            self,
            "Function",
            handler="dynamirror.functions.identity_guard.handler",
            description="refuses to turn a mirror into another",
            environment={},
            log_group=logs.LogGroup(
                self, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=removal_policy
            ),
            timeout=Duration.minutes(1),
            memory_mb=256,
        )
        function.add_to_role_policy(
            # Whether an update is being rolled back, which leads back to the deployed identity.
            iam.PolicyStatement(
                actions=["cloudformation:DescribeStacks"], resources=[Stack.of(self).stack_id]
            )
        )
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type="Custom::DynamirrorIdentity",
            service_token=function.function_arn,
            service_timeout=Duration.minutes(2),
            # There is nothing to delete, so a deletion must not wait for the function.
            removal_policy=RemovalPolicy.RETAIN,
            properties={
                "Mirror": mirror,
                "Identity": identity.to_json(),
                "RemovedTables": list(removed_tables),
            },
        )
        CfnOutput(Stack.of(self), "MirrorIdentity", value=identity.to_json())

    def guard(self, scope: IConstruct) -> None:
        """Let all other resources in a scope wait, so that a refused deployment changes none."""
        first = self.resource.node.default_child
        assert isinstance(first, CfnResource)
        own = {child.node.path for child in self.node.find_all()}
        for child in scope.node.find_all():
            if isinstance(child, CfnResource) and child.node.path not in own:
                child.add_resource_dependency(first)
