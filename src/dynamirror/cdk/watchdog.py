"""The watchdog: starts a rebuild when the mirror is incomplete."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from dynamirror.cdk.inside import Inside
from dynamirror.cdk.machine import Machine, step

_ALREADY = "ExecutionAlreadyExists"


class Watchdog(Construct):
    """Looks at the mirror on a schedule, and starts a rebuild of one that is incomplete.

    It does not while one is under way. One that failed is started again after an hour, and goes on
    where it had come to.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
        worker: looks at the mirror.
        rebuild: the state machine to start.
        every: how often.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        worker: lambda_.Function,
        rebuild: sfn.IStateMachine,
        every: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.machine = Machine(
            self,
            "Watch",
            inside=inside,
            worker=worker,
            start=self._definition(worker, rebuild),
            kind=sfn.StateMachineType.EXPRESS,
            comment="Starts a rebuild of a mirror that is incomplete",
        ).machine
        self.rule = events.Rule(
            self,
            "Rule",
            description="Has dynamirror's mirror looked at, and rebuilt if it is incomplete",
            schedule=events.Schedule.rate(every or Duration.minutes(5)),
            targets=[targets.SfnStateMachine(self.machine)],
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
        )
        check = step(
            self,
            "Check",
            worker,
            {"step": "check", "running": sfn.JsonPath.list_at("$.names")},
            result_path="$.check",
            attempts=3,  # the schedule comes again
        )
        start = tasks.StepFunctionsStartExecution(
            self,
            "Start",
            state_name="Start",
            state_machine=rebuild,
            name=sfn.JsonPath.string_at("$.check.name"),
            input=sfn.TaskInput.from_object({"action": "backfill"}),
        )
        nothing = sfn.Succeed(self, "NothingToDo", state_name="NothingToDo")
        start.add_catch(
            nothing, errors=[f"StepFunctions.{_ALREADY}Exception", f"Sfn.{_ALREADY}Exception"]
        )
        due = sfn.Choice(self, "Due", state_name="Due")
        is_due = sfn.Condition.boolean_equals("$.check.start", value=True)
        return running.next(check).next(due.when(is_due, start).otherwise(nothing))
