"""The monitoring of a mirror: alarms, their topic, the dashboard, and the canary's rights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Annotations, Match, Template
from cdk_nag import AwsSolutionsChecks
from tests.support.aws_rights import CALLS
from tests.support.templates import (
    EXISTING,
    KEY_ARN,
    STREAM_ARN,
    TABLE_ARN,
    Synth,
    Synthesized,
    allowed_actions,
    functions,
    make_stack,
    resources,
    statements,
)

from dynamirror.cdk import Alarms, Dashboard, MonitoredMirror, MonitoredTable
from dynamirror.errors import DynamirrorError
from dynamirror.functions.step_messages import Evicted, Step
from dynamirror.metrics import catalogue as metrics
from dynamirror.views.canary import NAME

DOCS = Path(__file__).parents[2] / "docs"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ops"
# Options that create every alarm.
ALL = {"alarmEmail": "ops@example.com", "cacheMaxEcpu": "5000", "inspector": "true"}
OF_CANARY = {"canary-missing", "canary-late"}
OF_INSPECTOR = {"consistency-violated", "inspector-failed"}
# The slowest checks.
DAILY = {"mirrorIncompleteMinutes": "720", "auditEvery": "1440", "canary": "false"}
# Treatment of missing data by section of the runbook.
MISSING = {
    "iterator-age": "notBreaching",
    "entries-failed": "notBreaching",
    "replicator-errors": "notBreaching",
    "replicator-throttles": "notBreaching",
    "canary-missing": "breaching",
    "canary-late": "notBreaching",
    "mirror-incomplete": "ignore",
    "quarantine-not-empty": "ignore",
    "drift-found": "notBreaching",
    "consistency-violated": "notBreaching",
    "inspector-failed": "notBreaching",
    "operating-errors": "notBreaching",
    "rebuild-failed": "notBreaching",
    "rebuild-given-up": "notBreaching",
    "job-takes-long": "notBreaching",
    "watchdog-silent": "breaching",
    "cache-near-storage-limit": "missing",
    "cache-evictions": "notBreaching",
    "cache-throttled": "notBreaching",
    "cache-near-ecpu-limit": "notBreaching",
}


def section(alarm: dict[str, Any]) -> str:
    """Return the section of the runbook that an alarm names."""
    return str(alarm["AlarmDescription"]).rpartition("#")[2]


def alarms(template: Template) -> dict[str, list[dict[str, Any]]]:
    """Return the alarms by their section of the runbook."""
    found: dict[str, list[dict[str, Any]]] = {}
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        found.setdefault(section(alarm), []).append(alarm)
    return found


def only_alarm(template: Template, name: str) -> dict[str, Any]:
    """Return the only alarm of a section."""
    (alarm,) = alarms(template)[name]
    return alarm


def threshold(template: Template, name: str) -> float:
    return float(only_alarm(template, name)["Threshold"])


def dimensions(alarm: dict[str, Any]) -> dict[str, Any]:
    return {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}


def test_every_alarm_treats_missing_data_as_documented_and_says_why(synth: Synth) -> None:
    found = alarms(synth(**ALL))
    treatments = {
        name: {alarm["TreatMissingData"] for alarm in group} for name, group in found.items()
    }
    assert treatments == {name: {treatment} for name, treatment in MISSING.items()}
    assert all(
        "Without data: " in alarm["AlarmDescription"] for group in found.values() for alarm in group
    )


def test_an_alarm_is_named_like_its_section(synthesized: Synthesized) -> None:
    stack, _template = synthesized(**ALL)
    construct = stack.node.find_child("Alarms")
    assert isinstance(construct, Alarms)
    for name in construct.alarms:
        dashed = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
        assert re.sub(r"(operating-errors)-\w+", r"\1", dashed) in MISSING, name


@pytest.mark.parametrize("options", [{"alarmTopicArn": TOPIC}, ALL], ids=["arn", "email"])
def test_a_topic_is_notified_when_an_alarm_is_raised_and_when_it_ends(
    synth: Synth, options: dict[str, str]
) -> None:
    template = synth(**options)
    topic: Any = TOPIC
    if "alarmEmail" in options:
        (topic_id,) = template.find_resources("AWS::SNS::Topic")
        topic = {"Ref": topic_id}
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic]


def test_without_a_topic_alarms_notify_nobody_and_synth_reports_it(
    synthesized: Synthesized,
) -> None:
    stack, template = synthesized()
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        assert "AlarmActions" not in alarm
    message = Match.string_like_regexp("nobody is notified.*alarmTopicArn")
    assert Annotations.from_stack(stack).find_info("*", message)


def test_alarms_use_metrics_of_the_catalogue_by_table(template: Template) -> None:
    variables = functions(template)["dynamirror.functions.canary.handler"]["Environment"][
        "Variables"
    ]
    alarmed = set()
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        if alarm["Namespace"] == metrics.NAMESPACE:
            assert dimensions(alarm) == {metrics.DIMENSION: variables["DYNAMODB_TABLE"]}
            alarmed.add(alarm["MetricName"])
    assert alarmed == {
        metric.name
        for metric in (
            *(metrics.FAILED, metrics.CANARY_SEEN, metrics.CANARY_LATENCY, metrics.DRIFT_FOUND),
            *(metrics.MIRROR_COMPLETE, metrics.QUARANTINE_SIZE, metrics.REBUILD_GIVEN_UP),
            metrics.LONG_JOBS,
        )
    }


def test_each_alarm_watches_its_part(template: Template) -> None:
    by_id = template.find_resources("AWS::Lambda::Function")
    found = {
        (section(alarm), by_id[dimensions(alarm)["FunctionName"]["Ref"]]["Properties"]["Handler"])
        for alarm in resources(template, "AWS::CloudWatch::Alarm")
        if alarm["Namespace"] == "AWS/Lambda"
    }
    replicator = "dynamirror.handler.handler"
    assert found == {
        *((name, replicator) for name in ("iterator-age", "replicator-errors")),
        ("replicator-throttles", replicator),
        *(
            ("operating-errors", f"dynamirror.functions.{name}.handler")
            for name in ("auditor", "canary", "worker")
        ),
    }
    (cache,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    for name in ("cache-near-storage-limit", "cache-throttled"):
        assert dimensions(only_alarm(template, name)) == {"clusterId": cache["ServerlessCacheName"]}
    (machine,) = dimensions(only_alarm(template, "rebuild-failed")).values()
    assert "Rebuild" in machine["Ref"]


def test_thresholds_are_options(template: Template, synth: Synth) -> None:
    assert threshold(template, "iterator-age") == 300_000
    assert threshold(template, "cache-near-storage-limit") == 4_000_000_000
    assert only_alarm(template, "mirror-incomplete")["EvaluationPeriods"] == 7
    options = {
        "iteratorAgeSeconds": "60",
        "canaryMissingMinutes": "9",
        "canaryLateSeconds": "2",
        "quarantineItems": "3",
        "driftItems": "4",
        "mirrorIncompleteMinutes": "61",
        "cacheStoragePercent": "50",
        "cacheEcpuPercent": "90",
    }
    custom = synth(**options, cacheMaxEcpu="1000", cacheMaxGb="10")
    assert threshold(custom, "iterator-age") == 60_000
    assert only_alarm(custom, "canary-missing")["EvaluationPeriods"] == 9
    assert threshold(custom, "canary-late") == 2_000
    assert threshold(custom, "quarantine-not-empty") == 3
    assert threshold(custom, "drift-found") == 4
    # Not less than the option says.
    assert only_alarm(custom, "mirror-incomplete")["EvaluationPeriods"] * 5 >= 61
    assert threshold(custom, "cache-near-storage-limit") == 5_000_000_000
    assert threshold(custom, "cache-near-ecpu-limit") == 1_000 * 60 * 0.9


def test_the_largest_values_stay_within_cloudwatch_s_limits(synth: Synth) -> None:
    """CloudWatch evaluates a day, or seven days if a period is an hour or more.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    for options in ({"mirrorIncompleteMinutes": "720", "canaryMissingMinutes": "1440"}, DAILY):
        for alarm in resources(synth(**options), "AWS::CloudWatch::Alarm"):
            seconds = alarm["Period"] * alarm["EvaluationPeriods"]
            assert alarm["Period"] % 60 == 0
            assert seconds <= (604_800 if alarm["Period"] >= 3_600 else 86_400)
            assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]


def test_an_existing_table_has_no_canary_by_default(synthesized: Synthesized) -> None:
    stack, template = synthesized(**EXISTING)
    assert "dynamirror.functions.canary.handler" not in functions(template)
    assert not any(
        "dynamodb:PutItem" in json.dumps(statement) for statement in statements(template)
    )
    others = OF_CANARY | OF_INSPECTOR | {"cache-near-ecpu-limit"}
    assert set(alarms(template)) == set(MISSING) - others
    message = Match.string_like_regexp("There is no canary.*-c canary=true")
    assert Annotations.from_stack(stack).find_info("*", message)


def test_synth_does_not_remark_on_explicit_options() -> None:
    _app, stack = make_stack(**EXISTING, canary="false", alarmTopicArn=TOPIC)
    message = Match.string_like_regexp("canary|nobody")
    assert not Annotations.from_stack(stack).find_info("*", message)


def test_an_alarm_about_evictions_has_the_mirror_noted_as_doubtful(synth: Synth) -> None:
    """Also when it ends, and whatever the cache reports of itself."""
    template = synth()
    (rule,) = (
        rule
        for rule in resources(template, "AWS::Events::Rule")
        if "aws.cloudwatch" in rule.get("EventPattern", {}).get("source", ())
    )
    pattern = rule["EventPattern"]
    raised = {"value": ["ALARM"]}
    assert pattern["detail"] == {"$or": [{"state": raised}, {"previousState": raised}]}
    (alarm,) = pattern["resources"]
    assert "CacheEvictions" in json.dumps(alarm)
    (target,) = rule["Targets"]
    assert msgspec.json.decode(target["Input"], type=Step) == Evicted()
    assert "Worker" in json.dumps(target["Arn"])
    assert only_alarm(template, "cache-evictions")["MetricName"] == "Evictions"


def test_an_alarm_exists_only_if_something_reports_its_metric(synth: Synth) -> None:
    unchecked = alarms(synth(**EXISTING, audit="false", heal="false"))
    of_checks = {"mirror-incomplete", "quarantine-not-empty", "drift-found"}
    assert not (OF_CANARY | of_checks) & set(unchecked)
    hourly = only_alarm(synth(**EXISTING, auditEvery="60"), "mirror-incomplete")
    assert hourly["Period"] == 3_600


def test_alarms_dashboard_and_canary_are_optional(synth: Synth) -> None:
    template = synth(alarms="false", dashboard="false", canary="false")
    for kind in ("Alarm", "Dashboard"):
        template.resource_count_is(f"AWS::CloudWatch::{kind}", 0)
    assert "dynamirror.functions.canary.handler" not in functions(template)


def invoked(template: Template, handler: str) -> dict[str, Any]:
    """Return how events invoke a function."""
    by_id = template.find_resources("AWS::Lambda::Function")
    (config,) = (
        config
        for config in resources(template, "AWS::Lambda::EventInvokeConfig")
        if by_id[config["FunctionName"]["Ref"]]["Properties"]["Handler"] == handler
    )
    return config


@pytest.mark.parametrize(("options", "seconds"), [({}, 300), (DAILY, 21_600)])
def test_delayed_audits_do_not_queue_up(
    synth: Synth, options: dict[str, str], seconds: int
) -> None:
    config = invoked(synth(**options), "dynamirror.functions.auditor.handler")
    assert config["MaximumEventAgeInSeconds"] == seconds


def test_the_canary_runs_each_minute_and_a_failed_run_is_not_repeated(
    template: Template,
) -> None:
    function = functions(template)["dynamirror.functions.canary.handler"]
    assert function["Timeout"] == 90
    config = invoked(template, "dynamirror.functions.canary.handler")
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)
    (rule,) = (
        rule for rule in resources(template, "AWS::Events::Rule") if "canary" in rule["Description"]
    )
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


def test_the_canary_may_only_write_its_item(template: Template) -> None:
    allowed = allowed_actions(template, "CanaryRole")
    network = {action for action in allowed if action.startswith("ec2:")}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(allowed) - network - logs == CALLS["canary"] | {"elasticache:Connect"}
    (table,) = template.find_resources("AWS::DynamoDB::Table")
    assert allowed["dynamodb:PutItem"] == [{"Fn::GetAtt": [table, "Arn"]}]
    (write,) = (
        statement
        for statement in statements(template)
        if "Condition" in statement and "dynamodb:PutItem" in statement["Action"]
    )
    assert write["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [NAME]},
        # A request without any key would satisfy the first condition.
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_the_canary_may_encrypt_with_the_table_s_customer_managed_key(synth: Synth) -> None:
    allowed = allowed_actions(synth(**EXISTING, tableKeyArn=KEY_ARN, canary="true"), "CanaryRole")
    kms_actions = {action for action in allowed if action.startswith("kms:")}
    assert {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"} <= kms_actions
    assert all(allowed[action] == [KEY_ARN] and "*" not in action for action in kms_actions)


def test_only_cloudwatch_of_this_account_may_use_the_topic_and_its_key(synth: Synth) -> None:
    template = synth(**ALL)
    (topic,) = resources(template, "AWS::SNS::Topic")
    (key,) = resources(template, "AWS::KMS::Key")
    assert "KmsMasterKeyId" in topic
    assert key["EnableKeyRotation"] is True
    (policy,) = resources(template, "AWS::SNS::TopicPolicy")
    for document in (key["KeyPolicy"], policy["PolicyDocument"]):
        (allowed,) = (
            statement
            for statement in document["Statement"]
            if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        )
        assert allowed["Effect"] == "Allow"
        assert allowed["Condition"]["StringEquals"]["aws:SourceAccount"]
    (denied,) = (
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    )
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    template.has_resource("AWS::KMS::Key", {"DeletionPolicy": "Delete"})
    template.has_resource_properties(
        "AWS::SNS::Subscription", {"Protocol": "email", "Endpoint": "ops@example.com"}
    )


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        (
            {"alarmEmail": "nobody"},
            "context: alarmEmail: must be an address like ops@example.com, not 'nobody'",
        ),
        ({"alarmTopicArn": "ops"}, "context: alarmTopicArn: must be the ARN of a topic"),
        (
            {"alarmTopicArn": TOPIC, "alarmEmail": "ops@example.com"},
            "context: alarmTopicArn and alarmEmail exclude each other",
        ),
        (
            {"alarms": "false", "alarmTopicArn": TOPIC},
            "context: alarmTopicArn and alarmEmail need alarms=true",
        ),
        ({"canaryLateSeconds": "46"}, "context: canaryLateSeconds: must be a whole number from 1"),
    ],
    ids=["address", "topic", "both", "none", "range"],
)
def test_a_wrong_option_is_one_sentence_at_synth(context: dict[str, str], sentence: str) -> None:
    with pytest.raises(DynamirrorError, match=f"^{re.escape(sentence)}[^\n]*$"):
        make_stack(**context)


def test_another_app_can_create_alarms_for_its_own_mirror() -> None:
    stack = Stack(App(), "Theirs")
    replicator = lambda_.Function(
        stack,
        "Replicator",
        handler="theirs.handler",
        runtime=lambda_.Runtime.PYTHON_3_13,
        code=lambda_.Code.from_inline("def handler(*_): pass"),
    )
    Alarms(
        stack,
        "Alarms",
        mirror=MonitoredMirror(
            tables=[MonitoredTable(name="orders")], replicators={"": replicator}
        ),
        runbook="https://wiki.example.com/runbook",
    )
    found = alarms(Template.from_stack(stack))
    assert set(found) == {
        *("iterator-age", "entries-failed", "replicator-errors", "replicator-throttles")
    }
    assert found["iterator-age"][0]["AlarmDescription"].endswith(
        " https://wiki.example.com/runbook#iterator-age"
    )


def test_the_examples_in_the_docs_deploy_a_mirror_with_every_alarm() -> None:
    stack = Stack(App(), "Theirs")
    vpc = ec2.Vpc(stack, "Vpc")
    names = {
        "self": stack,
        "orders": dynamodb.Table.from_table_attributes(
            stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
        ),
        "vpc": vpc,
        "application_security_group": ec2.SecurityGroup(stack, "Application", vpc=vpc),
        "application_role": iam.Role(stack, "Reader", assumed_by=iam.AnyPrincipal()),
        "topic": sns.Topic.from_topic_arn(stack, "Topic", TOPIC),
    }
    # The example of the runbook continues the other one.
    for page in ("cdk-options.md", "runbook.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        exec(example, names)  # noqa: S102 - our own documentation
    template = Template.from_stack(stack)
    assert set(alarms(template)) == set(MISSING) - OF_INSPECTOR - {"cache-near-ecpu-limit"}
    assert threshold(template, "drift-found") == 3
    template.resource_count_is("AWS::CloudWatch::Dashboard", 1)
    assert "elasticache:Connect" in allowed_actions(template, "Reader")


def widgets(template: Template) -> list[dict[str, Any]]:
    """Return the dashboard's widgets in order, with a word for each reference."""
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    _between, parts = dashboard["DashboardBody"]["Fn::Join"]
    body = "".join(part if isinstance(part, str) else "token" for part in parts)
    return list(json.loads(body)["widgets"])


def measured(found: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of every metric in the widgets."""
    for widget in found:
        for row in widget["properties"].get("metrics", ()):
            if isinstance(row[0], str):
                yield row[0], row[1]


def test_the_dashboard_shows_correctness_first_and_every_metric(synth: Synth) -> None:
    template = synth(**ALL)
    found = widgets(template)
    assert found[0]["type"] == "alarm"
    assert len(found[0]["properties"]["alarms"]) == len(
        resources(template, "AWS::CloudWatch::Alarm")
    )
    texts = [widget["properties"]["markdown"] for widget in found if widget["type"] == "text"]
    titles = [text.splitlines()[0] for text in texts]
    assert titles == [
        *("## Is it right?", "## Is it fresh?", "## Does it keep up?", "## What does it cost?")
    ]
    rows = [widget["y"] for widget in found]
    assert rows == sorted(rows)
    shown = set(measured(found))
    reported_in_lambda = {
        metric.name for metric in metrics.CATALOGUE if metric.origin is not metrics.Origin.RUN
    }
    assert {name for space, name in shown if space == metrics.NAMESPACE} == reported_in_lambda
    assert {name for space, name in shown if space == "AWS/Lambda"} >= {
        *("IteratorAge", "Errors", "Throttles", "ConcurrentExecutions", "Invocations", "Duration")
    }


def test_the_dashboard_links_to_the_runbook(synth: Synth) -> None:
    texts = [
        widget["properties"]["markdown"]
        for widget in widgets(synth(runbookUrl="https://wiki.example.com/r"))
        if widget["type"] == "text"
    ]
    assert all("](https://wiki.example.com/r#" in text for text in texts)


@pytest.mark.parametrize(
    "context",
    [ALL, {**EXISTING, "canary": "true", "tableKeyArn": KEY_ARN, "alarmTopicArn": TOPIC}],
    ids=["new", "existing"],
)
def test_nag_finds_nothing_with_any_topic(context: dict[str, str]) -> None:
    app, _stack = make_stack(**context)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


def test_a_widget_of_the_dashboard_has_no_more_alarms_than_cloudwatch_takes() -> None:
    stack = Stack(App(), "Theirs")
    arn = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:"
    alarms = [
        cloudwatch.Alarm.from_alarm_arn(stack, f"Alarm{number}", f"{arn}{number}")
        for number in range(101)
    ]
    replicator = lambda_.Function(
        stack,
        "Replicator",
        handler="index.handler",
        runtime=lambda_.Runtime.PYTHON_3_13,
        code=lambda_.Code.from_inline("def handler(*_): pass"),
    )
    mirror = MonitoredMirror(tables=[MonitoredTable(name="orders")], replicators={"": replicator})
    Dashboard(stack, "Dashboard", mirror=mirror, alarms=alarms)
    shown = [
        widget["properties"].get("alarms", ()) for widget in widgets(Template.from_stack(stack))
    ]
    assert [len(alarms) for alarms in shown if alarms] == [100, 1]
