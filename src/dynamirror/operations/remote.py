"""Operations from outside the cache's network, by the operator Lambda and the state machine.

Both run with the caller's own IAM rights.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from time import sleep
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from dynamirror.dynamodb.client import Aws, aws_errors, error_code
from dynamirror.errors import ConfigError, DynamirrorError, SourceError
from dynamirror.operations.executions import execution_name
from dynamirror.operations.messages import Request, Status, StatusRequest

A = TypeVar("A")

# Lambda's own limit.
_LONGEST_SECONDS = 900
_POLL_SECONDS = 5.0
_ID_LENGTH = 24
_GONE = ("ResourceNotFoundException", "ValidationException", "ValidationError")


class Operator:
    """The operator of one mirror, of one table or several.

    Args:
        aws: the AWS clients.
        name: the name of the operator function, or of its stack.
    """

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws = aws
        self._name = name

    def choose(self, names: Sequence[str]) -> tuple[str | None, ...]:
        """Return the tables to work on; None is the only table of an operator that names none.

        Args:
            names: names of tables of the mirror; empty for all.

        Raises:
            ConfigError: the mirror has no such table.
            DynamirrorError: the operator cannot be asked.
        """
        if "Tables" in self._outputs:
            tables = tuple(map(str, json.loads(self._outputs["Tables"])))
            self._check(names, tables)
            return tuple(names) or tables
        if not names:
            return (None,)
        if "TableName" in self._outputs:  # a stack of the version before has one table
            self._check(names, (self._outputs["TableName"],))
            return (None,)
        for name in names:
            # An operator of the version before ignores the name.
            self._check([name], (self.perform(StatusRequest(table=name), Status).table,))
        return tuple(names)

    def _check(self, names: Sequence[str], tables: Sequence[str]) -> None:
        for name in names:
            if name not in tables:
                has = "table is" if len(tables) == 1 else "tables are"
                raise ConfigError(
                    f"--table: {self._name} has no table {name}; its {has} {', '.join(tables)}"
                )

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

    def start(self, job: Mapping[str, Any], table: str | None = None) -> str:
        """Start the state machine, and return the ARN of the execution.

        Args:
            job: the input of the state machine, with the `action`.
            table: the table; None for the only one.

        Raises:
            DynamirrorError: the state machine cannot be started.
        """
        machine = self._outputs.get("StateMachineArn")
        if machine is None:
            raise ConfigError(
                f"--via: {self._name} is not a stack with a state machine; give the stack's name"
            )
        # The watchdog reads from the name which action is running, and on which table.
        name = f"{job['action']}-{uuid4()}"
        if table is not None:
            name = execution_name(str(job["action"]), table, uuid4().hex[:_ID_LENGTH])
        with aws_errors(f"state machine {machine}"):
            answer = self._aws.client("stepfunctions").start_execution(
                stateMachineArn=machine,
                name=name,
                input=json.dumps(job if table is None else {**job, "table": table}),
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
