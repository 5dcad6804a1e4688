"""The monitoring of the stack: the canary, alarms and dashboard that the options ask for."""

from aws_cdk import Annotations
from aws_cdk import aws_sns as sns
from constructs import Construct

from dynamirror.cdk.alarm_rules import Thresholds
from dynamirror.cdk.alarms import RUNBOOK, Alarms
from dynamirror.cdk.canary import Canary
from dynamirror.cdk.dashboard import Dashboard
from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.mirror import Mirror
from dynamirror.cdk.monitored_mirror import MonitoredMirror
from dynamirror.cdk.options import MINUTES_A_DAY, StackOptions
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.topic import AlarmTopic
from dynamirror.errors import ConfigError

_COLONS_IN_TOPIC_ARN = 5
_THRESHOLD_RANGES = {
    "iteratorAgeSeconds": (1, 86_400),
    "canaryMissingMinutes": (1, MINUTES_A_DAY),
    "canaryLateSeconds": (1, 45),
    "quarantineItems": (0, 1_000_000),
    "driftItems": (0, 1_000_000),
    "mirrorIncompleteMinutes": (5, MINUTES_A_DAY // 2),
    "cacheStoragePercent": (1, 100),
    "cacheEcpuPercent": (1, 100),
}


def add_monitoring(
    scope: Construct,
    options: StackOptions,
    *,
    context: FunctionContext,
    mirror: Mirror,
    recovery: Recovery,
) -> dict[str, str]:
    """Create canary, alarms and dashboard, and return the stack outputs that name them.

    Raises:
        ConfigError: an option is wrong.
    """
    canary = _canary(scope, options, context)
    monitored = MonitoredMirror(
        table=context.source.table.table_name,
        replicator=mirror.function,
        rebuild=recovery.machine,
        worker=recovery.worker,
        auditor=recovery.auditor.function if recovery.auditor else None,
        audit_interval_minutes=options.audit_interval_minutes,
        canary=canary.function if canary else None,
        cache=context.endpoint.name,
        max_storage_gb=options.max_storage_gb,
        max_ecpu=options.max_ecpu,
    )
    outputs = {"CanaryName": canary.function.function_name} if canary else {}
    runbook = options.text("runbookUrl") or RUNBOOK
    alarms = _alarms(scope, options, monitored, runbook)
    if options.flag("dashboard", default=True):
        dashboard = Dashboard(
            scope,
            "Dashboard",
            mirror=monitored,
            alarms=tuple(alarms.alarms.values()) if alarms else (),
            runbook=runbook,
        )
        outputs["DashboardName"] = dashboard.resource.dashboard_name
    return outputs


def _canary(scope: Construct, options: StackOptions, context: FunctionContext) -> Canary | None:
    if options.flag("canary", default=options.is_new_table):
        return Canary(scope, "Canary", context=context)
    if options.text("canary") is None:
        Annotations.of(scope).add_info_v2(
            "dynamirror:no-canary",
            "There is no canary, because it would write one item a minute to a table that this "
            "stack does not own. No alarm reports changes that stop arriving without an error "
            "(CanaryMissing), or that arrive late (CanaryLate). A canary needs a partition key of "
            "type S. Switch it on with -c canary=true, or hide this with -c canary=false.",
        )
    return None


def _alarms(
    scope: Construct, options: StackOptions, monitored: MonitoredMirror, runbook: str
) -> Alarms | None:
    topic = _topic(scope, options)
    if not options.flag("alarms", default=True):
        if topic:
            raise ConfigError("context: alarmTopicArn and alarmEmail need alarms=true")
        return None
    if topic is None:
        Annotations.of(scope).add_info_v2(
            "dynamirror:no-alarm-topic",
            "Alarms are visible in CloudWatch only: nobody is notified. Set "
            "-c alarmTopicArn=ARN or -c alarmEmail=ADDRESS.",
        )
    return Alarms(
        scope,
        "Alarms",
        mirror=monitored,
        thresholds=_thresholds(options),
        topic=topic,
        runbook=runbook,
    )


def _topic(scope: Construct, options: StackOptions) -> sns.ITopic | None:
    arn, email = options.text("alarmTopicArn"), options.text("alarmEmail")
    if arn and email:
        raise ConfigError("context: alarmTopicArn and alarmEmail exclude each other; set one")
    if email:
        return AlarmTopic(scope, "AlarmTopic", email=email).topic
    if arn is None:
        return None
    if arn.count(":") != _COLONS_IN_TOPIC_ARN or ":sns:" not in arn:
        raise ConfigError(
            f"context: alarmTopicArn: {arn!r} is not the ARN of a topic; it looks like "
            "arn:aws:sns:REGION:ACCOUNT:NAME"
        )
    return sns.Topic.from_topic_arn(scope, "AlarmTopic", arn)


def _thresholds(options: StackOptions) -> Thresholds:
    numbers = {
        name: options.number(name, low, high) for name, (low, high) in _THRESHOLD_RANGES.items()
    }
    if numbers["canaryLateSeconds"] is None:  # the canary's change waits for the window, too
        numbers["canaryLateSeconds"] = Thresholds().canary_late_seconds + options.batching_window
    return Thresholds(
        **{_snake_case(name): value for name, value in numbers.items() if value is not None}
    )


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
