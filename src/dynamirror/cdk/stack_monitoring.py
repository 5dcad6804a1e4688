"""The monitoring of the stack: the canary, alarms and dashboard that the deployment asks for."""

from collections.abc import Sequence

import msgspec
from aws_cdk import Annotations
from aws_cdk import aws_sns as sns
from constructs import Construct

from dynamirror.cdk import alarms as alarm_constructs
from dynamirror.cdk.alarm_rules import Thresholds
from dynamirror.cdk.canary import Canary
from dynamirror.cdk.dashboard import Dashboard
from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.inspector import Inspector
from dynamirror.cdk.mirror import Mirror
from dynamirror.cdk.mirrored_table import MirroredTable, construct_ids
from dynamirror.cdk.monitored_mirror import MonitoredInspector, MonitoredMirror, MonitoredTable
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.topic import AlarmTopic
from dynamirror.deployment.file import Deployment
from dynamirror.deployment.sections import Alarms


def add_monitoring(
    scope: Construct,
    deployment: Deployment,
    *,
    context: FunctionContext,
    mirror: Mirror,
    recovery: Recovery,
    inspector: Inspector | None,
) -> dict[str, str]:
    """Create canary, alarms and dashboard, and return the stack outputs that name them."""
    canary = _canary(scope, deployment, context)
    with_canary = canary.tables if canary else ()
    monitored = MonitoredMirror(
        tables=[
            MonitoredTable(name=table.table.table_name, id=end, canary=table in with_canary)
            for end, table in construct_ids(context.tables).items()
        ],
        replicators=mirror.functions,
        rebuild=recovery.machine,
        watchdog=recovery.watchdog.machine if recovery.watchdog else None,
        worker=recovery.worker,
        auditor=recovery.auditor.function if recovery.auditor else None,
        audit_interval_minutes=deployment.audit.every_minutes,
        canary=canary.function if canary else None,
        inspector=MonitoredInspector(
            function=inspector.function, judge=inspector.judge, failures=inspector.failures
        )
        if inspector
        else None,
        cache=context.cache.name if context.cache.kind == "serverless" else None,
        max_storage_gb=context.cache.max_storage_gb,
        max_ecpu=context.cache.max_ecpu,
    )
    outputs = {"CanaryName": canary.function.function_name} if canary else {}
    if inspector:
        outputs["InspectorName"] = inspector.function.function_name
        outputs["JudgeName"] = inspector.judge.function_name
        outputs["InspectorFailures"] = inspector.failures.queue_url
        outputs["InspectorLogGroup"] = inspector.log_group.log_group_name
    runbook = deployment.alarms.runbook_url or alarm_constructs.RUNBOOK
    alarms = _alarms(scope, deployment, monitored, runbook)
    if deployment.alarms.dashboard:
        dashboard = Dashboard(
            scope,
            "Dashboard",
            mirror=monitored,
            alarms=tuple(alarms.alarms.values()) if alarms else (),
            runbook=runbook,
        )
        outputs["DashboardName"] = dashboard.resource.dashboard_name
    return outputs


def _canary(scope: Construct, deployment: Deployment, context: FunctionContext) -> Canary | None:
    chosen = deployment.canary_tables
    tables = [
        table
        for table, deployed in zip(context.tables, deployment.tables, strict=True)
        if deployed in chosen
    ]
    if deployment.canary.enabled is None and len(tables) < len(context.tables):
        Annotations.of(scope).add_info_v2(
            "dynamirror:no-canary",
            f"There is no canary{_of(context.tables, tables)}, because it would write one item a "
            "minute to a table that this stack does not own. No alarm reports changes that stop "
            "arriving without an error (CanaryMissing), or that arrive late (CanaryLate). A canary "
            "needs a partition key of type S. Switch it on with -c canary=true, or hide this with "
            "-c canary=false.",
        )
    return Canary(scope, "Canary", context=context, tables=tables) if tables else None


def _of(tables: Sequence[MirroredTable], with_canary: Sequence[MirroredTable]) -> str:
    """Return which tables have no canary, where some have one."""
    names = [str(table.name) for table in tables if table not in with_canary]
    return f" of {', '.join(names)}" if with_canary else ""


def _alarms(
    scope: Construct, deployment: Deployment, monitored: MonitoredMirror, runbook: str
) -> alarm_constructs.Alarms | None:
    section = deployment.alarms
    if not section.enabled:
        return None
    topic = _topic(scope, section)
    if topic is None:
        Annotations.of(scope).add_info_v2(
            "dynamirror:no-alarm-topic",
            "Alarms are visible in CloudWatch only: nobody is notified. Set "
            "-c alarmTopicArn=ARN or -c alarmEmail=ADDRESS.",
        )
    return alarm_constructs.Alarms(
        scope,
        "Alarms",
        mirror=monitored,
        thresholds=_thresholds(section, deployment.replicator.max_batching_window),
        topic=topic,
        runbook=runbook,
    )


def _topic(scope: Construct, section: Alarms) -> sns.ITopic | None:
    if section.email:
        return AlarmTopic(scope, "AlarmTopic", email=section.email).topic
    if section.topic_arn is None:
        return None
    return sns.Topic.from_topic_arn(scope, "AlarmTopic", section.topic_arn)


def _thresholds(section: Alarms, max_batching_window: int) -> Thresholds:
    values = msgspec.structs.asdict(section)
    if section.canary_late_seconds is None:  # the canary's change waits for the window, too
        late = Thresholds().canary_late_seconds + max_batching_window
        values["canary_late_seconds"] = late
    return Thresholds(**{name: values[name] for name in Thresholds.__dataclass_fields__})
