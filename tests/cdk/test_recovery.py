"""What fills, watches, verifies and repairs a mirror, and what each part may do."""

import json
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks
from statelint.config import Config
from statelint.linter import Linter
from statelint.problem import ProblemType

from cdk.conftest import Synth, make_stack
from cdk.test_stack import EXISTING, STREAM_ARN, TABLE_ARN, functions, listed, resources
from dynamirror.cdk.cache import CacheEndpoint
from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.inside import Inside
from dynamirror.cdk.mirror import MirroredTable
from dynamirror.cdk.network import Network
from dynamirror.cdk.recovery import Recovery
from dynamirror.cdk.watchdog import Watchdog

# BackoffRate may be a whole number, https://states-language.net/#retrying-after-error.
LINT = Config(ignored_problem_types={ProblemType.FLOAT})
READS = {f"dynamodb:{one}" for one in ("DescribeTable", "Scan", "GetItem", "BatchGetItem")}
OURS = [f"dynamirror.functions.{name}" for name in ("auditor", "operator", "worker")]


def machines(template: Template) -> dict[str, dict[str, Any]]:
    """The definitions of the state machines, by their comments' first word."""
    found = {}
    for machine in resources(template, "AWS::StepFunctions::StateMachine"):
        parts = machine["DefinitionString"]["Fn::Join"][1]
        # What is only known once it is deployed reads like an ARN.
        joined = "".join(part if isinstance(part, str) else stand_in(part) for part in parts)
        definition = json.loads(joined)
        found[definition["Comment"].split()[0]] = definition
    return found


def stand_in(reference: Any) -> str:
    """What a reference may become."""
    return "aws" if reference == {"Ref": "AWS::Partition"} else "arn:aws:any:eu-west-1:1:it"


def may(template: Template, role: str) -> dict[str, list[Any]]:
    """What the policies of the roles whose names contain a word allow: resources by action."""
    allowed: dict[str, list[Any]] = {}
    for policy in resources(template, "AWS::IAM::Policy"):
        if not any(role in one["Ref"] for one in policy["Roles"]):
            continue
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in listed(statement["Action"]):
                allowed.setdefault(action, []).extend(listed(statement["Resource"]))
    return allowed


def states(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All states of a machine, those of its maps too."""
    found: dict[str, dict[str, Any]] = {}
    for name, state in definition["States"].items():
        found[name] = state
        if "ItemProcessor" in state:
            found |= states(state["ItemProcessor"])
    return found


@pytest.mark.parametrize("options", [{}, {"tracing": "true", "rate": "100", "segments": "7"}])
def test_the_definitions_are_in_the_states_language(synth: Synth, options: dict[str, str]) -> None:
    for definition in machines(synth(**options)).values():
        assert Linter.validate(definition, LINT) == []


def test_the_lint_sees_what_is_wrong(template: Template) -> None:
    definition = machines(template)["Starts"]
    definition["States"]["Check"]["Next"] = "Nowhere"
    assert Linter.validate(definition, LINT)


def test_every_task_is_tried_again_but_for_what_that_cannot_mend(template: Template) -> None:
    for definition in machines(template).values():
        workers = [
            one for one in states(definition).values() if "step" in one.get("Parameters", {})
        ]
        assert workers
        for task in workers:
            final, passing = task["Retry"]
            assert final == {"ErrorEquals": ["LostError", "ConfigError"], "MaxAttempts": 0}
            assert passing["ErrorEquals"] == ["States.ALL"]
            assert passing["JitterStrategy"] == "FULL"
            assert task["TimeoutSeconds"] > 900


def test_a_lost_rebuild_is_begun_anew_a_few_times(template: Template) -> None:
    all_states = states(machines(template)["Fills,"])
    for name, then in (("Sweep", "BeginAnew"), ("Finish", "BeginAnew"), ("Load", "Loaded")):
        (catch,) = all_states[name]["Catch"]
        assert (catch["ErrorEquals"], catch["Next"]) == (["LostError"], then)
    (limit,) = all_states["LostTooOften"]["Choices"]
    assert limit["NumericGreaterThan"] == 3


def test_maps_are_distributed_and_their_results_do_not_fill_the_state(template: Template) -> None:
    all_states = states(machines(template)["Fills,"])
    for name, last in (("LoadSegments", "Loaded"), ("VerifyParts", "Verified")):
        mapped = all_states[name]
        assert mapped["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        assert mapped["MaxConcurrencyPath"] == "$.options.maxConcurrency"
        assert mapped["ResultPath"] is None
        assert all_states[last]["Result"] == {}


def test_an_execution_s_input_has_the_stack_s_defaults(synth: Synth) -> None:
    template = synth(segments="500", concurrency="40", rate="9000")
    assert machines(template)["Fills,"]["States"]["Given"]["Parameters"]["defaults"] == {
        "action": "backfill",
        "segments": 500,
        "maxConcurrency": 40,
        "rate": 9000,
        "consistent": True,
        "anew": False,
        "settle": 15,
    }


def test_what_is_logged_holds_no_data(template: Template) -> None:
    for machine in resources(template, "AWS::StepFunctions::StateMachine"):
        logging = machine["LoggingConfiguration"]
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)


@pytest.mark.parametrize("role", ["Operator", "Worker", "RecoveryAuditor"])
def test_a_function_may_read_the_table_connect_to_the_cache_and_no_more(
    template: Template, role: str
) -> None:
    allowed = may(template, f"{role}Role")
    network = {action for action in allowed if action.startswith("ec2:")}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(allowed) - network - logs == READS | {"elasticache:Connect"}
    assert all("*" not in json.dumps(allowed[action]) for action in set(allowed) - network)


def test_a_key_of_one_s_own_is_used_to_read_only(synth: Synth) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/0b1c"
    allowed = may(synth(**EXISTING, tableKeyArn=key), "WorkerRole")
    assert allowed["kms:Decrypt"] == [key]
    assert allowed["dynamodb:Scan"] == [TABLE_ARN]


def test_the_machines_invoke_the_worker_and_themselves_and_no_other(template: Template) -> None:
    rebuild, watch = may(template, "RebuildMachineRole"), may(template, "WatchMachineRole")
    for allowed in (rebuild, watch):
        assert "RecoveryWorker" in json.dumps(allowed["lambda:InvokeFunction"])
        assert "Operator" not in json.dumps(allowed["lambda:InvokeFunction"])
        (started,) = allowed["states:StartExecution"]
        assert "RebuildMachine" in started["Ref"]
    (listed_,) = watch["states:ListExecutions"]
    assert "RebuildMachine" in listed_["Ref"]
    assert {action for action in rebuild if action.startswith("states:")} == {
        f"states:{one}Execution" for one in ("Start", "Describe", "Stop", "Redrive")
    }


def test_the_functions_run_beside_the_cache_with_the_settings_of_the_replicator(
    template: Template,
) -> None:
    found = functions(template)
    replicator = found["dynamirror.handler.handler"]
    for handler in OURS:
        function = found[handler]
        assert function["VpcConfig"]["SubnetIds"] == replicator["VpcConfig"]["SubnetIds"]
        (group,) = function["VpcConfig"]["SecurityGroupIds"]
        # One that reaches the table, too.
        assert "Operator" in group["Fn::GetAtt"][0]
        assert function["Timeout"] == 900
        given, known = (one["Environment"]["Variables"].items() for one in (function, replicator))
        assert known <= given
        assert "DYNAMODB_TABLE" in dict(given)


def rules(template: Template) -> dict[str, Any]:
    """The schedules, by the first word that follows in their descriptions."""
    return {
        rule["Description"].split()[0]: rule["ScheduleExpression"]
        for rule in resources(template, "AWS::Events::Rule")
        if not {"simulator", "canary"} & set(rule["Description"].split())
    }


def test_by_default_a_mirror_is_watched_and_audited_within_a_day(template: Template) -> None:
    assert rules(template) == {"Has": "rate(5 minutes)", "Runs": "rate(5 minutes)"}
    variables = functions(template)["dynamirror.functions.auditor"]["Environment"]["Variables"]
    assert variables["DYNAMIRROR_AUDIT_PARTS"] == "288"
    assert variables["DYNAMIRROR_AUDIT_REPAIR"] == "true"
    assert "DYNAMIRROR_AUDIT_RATE" not in variables


def test_an_audit_is_as_often_and_as_fast_as_is_asked(synth: Synth) -> None:
    template = synth(heal="false", auditEvery="60", auditRepair="false", auditRate="50")
    assert rules(template) == {"Runs": "rate(1 hour)"}
    variables = functions(template)["dynamirror.functions.auditor"]["Environment"]["Variables"]
    assert variables["DYNAMIRROR_AUDIT_PARTS"] == "24"
    assert variables["DYNAMIRROR_AUDIT_REPAIR"] == "false"
    assert variables["DYNAMIRROR_AUDIT_RATE"] == "50"


def test_neither_is_there_if_it_is_not_wanted(synth: Synth) -> None:
    template = synth(heal="false", audit="false", **EXISTING)
    template.resource_count_is("AWS::Events::Rule", 0)
    template.resource_count_is("AWS::StepFunctions::StateMachine", 1)
    assert set(OURS) - set(functions(template)) == {"dynamirror.functions.auditor"}


def test_another_teams_app_recovers_a_mirror_of_what_it_has() -> None:
    stack = Stack(App(), "Theirs")
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    inside = Inside(
        source=MirroredTable(table=table, keys=("id",)),
        endpoint=CacheEndpoint(host="cache.example.com", tls=False),
        network=Network(stack, "Network"),
        code=LambdaCode.build(stack),
    )
    recovery = Recovery(stack, "Recovery", inside=inside, heal=False, audit=False)
    Watchdog(
        stack,
        "Watchdog",
        inside=inside,
        worker=recovery.worker,
        rebuild=recovery.machine,
        every=Duration.hours(1),
    )
    template = Template.from_stack(stack)
    assert rules(template) == {"Has": "rate(1 hour)"}
    assert "elasticache:Connect" not in may(template, "WorkerRole")


@pytest.mark.parametrize("context", [{"tracing": "true"}, {"audit": "false", "heal": "false"}])
def test_nag_finds_nothing_whatever_is_chosen(context: dict[str, str]) -> None:
    app, _stack = make_stack(**context)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
