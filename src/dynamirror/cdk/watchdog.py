"""The watchdog: a state machine that starts a rebuild when the mirror is incomplete."""

from collections.abc import Mapping
from typing import Any, cast

from aws_cdk import Acknowledgment, CfnElement, Duration, Fn, Stack, Validations
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from dynamirror.cdk.function_context import FunctionContext
from dynamirror.cdk.state_machine import LoggedStateMachine
from dynamirror.cdk.table_rules import add_table_rules
from dynamirror.cdk.worker_task import worker_task

_EXISTS = "ExecutionAlreadyExists"
# Of all tables and actions; their descriptions must fit into a state of 256 KB.
_RECENT = 200


class Watchdog(Construct):
    """Check the mirror of each table on a schedule, and start a rebuild if it is incomplete.

    The watchdog starts none while another one of the table runs. It resumes a failed rebuild after
    an hour, and gives up after three that failed in a row: it then only reports, until a rebuild
    that somebody starts has succeeded.

    Args:
        context: what the mirror's functions share.
        worker: function that checks the mirror.
        rebuild: state machine to start.
        interval: time between two checks; default five minutes.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        worker: lambda_.Function,
        rebuild: sfn.IStateMachine,
        interval: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.machine = LoggedStateMachine(
            self,
            "Watch",
            context=context,
            worker=worker,
            start=self._definition(worker, rebuild),
            kind=sfn.StateMachineType.EXPRESS,
            comment="Starts a rebuild of a mirror that is incomplete",
        ).machine
        self._acknowledge(rebuild)
        add_table_rules(
            self,
            context.tables,
            description="Has dynamirror's mirror checked, and rebuilt if it is incomplete",
            interval=interval or Duration.minutes(5),
            target=lambda event: targets.SfnStateMachine(self.machine, input=event),
        )

    def _acknowledge(self, rebuild: sfn.IStateMachine) -> None:
        """Acknowledge the finding of cdk-nag that the right to describe executions causes."""
        resource = rebuild.node.default_child
        if resource is None:  # another stack's
            return
        name = Stack.of(self).get_logical_id(cast("CfnElement", resource))
        executions = (
            "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:"
            f'{{"Fn::Select":[6,{{"Fn::Split":[":",{{"Ref":"{name}"}}]}}]}}'
        )
        Validations.of(self).acknowledge(
            Acknowledgment(
                id=f"AwsSolutions-IAM5[Resource::{executions}:*]",
                reason="Executions have no names before they begin; these are the rebuild's.",
            )
        )

    def _definition(self, worker: lambda_.IFunction, rebuild: sfn.IStateMachine) -> sfn.IChainable:
        running = self._list(
            "Running",
            rebuild,
            {"StatusFilter": "RUNNING"},
            {"names": sfn.JsonPath.list_at("$.Executions[*].Name")},
        )
        recent = self._list(
            "Recent",
            rebuild,
            {"MaxResults": _RECENT},
            {
                "arns": sfn.JsonPath.list_at("$.Executions[*].ExecutionArn"),
                "statuses": sfn.JsonPath.list_at("$.Executions[*].Status"),
            },
        )
        check = worker_task(
            self,
            "Check",
            worker,
            {
                "step": "check",
                "table": sfn.JsonPath.string_at("$.table"),
                "running": sfn.JsonPath.list_at("$.running.names"),
                "recent": sfn.JsonPath.list_at("$.recent.arns"),
                "statuses": sfn.JsonPath.list_at("$.recent.statuses"),
            },
            result_path="$.check",
            attempts=3,  # the schedule soon runs another check
        )
        start = tasks.StepFunctionsStartExecution(
            self,
            "Start",
            state_name="Start",
            state_machine=rebuild,
            name=sfn.JsonPath.string_at("$.check.name"),
            input=sfn.TaskInput.from_object(
                {"action": "backfill", "table": sfn.JsonPath.string_at("$.table")}
            ),
        )
        nothing = sfn.Succeed(self, "NothingToDo", state_name="NothingToDo")
        start.add_catch(
            nothing, errors=[f"StepFunctions.{_EXISTS}Exception", f"Sfn.{_EXISTS}Exception"]
        )
        due = sfn.Choice(self, "Due", state_name="Due")
        is_due = sfn.Condition.boolean_equals("$.check.start", value=True)
        gives_up = sfn.Condition.not_(sfn.Condition.string_equals("$.check.failed", ""))
        due.when(is_due, start).when(gives_up, self._report(worker, rebuild)).otherwise(nothing)
        return running.next(recent).next(check).next(due)

    def _list(
        self,
        id: str,
        rebuild: sfn.IStateMachine,
        parameters: Mapping[str, Any],
        selector: Mapping[str, Any],
    ) -> tasks.CallAwsService:
        """Return a task that lists executions, the newest first."""
        return tasks.CallAwsService(
            self,
            id,
            state_name=id,
            service="sfn",
            action="listExecutions",
            iam_action="states:ListExecutions",
            iam_resources=[rebuild.state_machine_arn],
            parameters={"StateMachineArn": rebuild.state_machine_arn, **parameters},
            result_selector=dict(selector),
            result_path=f"$.{id.lower()}",
        )

    def _report(self, worker: lambda_.IFunction, rebuild: sfn.IStateMachine) -> sfn.IChainable:
        """Report why the last rebuild failed."""
        name = Fn.select(6, Fn.split(":", rebuild.state_machine_arn))
        stack = Stack.of(self)
        executions = f"arn:{stack.partition}:states:{stack.region}:{stack.account}:execution:{name}"
        why = tasks.CallAwsService(
            self,
            "Why",
            state_name="Why",
            service="sfn",
            action="describeExecution",
            iam_action="states:DescribeExecution",
            iam_resources=[f"{executions}:*"],
            parameters={"ExecutionArn": sfn.JsonPath.string_at("$.check.failed")},
            result_path="$.why",
        )
        gave_up = worker_task(
            self,
            "GaveUp",
            worker,
            {
                "step": "gaveup",
                "table": sfn.JsonPath.string_at("$.table"),
                "execution": sfn.JsonPath.object_at("$.why"),
            },
            attempts=3,
        )
        return why.next(gave_up)
