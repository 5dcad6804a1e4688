"""What is watched of a mirror, who is told, and what the canary may do."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aws_cdk import App, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Annotations, Match, Template
from cdk_nag import AwsSolutionsChecks

from cdk.conftest import Synth, make_stack
from cdk.test_recovery import may
from cdk.test_stack import (
    EXISTING,
    ROOT,
    STREAM_ARN,
    TABLE_ARN,
    functions,
    resources,
    statements,
)
from dynamirror import metrics
from dynamirror.canary import NAME
from dynamirror.cdk.alarms import Alarms
from dynamirror.cdk.cache import Cache
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.inside import Inside
from dynamirror.cdk.measures import Watched
from dynamirror.cdk.mirror import Mirror, MirroredTable
from dynamirror.cdk.network import Network
from dynamirror.cdk.recovery import Recovery
from dynamirror.errors import DynamirrorError

RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ops"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/0b1c"
# Every part there is.
ALL = {"alarmEmail": "ops@example.com", "cacheMaxEcpu": "5000"}
OURS = {metric.name: metric for metric in metrics.CATALOGUE}
OF_CANARY = {"canary-missing", "canary-late"}
# What a period without data is taken for.
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
    "operating-errors": "notBreaching",
    "rebuild-failed": "notBreaching",
    "cache-near-storage-limit": "missing",
    "cache-throttled": "notBreaching",
    "cache-near-ecpu-limit": "notBreaching",
}


def section(alarm: dict[str, Any]) -> str:
    """The page of the runbook that an alarm names."""
    return str(alarm["AlarmDescription"]).rpartition("#")[2]


def alarms(template: Template) -> dict[str, list[dict[str, Any]]]:
    """The alarms by their page of the runbook."""
    found: dict[str, list[dict[str, Any]]] = {}
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        found.setdefault(section(alarm), []).append(alarm)
    return found


def one(template: Template, name: str) -> dict[str, Any]:
    """The one alarm of a page."""
    (alarm,) = alarms(template)[name]
    return alarm


def threshold(template: Template, name: str) -> float:
    return float(one(template, name)["Threshold"])


def dimensions(alarm: dict[str, Any]) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}


def test_every_alarm_says_what_silence_means_and_why(synth: Synth) -> None:
    found = alarms(synth(**ALL))
    said = {name: {alarm["TreatMissingData"] for alarm in some} for name, some in found.items()}
    assert said == {name: {treated} for name, treated in MISSING.items()}
    assert all(
        "Without data: " in alarm["AlarmDescription"] for some in found.values() for alarm in some
    )


def test_an_alarm_is_named_as_its_page() -> None:
    _app, stack = make_stack(**ALL)
    made = stack.node.find_child("Alarms")
    assert isinstance(made, Alarms)
    for name in made.alarms:
        dashed = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
        of_one = re.sub(r"(operating-errors)-\w+", r"\1", dashed)
        assert of_one in MISSING, name


@pytest.mark.parametrize("given", [{"alarmTopicArn": TOPIC}, {"alarmEmail": "ops@example.com"}])
def test_somebody_is_told_when_an_alarm_is_raised_and_when_it_is_over(
    synth: Synth, given: dict[str, str]
) -> None:
    template = synth(**given)
    topic: Any = TOPIC
    if "alarmEmail" in given:
        (named,) = template.find_resources("AWS::SNS::Topic")
        topic = {"Ref": named}
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic]


def test_nobody_is_told_unasked_and_that_is_said() -> None:
    _app, stack = make_stack()
    template = Template.from_stack(stack)
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        assert "AlarmActions" not in alarm
    said = Match.string_like_regexp("nobody is told.*alarmTopicArn")
    assert Annotations.from_stack(stack).find_info("*", said)


def test_our_metrics_are_those_of_the_catalogue_under_the_table_s_name(template: Template) -> None:
    table = functions(template)["dynamirror.functions.canary"]["Environment"]["Variables"]
    looked_at = set()
    for alarm in resources(template, "AWS::CloudWatch::Alarm"):
        if alarm["Namespace"] == metrics.NAMESPACE:
            assert dimensions(alarm) == {metrics.DIMENSION: table["DYNAMODB_TABLE"]}
            looked_at.add(alarm["MetricName"])
    assert looked_at == {
        metric.name
        for metric in (
            *(metrics.FAILED, metrics.CANARY_SEEN, metrics.CANARY_LATENCY, metrics.DRIFT_FOUND),
            *(metrics.MIRROR_COMPLETE, metrics.QUARANTINE_SIZE),
        )
    }


def test_each_function_s_alarm_looks_at_that_function(template: Template) -> None:
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
            ("operating-errors", f"dynamirror.functions.{name}")
            for name in ("auditor", "canary", "worker")
        ),
    }
    (cache,) = resources(template, "AWS::ElastiCache::ServerlessCache")
    for name in ("cache-near-storage-limit", "cache-throttled"):
        assert dimensions(one(template, name)) == {"clusterId": cache["ServerlessCacheName"]}
    (machine,) = dimensions(one(template, "rebuild-failed")).values()
    assert "Rebuild" in machine["Ref"]


def test_thresholds_are_as_asked(template: Template, synth: Synth) -> None:
    assert threshold(template, "iterator-age") == 300_000
    assert threshold(template, "cache-near-storage-limit") == 4_000_000_000
    assert one(template, "mirror-incomplete")["EvaluationPeriods"] == 7
    given = {
        "iteratorAgeSeconds": "60",
        "canaryMissingMinutes": "9",
        "canaryLateSeconds": "2",
        "quarantineItems": "3",
        "driftItems": "4",
        "mirrorIncompleteMinutes": "61",
        "cacheStoragePercent": "50",
        "cacheEcpuPercent": "90",
    }
    asked = synth(**given, cacheMaxEcpu="1000", cacheMaxGb="10")
    assert threshold(asked, "iterator-age") == 60_000
    assert one(asked, "canary-missing")["EvaluationPeriods"] == 9
    assert threshold(asked, "canary-late") == 2_000
    assert threshold(asked, "quarantine-not-empty") == 3
    assert threshold(asked, "drift-found") == 4
    # No less than was asked for.
    assert one(asked, "mirror-incomplete")["EvaluationPeriods"] * 5 >= 61
    assert threshold(asked, "cache-near-storage-limit") == 5_000_000_000
    assert threshold(asked, "cache-near-ecpu-limit") == 1_000 * 60 * 0.9


def test_cloudwatch_takes_the_longest_times(synth: Synth) -> None:
    """What it looks back at: a day, or seven where a period is an hour or more.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    longest = {"mirrorIncompleteMinutes": "720", "canaryMissingMinutes": "1440"}
    for options in (longest, longest | {"auditEvery": "1440", "canary": "false"}):
        for alarm in resources(synth(**options), "AWS::CloudWatch::Alarm"):
            seconds = alarm["Period"] * alarm["EvaluationPeriods"]
            assert alarm["Period"] % 60 == 0
            assert seconds <= (604_800 if alarm["Period"] >= 3_600 else 86_400)
            assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]


def test_an_existing_table_is_not_written_to_unasked() -> None:
    _app, stack = make_stack(**EXISTING)
    template = Template.from_stack(stack)
    assert "dynamirror.functions.canary" not in functions(template)
    assert not any("dynamodb:PutItem" in json.dumps(each) for each in statements(template))
    assert set(alarms(template)) == set(MISSING) - OF_CANARY - {"cache-near-ecpu-limit"}
    said = Match.string_like_regexp("There is no canary.*-c canary=true")
    assert Annotations.from_stack(stack).find_info("*", said)


def test_what_is_chosen_is_not_remarked_on() -> None:
    _app, stack = make_stack(**EXISTING, canary="false", alarmTopicArn=TOPIC)
    said = Match.string_like_regexp("canary|nobody")
    assert not Annotations.from_stack(stack).find_info("*", said)


def test_no_alarm_is_blind(synth: Synth) -> None:
    """Where nobody looks, there is nothing to raise an alarm about."""
    unwatched = alarms(synth(**EXISTING, audit="false", heal="false"))
    of_looks = {"mirror-incomplete", "quarantine-not-empty", "drift-found"}
    assert not (OF_CANARY | of_looks) & set(unwatched)
    seldom = one(synth(**EXISTING, auditEvery="60"), "mirror-incomplete")
    assert seldom["Period"] == 3_600


def test_neither_is_there_if_it_is_not_wanted(synth: Synth) -> None:
    template = synth(alarms="false", dashboard="false", canary="false")
    for kind in ("Alarm", "Dashboard"):
        template.resource_count_is(f"AWS::CloudWatch::{kind}", 0)
    assert "dynamirror.functions.canary" not in functions(template)


def invoked(template: Template, handler: str) -> dict[str, Any]:
    """How a function is invoked by events."""
    by_id = template.find_resources("AWS::Lambda::Function")
    (config,) = (
        each
        for each in resources(template, "AWS::Lambda::EventInvokeConfig")
        if by_id[each["FunctionName"]["Ref"]]["Properties"]["Handler"] == handler
    )
    return config


@pytest.mark.parametrize(("every", "seconds"), [("5", 300), ("1440", 21_600)])
def test_audits_that_could_not_run_do_not_pile_up(synth: Synth, every: str, seconds: int) -> None:
    config = invoked(synth(auditEvery=every), "dynamirror.functions.auditor")
    assert config["MaximumEventAgeInSeconds"] == seconds


def test_the_canary_runs_each_minute_and_a_run_that_fails_is_not_made_up_for(
    template: Template,
) -> None:
    function = functions(template)["dynamirror.functions.canary"]
    assert function["Timeout"] == 90
    config = invoked(template, "dynamirror.functions.canary")
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)
    (rule,) = (
        rule for rule in resources(template, "AWS::Events::Rule") if "canary" in rule["Description"]
    )
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


def test_the_canary_may_write_its_one_item_and_nothing_else(template: Template) -> None:
    allowed = may(template, "CanaryRole")
    network = {action for action in allowed if action.startswith("ec2:")}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(allowed) - network - logs == {"dynamodb:PutItem", "elasticache:Connect"}
    (table,) = template.find_resources("AWS::DynamoDB::Table")
    assert allowed["dynamodb:PutItem"] == [{"Fn::GetAtt": [table, "Arn"]}]
    (write,) = (
        each
        for each in statements(template)
        if "Condition" in each and "dynamodb:PutItem" in each["Action"]
    )
    assert write["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [NAME]},
        # A request that names no key at all would pass the first.
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_a_canary_of_a_table_with_a_key_of_its_own_may_use_that_key(synth: Synth) -> None:
    allowed = may(synth(**EXISTING, tableKeyArn=KEY, canary="true"), "CanaryRole")
    of_key = {action for action in allowed if action.startswith("kms:")}
    assert {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"} <= of_key
    assert all(allowed[action] == [KEY] and "*" not in action for action in of_key)


def test_cloudwatch_of_this_account_may_use_the_topic_and_its_key(synth: Synth) -> None:
    template = synth(alarmEmail="ops@example.com")
    (topic,) = resources(template, "AWS::SNS::Topic")
    (key,) = resources(template, "AWS::KMS::Key")
    assert "KmsMasterKeyId" in topic
    assert key["EnableKeyRotation"] is True
    (policy,) = resources(template, "AWS::SNS::TopicPolicy")
    for document in (key["KeyPolicy"], policy["PolicyDocument"]):
        (allowed,) = (
            each
            for each in document["Statement"]
            if each["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        )
        assert allowed["Effect"] == "Allow"
        assert allowed["Condition"]["StringEquals"]["aws:SourceAccount"]
    (tls,) = (each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    template.has_resource("AWS::KMS::Key", {"DeletionPolicy": "Delete"})
    template.has_resource_properties(
        "AWS::SNS::Subscription", {"Protocol": "email", "Endpoint": "ops@example.com"}
    )


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({"alarmEmail": "nobody"}, "context: alarmEmail: 'nobody' is not an address"),
        ({"alarmTopicArn": "ops"}, "context: alarmTopicArn: 'ops' is not the ARN of a topic"),
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


def test_another_teams_app_watches_a_mirror_of_its_own() -> None:
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
        watched=Watched(table="orders", replicator=replicator),
        runbook="https://wiki.example.com/runbook",
    )
    found = alarms(Template.from_stack(stack))
    assert set(found) == {
        *("iterator-age", "entries-failed", "replicator-errors", "replicator-throttles")
    }
    assert found["iterator-age"][0]["AlarmDescription"].endswith(
        " https://wiki.example.com/runbook#iterator-age"
    )


def test_the_runbooks_own_example_watches_everything() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
    stack = Stack(App(), "Theirs")
    orders = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    source = MirroredTable(table=orders, keys=("customer", "order"))
    network = Network(stack, "Network")
    cache = Cache(stack, "Cache", network=network, key_patterns=source.key_patterns(None))
    parts: dict[str, Any] = {
        "source": source,
        "endpoint": cache.endpoint,
        "network": network,
        "code": LambdaCode.build(stack),
    }
    inside = Inside(**parts)
    names = {
        "self": stack,
        "orders": orders,
        "cache": cache,
        "inside": inside,
        "mirror": Mirror(stack, "Mirror", **parts),
        "recovery": Recovery(stack, "Recovery", inside=inside),
        "topic": sns.Topic.from_topic_arn(stack, "Topic", TOPIC),
    }
    exec(example, names)  # noqa: S102 - our own documentation
    template = Template.from_stack(stack)
    assert set(alarms(template)) == set(MISSING) - {"cache-near-ecpu-limit"}
    assert threshold(template, "drift-found") == 3
    template.resource_count_is("AWS::CloudWatch::Dashboard", 1)


def widgets(template: Template) -> list[dict[str, Any]]:
    """The dashboard's widgets in their order; references are a word."""
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    _between, parts = dashboard["DashboardBody"]["Fn::Join"]
    body = "".join(part if isinstance(part, str) else "token" for part in parts)
    return list(json.loads(body)["widgets"])


def measured(found: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Namespace and name of every metric in the widgets."""
    for widget in found:
        for row in widget["properties"].get("metrics", ()):
            if isinstance(row[0], str):
                yield row[0], row[1]


def test_the_dashboard_tells_what_matters_most_first(synth: Synth) -> None:
    template = synth(**ALL)
    found = widgets(template)
    assert found[0]["type"] == "alarm"
    assert len(found[0]["properties"]["alarms"]) == len(
        resources(template, "AWS::CloudWatch::Alarm")
    )
    texts = [each["properties"]["markdown"] for each in found if each["type"] == "text"]
    titles = [text.splitlines()[0] for text in texts]
    assert titles == [
        *("## Is it right?", "## Is it fresh?", "## Does it keep up?", "## What does it cost?")
    ]
    assert [each["y"] for each in found] == sorted(each["y"] for each in found)
    shown = set(measured(found))
    told_in_lambda = {
        metric.name for metric in metrics.CATALOGUE if metric.origin is not metrics.Origin.RUN
    }
    assert {name for space, name in shown if space == metrics.NAMESPACE} == told_in_lambda
    assert {name for space, name in shown if space == "AWS/Lambda"} >= {
        *("IteratorAge", "Errors", "Throttles", "ConcurrentExecutions", "Invocations", "Duration")
    }


def test_the_dashboard_leads_to_the_runbook(synth: Synth) -> None:
    texts = [
        each["properties"]["markdown"]
        for each in widgets(synth(runbookUrl="https://wiki.example.com/r"))
        if each["type"] == "text"
    ]
    assert all("](https://wiki.example.com/r#" in text for text in texts)


@pytest.mark.parametrize(
    "context",
    [ALL, {**EXISTING, "canary": "true", "tableKeyArn": KEY, "alarmTopicArn": TOPIC}],
    ids=["new", "existing"],
)
def test_nag_finds_nothing_whoever_is_told(context: dict[str, str]) -> None:
    app, _stack = make_stack(**context)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
