"""The functions and state machines that keep a mirror complete, and their rights."""

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
from tests.support.aws_rights import CALLS
from tests.support.templates import (
    EXISTING,
    KEY_ARN,
    STREAM_ARN,
    TABLE_ARN,
    Synth,
    allowed_actions,
    functions,
    make_stack,
    resources,
)

from dynamirror.cdk import (
    ExistingCache,
    FunctionContext,
    LambdaCode,
    MirroredTable,
    Network,
    Recovery,
    Watchdog,
)

# BackoffRate may be a whole number, https://states-language.net/#retrying-after-error.
LINT = Config(ignored_problem_types={ProblemType.FLOAT})
OURS = [f"dynamirror.functions.{name}.handler" for name in ("auditor", "operator", "worker")]


def machines(template: Template) -> dict[str, dict[str, Any]]:
    """Return the definitions of the state machines, by their comments' first word."""
    found = {}
    for machine in resources(template, "AWS::StepFunctions::StateMachine"):
        parts = machine["DefinitionString"]["Fn::Join"][1]
        # A reference becomes an ARN, as after deployment.
        joined = "".join(part if isinstance(part, str) else deployed(part) for part in parts)
        definition = json.loads(joined)
        found[definition["Comment"].split()[0]] = definition
    return found


def deployed(reference: Any) -> str:
    """Return a text that CloudFormation might put in place of a reference."""
    return "aws" if reference == {"Ref": "AWS::Partition"} else "arn:aws:any:eu-west-1:1:it"


def states(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all states of a machine, including those of its maps."""
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


def test_the_linter_finds_a_wrong_definition(template: Template) -> None:
    definition = machines(template)["Starts"]
    definition["States"]["Check"]["Next"] = "Nowhere"
    assert Linter.validate(definition, LINT)


def test_every_task_is_retried_unless_its_error_is_permanent(template: Template) -> None:
    for definition in machines(template).values():
        workers = [
            state for state in states(definition).values() if "step" in state.get("Parameters", {})
        ]
        assert workers
        for task in workers:
            permanent, late, transient = task["Retry"]
            assert permanent == {"ErrorEquals": ["LostError", "ConfigError"], "MaxAttempts": 0}
            # A step ends in time by itself, and further: ten hours of timeouts would not help.
            assert late["ErrorEquals"] == ["Sandbox.Timedout", "States.Timeout", "StalledError"]
            assert late["MaxAttempts"] <= 4
            assert transient["ErrorEquals"] == ["States.ALL"]
            assert transient["JitterStrategy"] == "FULL"
            assert task["TimeoutSeconds"] > 900


def test_a_lost_rebuild_is_restarted_a_few_times(template: Template) -> None:
    all_states = states(machines(template)["Rebuilds,"])
    for name, next_state in {
        "DivideSweep": "BeginAnew",
        "Finish": "BeginAnew",
        "Load": "Loaded",
        "Sweep": "Swept",
    }.items():
        (catch,) = all_states[name]["Catch"]
        assert (catch["ErrorEquals"], catch["Next"]) == (["LostError"], next_state)
    (limit,) = all_states["LostTooOften"]["Choices"]
    assert limit["NumericGreaterThan"] == 3


def test_maps_are_distributed_and_discard_their_results(template: Template) -> None:
    all_states = states(machines(template)["Rebuilds,"])
    for name, last in {
        "LoadSegments": "Loaded",
        "SweepRanges": "Swept",
        "VerifyParts": "Verified",
    }.items():
        mapped = all_states[name]
        assert mapped["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
        assert mapped["MaxConcurrencyPath"] == "$.options.maxConcurrency"
        assert mapped["ResultPath"] is None
        assert all_states[last]["Result"] == {}


def test_an_execution_s_input_has_the_stack_s_defaults(synth: Synth) -> None:
    template = synth(segments="500", concurrency="40", rate="9000")
    assert machines(template)["Rebuilds,"]["States"]["Given"]["Parameters"]["defaults"] == {
        "action": "backfill",
        "table": "arn:aws:any:eu-west-1:1:it",
        "segments": 500,
        "maxConcurrency": 40,
        "rate": 9000,
        "consistent": True,
        "restart": False,
        "settle": 15,
    }


@pytest.mark.parametrize(
    ("task", "choice", "pause"),
    [
        ("Load", "LoadedAll", "KeepToRate"),
        ("Sweep", "SweptAll", "KeepToSweepRate"),
        ("Verify", "VerifiedAll", "KeepToVerifyRate"),
    ],
)
def test_each_work_is_repeated_until_it_is_done(
    template: Template, task: str, choice: str, pause: str
) -> None:
    all_states = states(machines(template)["Rebuilds,"])
    assert all_states[task]["Next"] == choice
    assert all_states[task]["ResultPath"] == "$.at"
    done, wait = all_states[choice]["Choices"]
    assert done["Variable"] == "$.at.done"
    assert (wait["Variable"], wait["Next"]) == ("$.at.wait", pause)
    assert all_states[choice]["Default"] == all_states[pause]["Next"] == task


def test_by_default_a_table_s_size_decides_the_number_of_segments(template: Template) -> None:
    given = machines(template)["Rebuilds,"]["States"]["Given"]["Parameters"]["defaults"]
    assert given["segments"] == 0


def test_logs_of_state_machines_contain_no_data(template: Template) -> None:
    for machine in resources(template, "AWS::StepFunctions::StateMachine"):
        logging = machine["LoggingConfiguration"]
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)


@pytest.mark.parametrize(
    ("role", "name"),
    [("Operator", "operator"), ("Worker", "worker"), ("RecoveryAuditor", "auditor")],
)
def test_a_function_may_only_read_the_table_and_connect_to_the_cache(
    template: Template, role: str, name: str
) -> None:
    allowed = allowed_actions(template, f"{role}Role")
    network = {action for action in allowed if action.startswith("ec2:")}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(allowed) - network - logs == CALLS[name] | {"elasticache:Connect"}
    assert all("*" not in json.dumps(allowed[action]) for action in set(allowed) - network)


def test_functions_may_only_decrypt_with_a_customer_managed_key(synth: Synth) -> None:
    allowed = allowed_actions(synth(**EXISTING, tableKeyArn=KEY_ARN), "WorkerRole")
    assert allowed["kms:Decrypt"] == [KEY_ARN]
    assert allowed["dynamodb:Scan"] == [TABLE_ARN]


def test_the_machines_may_only_invoke_the_worker_and_start_a_rebuild(template: Template) -> None:
    rebuild = allowed_actions(template, "RebuildMachineRole")
    watch = allowed_actions(template, "WatchMachineRole")
    for allowed in (rebuild, watch):
        assert "RecoveryWorker" in json.dumps(allowed["lambda:InvokeFunction"])
        assert "Operator" not in json.dumps(allowed["lambda:InvokeFunction"])
        (started,) = allowed["states:StartExecution"]
        assert "RebuildMachine" in started["Ref"]
    (watched,) = watch["states:ListExecutions"]
    assert "RebuildMachine" in watched["Ref"]
    (described,) = watch["states:DescribeExecution"]
    assert "RebuildMachine" in json.dumps(described)
    assert {action for action in rebuild if action.startswith("states:")} == {
        f"states:{verb}Execution" for verb in ("Start", "Describe", "Stop", "Redrive")
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
        # This group may also reach the table.
        assert "Operator" in group["Fn::GetAtt"][0]
        assert function["Timeout"] == 900
        variables = function["Environment"]["Variables"]
        shared = dict(replicator["Environment"]["Variables"])
        del shared["ELASTICACHE_USER"]  # each role has its own
        assert all(variables[name] == value for name, value in shared.items())
        assert "DYNAMODB_TABLE" in variables


def rules(template: Template) -> dict[str, Any]:
    """Return the schedules of watchdog and auditor, by their descriptions' first word."""
    return {
        rule["Description"].split()[0]: rule["ScheduleExpression"]
        for rule in resources(template, "AWS::Events::Rule")
        if not {"simulator", "canary", "noted"} & set(rule["Description"].split())
    }


def test_by_default_a_mirror_is_checked_and_audited_within_a_day(template: Template) -> None:
    assert rules(template) == {"Has": "rate(5 minutes)", "Runs": "rate(5 minutes)"}
    variables = functions(template)["dynamirror.functions.auditor.handler"]["Environment"][
        "Variables"
    ]
    assert variables["DYNAMIRROR_AUDIT_PARTS"] == "288"
    assert variables["DYNAMIRROR_AUDIT_REPAIR"] == "true"
    assert "DYNAMIRROR_AUDIT_RATE" not in variables


def test_interval_and_rate_of_audits_are_options(synth: Synth) -> None:
    template = synth(heal="false", auditEvery="60", auditRepair="false", auditRate="50")
    assert rules(template) == {"Runs": "rate(1 hour)"}
    variables = functions(template)["dynamirror.functions.auditor.handler"]["Environment"][
        "Variables"
    ]
    assert variables["DYNAMIRROR_AUDIT_PARTS"] == "24"
    assert variables["DYNAMIRROR_AUDIT_REPAIR"] == "false"
    assert variables["DYNAMIRROR_AUDIT_RATE"] == "50"


def test_watchdog_and_auditor_are_optional(synth: Synth) -> None:
    template = synth(heal="false", audit="false", **EXISTING)
    assert rules(template) == {}
    template.resource_count_is("AWS::StepFunctions::StateMachine", 1)
    assert set(OURS) - set(functions(template)) == {"dynamirror.functions.auditor.handler"}


def test_rebuilds_know_the_limits_of_the_cache(synth: Synth) -> None:
    """They compare the table with its storage before they begin, and begin at its minimal rate."""
    by_handler = functions(synth(cacheMaxGb="3", cacheMinEcpu="50000"))
    for name in ("worker", "operator"):
        variables = by_handler[f"dynamirror.functions.{name}.handler"]["Environment"]["Variables"]
        assert variables["ELASTICACHE_MAX_BYTES"] == "3000000000"
        assert variables["ELASTICACHE_ECPUS"] == "50000"


def test_another_app_deploys_recovery_for_its_own_mirror() -> None:
    stack = Stack(App(), "Theirs")
    table = dynamodb.Table.from_table_attributes(
        stack, "Table", table_arn=TABLE_ARN, table_stream_arn=STREAM_ARN
    )
    context = FunctionContext(
        tables=[MirroredTable(table=table, keys=("id",))],
        cache=ExistingCache.from_attributes(
            stack, "Cache", name="c", host="cache.example.com", tls=False
        ),
        network=Network(stack, "Network"),
        code=LambdaCode.build(stack),
    )
    recovery = Recovery(stack, "Recovery", context=context, heal=False, audit=False)
    Watchdog(
        stack,
        "Watchdog",
        context=context,
        worker=recovery.worker,
        rebuild=recovery.machine,
        interval=Duration.hours(1),
    )
    template = Template.from_stack(stack)
    assert rules(template) == {"Has": "rate(1 hour)"}
    assert "elasticache:Connect" not in allowed_actions(template, "WorkerRole")


@pytest.mark.parametrize("context", [{"tracing": "true"}, {"audit": "false", "heal": "false"}])
def test_nag_finds_nothing_with_any_choice_of_options(context: dict[str, str]) -> None:
    app, _stack = make_stack(**context)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
