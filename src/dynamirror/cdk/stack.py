"""The stack that deploys a whole mirror."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from aws_cdk import CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.cache import Cache
from dynamirror.cdk.changes_simulator import ChangesSimulator
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.mirror import Mirror
from dynamirror.cdk.network import Network
from dynamirror.cdk.options import StackOptions
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.stack_monitoring import add_monitoring
from dynamirror.cdk.stack_table import key_patterns, stack_table


class DynamirrorStack(Stack):
    """Deploy a table, a cache, and the mirror between them, with options from CDK context.

    Context:
        architecture: processor architecture of the functions: arm64 (default) or x86_64.
        python: Python version of the functions. Default: 3.14.
        config: path of a `mirror.toml`. Default: the default view.
        tableArn, streamArn, keys: ARN of an existing table, ARN of its stream, and names of its key
            attributes, partition key first, separated by a comma. Default: a new table.
        viewType: view type of an existing table's stream. Default: NEW_AND_OLD_IMAGES.
        tableKeyArn: ARN of the customer-managed KMS key that encrypts an existing table.
        retain: whether a new table and the mirror's logs outlive the stack. Default: false.
        deletionProtection, pointInTimeRecovery: whether a new table has deletion protection
            (default false) and point-in-time recovery (default true).
        batchSize, parallelizationFactor, memoryMb: maximum number of records in a batch, number of
            concurrent batches of a shard, and memory in MB of the replicator. Default: 1,000, 1 and
            1,024.
        tracing: whether X-Ray traces functions and state machines. Default: false.
        cacheMaxGb, cacheMaxEcpu: limits of the cache's storage in GB and of its processing units a
            second. Default: 5 and no limit.
        cacheAuthorities: certificate authorities that the functions trust: amazon (default), whose
            roots load 20 ms faster at a cold start, or system, for those of Lambda's runtime.
        heal: whether a watchdog rebuilds the mirror whenever it is incomplete, as a new mirror is.
            Default: true.
        segments, concurrency, rate: number of parts in which a rebuild reads the table, number of
            parts at a time, and their total limit in read units a second. Default: 64, 8 and no
            limit.
        audit: whether an auditor compares a part of the table with the cache on a schedule.
            Default: true.
        auditEvery, auditParts: minutes between two audits, and number of parts of the table.
            Default: 5, and as many as cover the table in a day (288 for 5 minutes).
        auditRepair, auditRate: whether an audit repairs differences, and its limit in read units a
            second. Default: true and no limit.
        simulator: whether to deploy the changes simulator. Default: only with a new table.
        changesCount: number of writes of one run of the simulator. Default: 10.
        canary: whether to write an item each minute and wait for it in the cache. Default: only
            with a new table, because the canary writes to the table.
        alarms, dashboard: whether to create alarms and a dashboard. Default: true.
        alarmTopicArn, alarmEmail: ARN of an SNS topic that alarms notify, or a mail address for
            which the stack creates a topic. Default: neither, so that alarms notify nobody.
        runbookUrl: address of docs/runbook.md, for the links in alarms and dashboard.
        iteratorAgeSeconds, canaryMissingMinutes, canaryLateSeconds: thresholds of the alarms about
            lag, see `Thresholds`. Default: 300, 5 and 10.
        quarantineItems, driftItems, mirrorIncompleteMinutes: thresholds of the alarms about
            correctness. Default: 0, 0 and 30.
        cacheStoragePercent, cacheEcpuPercent: thresholds of the alarms about the cache's limits.
            Default: 80 and 80.

    Args:
        scope: the app.
        id: id of the stack.
        other_context: names of context that other parts of the app read; any other is refused.
        properties: further arguments of `aws_cdk.Stack`.

    Raises:
        ConfigError: an option is wrong, unknown or does not apply, or a view does not fit the
            table.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        other_context: Collection[str] = (),
        **properties: Any,
    ) -> None:
        super().__init__(scope, id, **properties)
        options = StackOptions(self.node)
        options.check_names(other_context)
        removal_policy = RemovalPolicy.RETAIN if options.flag("retain") else RemovalPolicy.DESTROY
        config = options.text("config")
        code = LambdaCode.build(
            self,
            architecture=options.architecture(),
            python=options.text("python") or "3.14",
            config=config,
        )
        source = stack_table(self, options, removal_policy)
        network = Network(self, "Network")
        cache = Cache(
            self,
            "Cache",
            network=network,
            key_patterns=key_patterns(source, options),
            max_storage_gb=options.max_storage_gb,
            max_ecpu=options.max_ecpu,
        )
        endpoint = replace(cache.endpoint, authorities=options.authorities())
        mirror = Mirror(
            self,
            "Mirror",
            source=source,
            endpoint=endpoint,
            network=network,
            code=code,
            batch_size=options.number("batchSize", 1, 10_000) or 1000,
            parallelization_factor=options.number("parallelizationFactor", 1, 10) or 1,
            memory_mb=options.number("memoryMb", 128, 10_240) or 1024,
            tracing=options.flag("tracing"),
            log_retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=removal_policy,
        )
        context = FunctionContext(
            source=source,
            endpoint=endpoint,
            network=network,
            code=code,
            tracing=options.flag("tracing"),
            removal_policy=removal_policy,
        )
        recovery = Recovery(
            self,
            "Recovery",
            context=context,
            heal=options.flag("heal", default=True),
            audit=options.flag("audit", default=True),
            audit_interval_minutes=options.audit_interval_minutes,
            audit_parts=options.number("auditParts", 1, 100_000),
            audit_repair=options.flag("auditRepair", default=True),
            audit_rate=options.number("auditRate", 1, 1_000_000),
            segments=options.number("segments", 1, 10_000) or 64,
            concurrency=options.number("concurrency", 1, 1_000) or 8,
            rate=options.number("rate", 1, 10_000_000),
            max_storage_gb=options.max_storage_gb,
        )
        outputs = {
            "TableName": source.table.table_name,
            "StreamArn": source.table.table_stream_arn or "",
            "CacheEndpoint": f"{endpoint.host}:{endpoint.port}",
            "FunctionName": mirror.function.function_name,
            "LogGroup": mirror.log_group.log_group_name,
            "OperatorName": recovery.operator.function_name,
            "StateMachineArn": recovery.machine.state_machine_arn,
        }
        if options.flag("simulator", default=options.is_new_table):
            simulator = ChangesSimulator(
                self,
                "ChangesSimulator",
                table=source.table,
                code=code,
                changes_count=options.number("changesCount", 1, 1_000) or 10,
            )
            outputs["SimulatorName"] = simulator.function.function_name
        outputs |= add_monitoring(self, options, context=context, mirror=mirror, recovery=recovery)
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
