"""A state machine with logs and least privilege."""

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from dynamirror.cdk.function_context import FunctionContext

_EXECUTIONS = "Executions have no names before they begin; these are the machine's own."


class LoggedStateMachine(Construct):
    """Create a state machine that logs every step.

    The logs hold no data, because checkpoints contain primary keys.

    Args:
        context: what the mirror's functions share.
        worker: function that runs the steps.
        start: first state.
        kind: standard or express.
        comment: what the state machine does.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        worker: lambda_.Function,
        start: sfn.IChainable,
        kind: sfn.StateMachineType = sfn.StateMachineType.STANDARD,
        comment: str,
    ) -> None:
        super().__init__(scope, id)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            definition_body=sfn.DefinitionBody.from_chainable(start),
            state_machine_type=kind,
            comment=comment,
            tracing_enabled=context.tracing,
            logs=sfn.LogOptions(
                destination=context.log_group(self),
                level=sfn.LogLevel.ALL,
                include_execution_data=False,
            ),
        )
        self._acknowledge(worker, tracing=context.tracing)

    def _acknowledge(self, worker: lambda_.Function, *, tracing: bool) -> None:
        """Acknowledge the findings of cdk-nag that CDK's own policies cause."""
        worker_id = _logical_id(worker.node.default_child)
        machine_id = _logical_id(self.machine.node.default_child)
        executions = (
            "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:"
            f'{{"Fn::Select":[6,{{"Fn::Split":[":",{{"Ref":"{machine_id}"}}]}}]}}'
        )
        acknowledged = {
            "IAM5[Resource::*]": (
                "Step Functions sets up its log delivery with this role; CloudWatch Logs and "
                "X-Ray have no narrower resource for that."
            ),
            f"IAM5[Resource::<{worker_id}.Arn>:*]": "CDK names all versions of the one function.",
            f"IAM5[Resource::{executions}:*]": _EXECUTIONS,
            f"IAM5[Resource::{executions}/*:*]": _EXECUTIONS,
        }
        if not tracing:
            acknowledged["SF2"] = "X-Ray is optional: -c tracing=true."
        for rule, reason in acknowledged.items():
            Validations.of(self).acknowledge(
                Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            )


def _logical_id(element: Any) -> str:
    return Stack.of(element).get_logical_id(element)
