"""The changes simulator: random writes to a table on a schedule."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_logs as logs
from constructs import Construct

from dynamirror.cdk.function import LambdaCode


class ChangesSimulator(Construct):
    """Deploy a function that makes random changes, and the rule that runs it.

    Args:
        table: table to write to; its key is `id` (S).
        code: code that the function runs.
        changes_count: number of writes of one run.
        interval: time between two runs; default one minute.
        log_retention: time for which logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        table: dynamodb.ITable,
        code: LambdaCode,
        changes_count: int = 10,
        interval: Duration | None = None,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_WEEK,
    ) -> None:
        super().__init__(scope, id)
        log_group = logs.LogGroup(
            self, "Logs", retention=log_retention, removal_policy=RemovalPolicy.DESTROY
        )
        self.function = code.function(
            self,
            "Function",
            handler="dynamirror.functions.simulator.handler",
            description="random changes to a table",
            environment={
                "DYNAMODB_TABLE": table.table_name,
                "CHANGES_COUNT": str(changes_count),
            },
            log_group=log_group,
            timeout=Duration.minutes(1),
            memory_mb=256,
        )
        table.grant(self.function, "dynamodb:PutItem", "dynamodb:DeleteItem")
        self.rule = events.Rule(
            self,
            "Rule",
            description="Runs dynamirror's changes simulator",
            schedule=events.Schedule.rate(interval or Duration.minutes(1)),
            targets=[targets.LambdaFunction(self.function)],
        )
