"""The inspector in the stack: two functions, a queue and its failures, and the least of rights."""

import json
from typing import Any

import pytest
from aws_cdk import Validations
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from tests.support.aws_rights import CALLS
from tests.support.templates import (
    EXISTING,
    KEY_ARN,
    STREAM_ARN,
    Synth,
    allowed_actions,
    functions,
    make_stack,
    resources,
)

from dynamirror.cdk.stack import DynamirrorStack
from dynamirror.costs import figures
from dynamirror.deployment.file import read_deployment
from dynamirror.errors import ConfigError
from dynamirror.functions.questions import InspectorSettings
from dynamirror.inspection.judgement import DEFAULT_THRESHOLDS
from dynamirror.inspection.tally import STALENESS_BOUNDS
from dynamirror.metrics import catalogue

INSPECTOR, JUDGE = "dynamirror.functions.inspector.handler", "dynamirror.functions.judge.handler"


@pytest.fixture(scope="module")
def stack() -> DynamirrorStack:
    """Synthesize a stack with an inspector; cdk-nag raises what it finds."""
    options = {"inspector": "true", "inspectorShare": "0.25", "tableKeyArn": KEY_ARN, **EXISTING}
    app, stack = make_stack(**options)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
    return stack


@pytest.fixture(scope="module")
def inspected(stack: DynamirrorStack) -> Template:
    return Template.from_stack(stack)


def mappings(template: Template, function: str) -> list[dict[str, Any]]:
    """Return the event source mappings of functions whose logical ids begin so."""
    return [
        mapping
        for mapping in resources(template, "AWS::Lambda::EventSourceMapping")
        if mapping["FunctionName"]["Ref"].startswith(function)
    ]


def test_there_is_none_unless_it_is_asked_for(template: Template) -> None:
    assert {INSPECTOR, JUDGE}.isdisjoint(functions(template))
    assert resources(template, "AWS::SQS::Queue") == []
    variables = functions(template)["dynamirror.handler.handler"]["Environment"]["Variables"]
    assert variables["DYNAMIRROR_LOG_SEQUENCES"] == "false"


def test_the_dashboard_names_what_its_graph_of_dollars_lacks(
    template: Template, inspected: Template
) -> None:
    assert "the queue of the inspector" not in json.dumps(template.to_json())
    assert "the table, the queue of the inspector, custom metrics" in json.dumps(
        inspected.to_json()
    )


def test_no_linter_finds_anything(inspected: Template) -> None:
    options = ManualArgs(regions=["eu-west-1"], ignore_checks=["W3005"])
    found = cfnlint.lint(json.dumps(inspected.to_json()), config=options)
    assert "\n".join(map(str, found)) == ""


def test_the_stream_is_read_from_now_on_and_a_failure_holds_nothing_up(
    inspected: Template,
) -> None:
    of_stream, of_queue = mappings(inspected, "Inspector")
    assert of_stream["EventSourceArn"] == STREAM_ARN
    assert of_stream["StartingPosition"] == "LATEST"
    assert (of_stream["MaximumRetryAttempts"], of_stream["MaximumRecordAgeInSeconds"]) == (2, 300)
    assert "FilterCriteria" not in of_stream, "it trusts no filter of the replicator"
    failures = of_stream["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
    assert failures.startswith("InspectorFailures")
    assert of_queue["EventSourceArn"]["Fn::GetAtt"][0].startswith("InspectorQuestions")
    assert of_queue["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    (replicator,) = mappings(inspected, "Mirror")
    assert replicator["StartingPosition"] == "TRIM_HORIZON"


def test_both_queues_are_encrypted_and_refuse_what_is_not_tls(inspected: Template) -> None:
    queues = inspected.find_resources("AWS::SQS::Queue")
    (failures,) = (name for name in queues if "Failures" in name)
    (questions,) = (each["Properties"] for name, each in queues.items() if name != failures)
    assert {each["Properties"]["KmsMasterKeyId"] for each in queues.values()} == {"alias/aws/sqs"}
    redrive = questions["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [failures, "Arn"]}
    timeout = functions(inspected)[INSPECTOR]["Timeout"]
    assert questions["VisibilityTimeout"] >= 6 * timeout
    assert timeout > functions(inspected)[JUDGE]["Timeout"]
    denied = [
        policy["PolicyDocument"]["Statement"][0]
        for policy in resources(inspected, "AWS::SQS::QueuePolicy")
    ]
    assert len(denied) == 2
    for statement in denied:
        assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_neither_function_may_write_to_table_or_cache(inspected: Template) -> None:
    judge = allowed_actions(inspected, "InspectorJudgeRole")
    assert {action for action in judge if action.startswith(("dynamodb:", "sqs:", "kms:"))} == {
        *CALLS["judge"],
        "kms:Decrypt",
    }
    users = [str(arn) for arn in judge["elasticache:Connect"]]
    assert len([arn for arn in users if ":user:inspector-" in arn]) == 1
    sampler = allowed_actions(inspected, "InspectorRole")
    assert "elasticache:Connect" not in sampler
    assert {action for action in sampler if action.startswith("dynamodb:")} == {
        *(f"dynamodb:{name}" for name in ("ListStreams", "DescribeStream", "GetRecords")),
        "dynamodb:GetShardIterator",
    }
    assert [each["Fn::GetAtt"][0][:14] for each in sampler["lambda:InvokeFunction"]] == [
        "InspectorJudge"
    ]
    assert "VpcConfig" not in functions(inspected)[INSPECTOR], "so SQS needs no endpoint"
    assert "VpcConfig" in functions(inspected)[JUDGE]


def test_the_functions_have_what_they_read(inspected: Template) -> None:
    variables = functions(inspected)[INSPECTOR]["Environment"]["Variables"]
    own = {name: value for name, value in variables.items() if "_INSPECTOR_" in name}
    assert set(own) == set(InspectorSettings.__struct_encode_fields__)
    assert own["DYNAMIRROR_INSPECTOR_SHARE"] == "0.25"
    for handler in (INSPECTOR, JUDGE):
        variables = functions(inspected)[handler]["Environment"]["Variables"]
        ages = InspectorSettings(thresholds=variables["DYNAMIRROR_INSPECTOR_THRESHOLDS"]).ages
        assert ages == DEFAULT_THRESHOLDS == tuple(map(float, catalogue.AGES))
    assert catalogue.STALENESS.buckets == STALENESS_BOUNDS
    replicator = functions(inspected)["dynamirror.handler.handler"]["Environment"]["Variables"]
    assert replicator["DYNAMIRROR_LOG_SEQUENCES"] == "true"


def test_a_filter_is_lambda_s(synth: Synth) -> None:
    pattern = '{"eventName":["INSERT"]}'
    template = synth(inspector="true", inspectorFilter=pattern)
    (of_stream,) = (one for one in mappings(template, "Inspector") if "FilterCriteria" in one)
    (found,) = of_stream["FilterCriteria"]["Filters"]
    assert json.loads(found["Pattern"]) == json.loads(pattern)
    for wrong in ("[1]", "x", "{"):
        with pytest.raises(ConfigError, match="inspectorFilter must be a JSON object"):
            read_deployment(None, {"inspector": "true", "inspectorFilter": wrong})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"inspectorShare": "0.1"}, "inspectorShare: applies only with inspector=true"),
        ({"inspector": "true", "inspectorShare": "0"}, "a number above 0, up to 1, not '0'"),
        ({"inspector": "true", "inspectorShare": "2"}, "a number above 0, up to 1, not '2'"),
    ],
)
def test_options_that_are_wrong_or_ignored_are_refused(
    options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_deployment(None, options)


def test_the_model_counts_its_alarms(inspected: Template, synth: Synth) -> None:
    without = len(resources(synth(tableKeyArn=KEY_ARN, **EXISTING), "AWS::CloudWatch::Alarm"))
    count = len(resources(inspected, "AWS::CloudWatch::Alarm"))
    assert count - without == figures.INSPECTOR_ALARMS
