"""Operations from outside the cache's network, by the operator Lambda and the state machine.

Both run with the caller's own IAM rights.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from time import sleep
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from dynamirror.dynamodb.client import Aws, aws_errors, error_code
from dynamirror.errors import ConfigError, DynamirrorError, SourceError
from dynamirror.operations.messages import Request

A = TypeVar("A")

MOST_STATE_MACHINE_SEGMENTS = 1_000
# Lambda's own limit.
_LONGEST_SECONDS = 900
_POLL_SECONDS = 5.0
_GONE = ("ResourceNotFoundException", "ValidationException", "ValidationError")


class Operator:
    """The operator of one mirror.

    Args:
        aws: the AWS clients.
        name: the name of the operator function, or of its stack.
    """

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws = aws
        self._name = name

    def perform(self, request: Request, answer_type: type[A]) -> A:
        """Perform a request in the operator function, and return its answer.

        Raises:
            DynamirrorError: the request cannot be performed.
        """
        function = self._outputs.get("OperatorName", self._name)
        client = self._aws.client("lambda", read_timeout=_LONGEST_SECONDS)
        with aws_errors(f"function {function}"):
            invocation = client.invoke(
                FunctionName=function, Payload=msgspec.json.encode({"request": request})
            )
            text = invocation["Payload"].read()
        if "FunctionError" in invocation:
            raise SourceError(f"function {function}: {_message(text)}")
        response: dict[str, Any] = json.loads(text)
        if "error" in response:
            raise DynamirrorError(str(response["error"]))
        try:
            return msgspec.convert(response["answer"], answer_type)
        except (KeyError, msgspec.ValidationError):
            raise SourceError(f"function {function}: is not an operator of this version") from None

    def start(self, job: Mapping[str, Any]) -> str:
        """Start the state machine, and return the ARN of the execution.

        Args:
            job: the input of the state machine, with the `action`.

        Raises:
            DynamirrorError: the state machine cannot be started.
        """
        machine = self._outputs.get("StateMachineArn")
        if machine is None:
            raise ConfigError(
                f"--via: {self._name} is not a stack with a state machine; give the stack's name"
            )
        with aws_errors(f"state machine {machine}"):
            answer = self._aws.client("stepfunctions").start_execution(
                stateMachineArn=machine,
                # The watchdog reads from the name which action is running.
                name=f"{job['action']}-{uuid4()}",
                input=json.dumps(job),
            )
            return str(answer["executionArn"])

    def wait(self, execution: str, on_progress: Callable[[], object]) -> Any:
        """Wait until an execution ends, and return its output.

        Args:
            execution: the ARN of the execution.
            on_progress: called every few seconds.

        Raises:
            DynamirrorError: the execution failed.
        """
        client = self._aws.client("stepfunctions")
        while True:
            with aws_errors(f"execution {execution}"):
                state = client.describe_execution(executionArn=execution)
            match state["status"]:
                case "RUNNING" | "PENDING_REDRIVE":
                    with suppress(DynamirrorError):  # the execution goes on all the same
                        on_progress()
                    sleep(_POLL_SECONDS)
                case "SUCCEEDED":
                    return json.loads(state.get("output") or "{}")
                case status:
                    reason = state.get("cause") or state.get("error") or "see its history"
                    raise DynamirrorError(f"execution {execution}: {status.lower()}: {reason}")

    @cached_property
    def _outputs(self) -> dict[str, str]:
        """The outputs of the stack; empty if there is no stack of that name."""
        client = self._aws.client("cloudformation")
        try:
            with aws_errors(f"stack {self._name}"):
                (stack,) = client.describe_stacks(StackName=self._name)["Stacks"]
                outputs = stack.get("Outputs", ())
                return {output["OutputKey"]: output["OutputValue"] for output in outputs}
        except SourceError as error:
            if error_code(error.__cause__) in (*_GONE, "AccessDenied", "AccessDeniedException"):
                return {}
            raise


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["errorMessage"])
    except (KeyError, TypeError, ValueError):
        return "it failed; see its log"
