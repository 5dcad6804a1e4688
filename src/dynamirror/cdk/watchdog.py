"""The watchdog: a state machine that starts a rebuild when the mirror is incomplete."""

from aws_cdk import Duration
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


class Watchdog(Construct):
    """Check the mirror of each table on a schedule, and start a rebuild if it is incomplete.

    The watchdog starts none while another one of the table runs. It resumes a failed rebuild after
    an hour.

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
        add_table_rules(
            self,
            context.tables,
            description="Has dynamirror's mirror checked, and rebuilt if it is incomplete",
            interval=interval or Duration.minutes(5),
            target=lambda event: targets.SfnStateMachine(self.machine, input=event),
        )

    def _definition(self, worker: lambda_.IFunction, rebuild: sfn.IStateMachine) -> sfn.IChainable:
        running = tasks.CallAwsService(
            self,
            "Running",
            state_name="Running",
            service="sfn",
            action="listExecutions",
            iam_action="states:ListExecutions",
            iam_resources=[rebuild.state_machine_arn],
            parameters={"StateMachineArn": rebuild.state_machine_arn, "StatusFilter": "RUNNING"},
            result_selector={"names": sfn.JsonPath.list_at("$.Executions[*].Name")},
            result_path="$.running",
        )
        check = worker_task(
            self,
            "Check",
            worker,
            {
                "step": "check",
                "table": sfn.JsonPath.string_at("$.table"),
                "running": sfn.JsonPath.list_at("$.running.names"),
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
        return running.next(check).next(due.when(is_due, start).otherwise(nothing))
