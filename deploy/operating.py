"""The deployed functions and state machine, in use."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from dynamirror.aws import aws_errors
from dynamirror.errors import DynamirrorError

_REBUILD_SECONDS = 120.0
_SEGMENTS = 2  # the emulator starts a process for each


def speak_plainly(functions: Any, port: int) -> None:
    """Have the functions use the cache at its port, without TLS and IAM.

    Args:
        functions: boto3's lambda client.
        port: of the cache.
    """
    with aws_errors("functions"):
        for function in functions.list_functions()["Functions"]:
            name = function["FunctionName"]
            variables = function.get("Environment", {}).get("Variables", {})
            if "ELASTICACHE_HOST" not in variables:
                continue
            for variable in ("ELASTICACHE_NAME", "ELASTICACHE_USER"):
                variables.pop(variable, None)
            variables |= {"ELASTICACHE_PORT": str(port), "ELASTICACHE_TLS": "false"}
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )
            functions.get_waiter("function_updated_v2").wait(FunctionName=name)


class Recovery:
    """What rebuilds a mirror, and tells how it is.

    Args:
        client: makes any of boto3's clients.
        outputs: of the stack.
    """

    def __init__(self, client: Callable[[str], Any], outputs: Mapping[str, str]) -> None:
        self._functions = client("lambda")
        self._states = client("stepfunctions")
        self._operator = outputs["OperatorName"]
        self._machine = outputs["StateMachineArn"]

    def start(self) -> str:
        """Start a rebuild; returns the execution's ARN."""
        with aws_errors(f"state machine {self._machine}"):
            execution = self._states.start_execution(
                stateMachineArn=self._machine, input=json.dumps({"segments": _SEGMENTS})
            )
        return str(execution["executionArn"])

    def end(self, execution: str) -> int:
        """Wait for a rebuild's end; returns how many segments were loaded.

        Raises:
            DynamirrorError: it failed, or the mirror is not complete.
        """
        end = time.monotonic() + _REBUILD_SECONDS
        while True:
            with aws_errors(f"execution {execution}"):
                state = self._states.describe_execution(executionArn=execution)
            if state["status"] == "SUCCEEDED":
                break
            if state["status"] != "RUNNING" or time.monotonic() > end:
                why = f"{state.get('error')}: {state.get('cause')}"
                raise DynamirrorError(f"execution {execution}: {state['status']}: {why}")
            time.sleep(0.1)
        if not self._ask(type="status")["complete"]:
            raise DynamirrorError(f"execution {execution}: the mirror is not complete after it")
        return int(json.loads(state["output"])["run"]["segments"])

    def verified(self) -> int:
        """Have the operator compare table and cache; returns how many items it compared.

        Raises:
            DynamirrorError: they differ.
        """
        found = self._ask(type="verify")
        if found["missing"] + found["different"] + found["left_over"] + found["in_flight"]:
            raise DynamirrorError(f"function {self._operator}: found {found}")
        return int(found["items"])

    def _ask(self, **request: Any) -> Any:
        with aws_errors(f"function {self._operator}"):
            given = self._functions.invoke(
                FunctionName=self._operator, Payload=json.dumps({"request": request})
            )
        answer = json.loads(given["Payload"].read())
        if "answer" not in answer:
            raise DynamirrorError(f"function {self._operator}: {answer}")
        return answer["answer"]
