"""Operating a mirror from outside its network: by its operator Lambda and its state machine.

Both are called with the caller's own IAM rights.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from time import sleep
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from dynamirror.aws import Aws, aws_errors, error_code
from dynamirror.errors import ConfigError, DynamirrorError, SourceError
from dynamirror.operations import Request

A = TypeVar("A")

# Lambda's own limit.
_LONGEST_SECONDS = 900
_POLL_SECONDS = 5.0
_GONE = ("ResourceNotFoundException", "ValidationException", "ValidationError")


class Operator:
    """The operator of one mirror.

    Args:
        aws: how to reach AWS.
        name: of the operator function, or of the stack that it is in.
    """

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws = aws
        self._name = name

    def perform(self, request: Request, answer: type[A]) -> A:
        """Have the function do what is asked.

        Args:
            request: what is asked.
            answer: the type of the answer.

        Raises:
            DynamirrorError: it cannot be done; says why.
        """
        function = self._outputs.get("OperatorName", self._name)
        client = self._aws.client("lambda", read_timeout=_LONGEST_SECONDS)
        with aws_errors(f"function {function}"):
            given = client.invoke(
                FunctionName=function, Payload=msgspec.json.encode({"request": request})
            )
            text = given["Payload"].read()
        if "FunctionError" in given:
            raise SourceError(f"function {function}: {_message(text)}")
        response: dict[str, Any] = json.loads(text)
        if "error" in response:
            raise DynamirrorError(str(response["error"]))
        try:
            return msgspec.convert(response["answer"], answer)
        except (KeyError, msgspec.ValidationError):
            raise SourceError(f"function {function}: is not an operator of this version") from None

    def start(self, given: Mapping[str, Any]) -> str:
        """Start the state machine; returns the ARN of the execution.

        Args:
            given: its input, with the `action`.

        Raises:
            DynamirrorError: it cannot be started.
        """
        machine = self._outputs.get("StateMachineArn")
        if machine is None:
            raise ConfigError(
                f"--via: {self._name} is no stack with a state machine; give the stack's name"
            )
        with aws_errors(f"state machine {machine}"):
            answer = self._aws.client("stepfunctions").start_execution(
                stateMachineArn=machine,
                # The watchdog tells by the name what is under way.
                name=f"{given['action']}-{uuid4()}",
                input=json.dumps(given),
            )
            return str(answer["executionArn"])

    def wait(self, execution: str, tell: Callable[[], object]) -> Any:
        """Wait for an execution's end; returns its output.

        Args:
            execution: its ARN.
            tell: is called now and then.

        Raises:
            DynamirrorError: it failed.
        """
        client = self._aws.client("stepfunctions")
        while True:
            with aws_errors(f"execution {execution}"):
                state = client.describe_execution(executionArn=execution)
            match state["status"]:
                case "RUNNING" | "PENDING_REDRIVE":
                    with suppress(DynamirrorError):  # only told; the execution goes on
                        tell()
                    sleep(_POLL_SECONDS)
                case "SUCCEEDED":
                    return json.loads(state.get("output") or "{}")
                case status:
                    why = state.get("cause") or state.get("error") or "see its history"
                    raise DynamirrorError(f"execution {execution}: {status.lower()}: {why}")

    @cached_property
    def _outputs(self) -> dict[str, str]:
        """Of the stack; nothing if the name is not that of one."""
        client = self._aws.client("cloudformation")
        try:
            with aws_errors(f"stack {self._name}"):
                (stack,) = client.describe_stacks(StackName=self._name)["Stacks"]
                return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", ())}
        except SourceError as error:
            if error_code(error.__cause__) in (*_GONE, "AccessDenied", "AccessDeniedException"):
                return {}
            raise


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["errorMessage"])
    except (KeyError, TypeError, ValueError):
        return "it failed; see its log"
