"""The stack that deploys a whole mirror."""

from typing import Any, Final

from aws_cdk import CfnOutput, CfnResource, Duration, Stack
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.changes_simulator import ChangesSimulator
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.identity_guard import IdentityGuard
from dynamirror.cdk.inspector import Inspector
from dynamirror.cdk.mirror import Mirror
from dynamirror.cdk.mirrored_table import MirroredTable
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.stack_cache import cache_outputs, stack_cache
from dynamirror.cdk.stack_monitoring import add_monitoring
from dynamirror.cdk.stack_network import lookup_environment, stack_network
from dynamirror.cdk.stack_table import key_patterns, removal_policy, stack_tables
from dynamirror.deployment.file import Deployment
from dynamirror.errors import ConfigError

# CloudFormation's limit.
_MAX_RESOURCES: Final = 500


class DynamirrorStack(Stack):
    """Deploy a mirror: its cache, its functions, and the tables that it creates.

    Args:
        scope: the app.
        deployment: what to deploy, from `read_deployment` or `deployment_of`.
        id: id of the stack; default `Dynamirror-NAME`.
        code: code that the functions run; default an asset that is built here.
        properties: further arguments of `aws_cdk.Stack`.

    Raises:
        ConfigError: a view does not fit a table, or a stream cannot feed it.
    """

    def __init__(
        self,
        scope: Construct,
        deployment: Deployment,
        *,
        id: str | None = None,
        code: LambdaCode | None = None,
        **properties: Any,
    ) -> None:
        if environment := lookup_environment(deployment):
            properties.setdefault("env", environment)
        super().__init__(scope, id or deployment.stack_name, **properties)
        self.deployment = deployment
        code = code or LambdaCode.build(
            self,
            architecture=deployment.functions.architecture,
            python=deployment.functions.python,
            config=deployment.path,
        )
        tables = stack_tables(self, deployment)
        network = stack_network(self, deployment)
        if network is not None:
            written = zip(tables, deployment.tables, strict=True)
            network.limit_dynamodb(
                [table.table for table in tables],
                written=[table.table for table, it in written if it in deployment.canary_tables],
            )
        cache = stack_cache(
            self,
            deployment,
            network=network,
            key_patterns=key_patterns(tables, deployment),
            table_names=[table.table.table_name for table in tables],
        )
        context = FunctionContext(
            tables=tables,
            cache=cache,
            network=network,
            code=code,
            tracing=deployment.functions.tracing,
            removal_policy=removal_policy(deployment.mirror),
        )
        mirror = self._mirror(context)
        recovery = self._recovery(context)
        outputs = {
            **self._table_outputs(tables),
            **cache_outputs(cache, network),
            "FunctionName": mirror.function.function_name,
            "LogGroup": mirror.log_group.log_group_name,
            "OperatorName": recovery.operator.function_name,
            "StateMachineArn": recovery.machine.state_machine_arn,
            **self._simulator(context),
            **add_monitoring(
                self,
                deployment,
                context=context,
                mirror=mirror,
                recovery=recovery,
                inspector=self._inspector(context),
            ),
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
        IdentityGuard(
            self,
            "Identity",
            mirror=deployment.mirror.name,
            identity=deployment.identity,
            removed_tables=deployment.mirror.removed_tables,
            code=code,
            removal_policy=context.removal_policy,
        ).guard(self)
        self._check_size()

    def _check_size(self) -> None:
        count = sum(isinstance(child, CfnResource) for child in self.node.find_all())
        if count > _MAX_RESOURCES:
            raise ConfigError(
                f"{self.deployment.path or 'context'}: table: a stack of "
                f"{len(self.deployment.tables)} tables needs {count} resources, and may have "
                f"{_MAX_RESOURCES}; divide the tables among mirrors"
            )

    def _table_outputs(self, tables: list[MirroredTable]) -> dict[str, str]:
        """Return the stack outputs that name the tables."""
        names = [table.table.table_name for table in tables]
        outputs = {"Tables": self.to_json_string(names)}
        if len(tables) == 1:
            outputs |= {"TableName": names[0], "StreamArn": tables[0].table.table_stream_arn or ""}
        return outputs

    def _mirror(self, context: FunctionContext) -> Mirror:
        options = self.deployment.replicator
        return Mirror(
            self,
            "Mirror",
            tables=context.tables,
            cache=context.cache,
            network=context.network,
            code=context.code,
            batch_size=options.batch_size,
            parallelization_factor=options.parallelization_factor,
            max_batching_window=Duration.seconds(options.max_batching_window),
            log_batches=options.log_batches,
            log_sequences=self.deployment.inspector.enabled,
            memory_mb=options.memory_mb,
            reserved_concurrent_executions=options.reserved_concurrency,
            function_per_table=options.function_per_table,
            tracing=context.tracing,
            log_retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=context.removal_policy,
        )

    def _recovery(self, context: FunctionContext) -> Recovery:
        audit, recovery = self.deployment.audit, self.deployment.recovery
        return Recovery(
            self,
            "Recovery",
            context=context,
            heal=recovery.heal,
            audit=audit.enabled,
            audit_interval_minutes=audit.every_minutes,
            audit_parts=audit.parts,
            audit_units=audit.units,
            audit_repair=audit.repair,
            audit_rate=audit.rate,
            segments=recovery.segments,
            concurrency=recovery.concurrency,
            rate=recovery.rate,
        )

    def _inspector(self, context: FunctionContext) -> Inspector | None:
        section = self.deployment.inspector
        if not section.enabled:
            return None
        return Inspector(
            self, "Inspector", context=context, share=section.share, filter=section.filter
        )

    def _simulator(self, context: FunctionContext) -> dict[str, str]:
        """Create the simulator if the deployment has one, and return the output that names it."""
        if not self.deployment.has_simulator:
            return {}
        fitting = [
            table.table
            for table, it in zip(context.tables, self.deployment.tables, strict=True)
            if table.keys == ("id",) and it.types in (None, ("S",))
        ]
        if not fitting:
            raise ConfigError(
                f"{self.deployment.path or 'context'}: simulator: needs a table whose only key is "
                "id (S); set enabled = false"
            )
        function = ChangesSimulator(
            self,
            "ChangesSimulator",
            table=fitting[0],
            code=context.code,
            changes_count=self.deployment.simulator.changes_count,
        ).function
        return {"SimulatorName": function.function_name}
