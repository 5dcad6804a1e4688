"""The deployed mirror: its settings, its use, and its deletion."""

import json
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import aws_errors, describe_schema
from dynamirror.dynamodb.scan import scan_table
from dynamirror.errors import DynamirrorError
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.settings import load_views
from dynamirror.views.view import bind_views
from emulated_aws import Emulator

_MIRROR_SECONDS = 60.0
_MACHINE_SECONDS = 120.0
_KEY = "deploy-local"  # the simulator's ids are numbers
_LAST_LINES = 8


def disable_tls_and_iam(functions: Any, port: int) -> None:
    """Configure the deployed functions to use the cache without TLS and IAM.

    Args:
        functions: boto3's lambda client.
        port: TCP port of the cache.
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


class DeployedMirror:
    """Use the deployed mirror.

    Args:
        emulator: emulated AWS with the stack.
        cache: cache of the mirror.
        outputs: outputs of the stack.
        config: text of the `mirror.toml` with its views; None for the default view.
    """

    def __init__(
        self,
        emulator: Emulator,
        cache: Cache,
        outputs: Mapping[str, str],
        config: str | None = None,
    ) -> None:
        self._emulator = emulator
        self._cache = cache
        self._outputs = outputs
        self._functions = emulator.client("lambda")
        self._dynamodb = emulator.aws.dynamodb()
        schema, _ = describe_schema(self._dynamodb, self.table)
        self._key = {name: {"S": _KEY} for name in schema.keys}
        self._views = bind_views(load_views(config), schema)

    @property
    def table(self) -> str:
        """The table's name."""
        return self._outputs["TableName"]

    def put(self, text: str) -> None:
        """Write the test item."""
        item = {**self._key, "text": {"S": text}}
        with aws_errors(f"table {self.table}"):
            self._dynamodb.put_item(TableName=self.table, Item=item)

    def delete(self) -> None:
        """Delete the test item."""
        with aws_errors(f"table {self.table}"):
            self._dynamodb.delete_item(TableName=self.table, Key=self._key)

    def lose_entry(self) -> None:
        """Delete the test item's entry from the cache, as no replicator does."""
        for view in self._views:
            key = view.render(self._key)
            assert key is not None
            self._cache.call(key, b"UNLINK", key.encode())

    def simulate(self) -> None:
        """Invoke the simulator.

        Raises:
            DynamirrorError: the simulator did not make its changes.
        """
        name = self._outputs["SimulatorName"]
        with aws_errors(f"function {name}"):
            answer = self._functions.invoke(FunctionName=name, Payload=b"{}")
        text = answer["Payload"].read().decode()
        if "FunctionError" in answer or json.loads(text).get("statusCode") != 200:  # noqa: PLR2004
            raise DynamirrorError(f"function {name}: answered {text[:500]}")

    def wait_until_mirrored(self) -> Comparison:
        """Wait until the whole cache matches the whole table, and return the comparison.

        Raises:
            DynamirrorError: the cache differs after the deadline.
        """
        end = time.monotonic() + _MIRROR_SECONDS
        while True:
            items = scan_table(self._dynamodb, self.table)
            comparison = compare(items, self._cache, self._views)
            if not comparison.differences:
                return comparison
            if time.monotonic() > end:
                raise DynamirrorError(
                    f"after {_MIRROR_SECONDS:g} s the cache differs from table {self.table}: "
                    f"{comparison.sample}; last log lines of the function: {self._last_log_lines()}"
                )
            time.sleep(0.02)

    def _last_log_lines(self) -> str:
        with aws_errors(f"log group {self._outputs['LogGroup']}"):
            events = self._emulator.client("logs").filter_log_events(
                logGroupName=self._outputs["LogGroup"]
            )["events"]
        return " ".join(event["message"].strip() for event in events[-_LAST_LINES:]) or "none"

    def shorten_invocations(self) -> None:
        """Leave the worker's invocations time for one batch, so that work must be resumed."""
        name = self._worker
        with aws_errors(f"function {name}"):
            found = self._functions.get_function_configuration(FunctionName=name)
            variables = found["Environment"]["Variables"]
            variables["DYNAMIRROR_INVOCATION_SECONDS"] = "0"
            self._functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )
            self._functions.get_waiter("function_updated_v2").wait(FunctionName=name)

    @property
    def _worker(self) -> str:
        functions = self._functions.list_functions()["Functions"]
        return next(
            str(function["FunctionName"])
            for function in functions
            if function.get("Handler") == "dynamirror.functions.worker.handler"
            and function["Environment"]["Variables"]["DYNAMODB_TABLE"] == self.table
        )

    def resumed(self, step: str) -> int:
        """Return how often a step of the state machine ended before its work was done."""
        with aws_errors(f"function {self._worker}"):
            found = self._functions.get_function_configuration(FunctionName=self._worker)
            group = found["LoggingConfig"]["LogGroup"]
            pages = self._emulator.client("logs").get_paginator("filter_log_events")
            messages = [
                event["message"]
                for page in pages.paginate(logGroupName=group)
                for event in page["events"]
            ]
        lines = [json.loads(message) for message in messages if message.startswith("{")]
        return sum(line.get("step") == step and line.get("done") is False for line in lines)

    def run_machine(self, **job: object) -> dict[str, Any]:
        """Run the state machine, and return its output.

        Raises:
            DynamirrorError: the execution failed, or takes too long.
        """
        machine = self._outputs["StateMachineArn"]
        states = self._emulator.client("stepfunctions")
        end = time.monotonic() + _MACHINE_SECONDS
        with aws_errors(f"state machine {machine}"):
            arn = states.start_execution(
                stateMachineArn=machine, input=json.dumps(job | {"table": self.table})
            )["executionArn"]
            state = states.describe_execution(executionArn=arn)
            while state["status"] == "RUNNING" and time.monotonic() < end:
                time.sleep(0.1)
                state = states.describe_execution(executionArn=arn)
        if state["status"] != "SUCCEEDED":
            raise DynamirrorError(f"execution {arn}: {state['status']}: {state.get('cause')}")
        output: dict[str, Any] = json.loads(state["output"])
        return output


def check_stack_deleted(emulator: Emulator, stack: str) -> None:
    """Check that a stack does not exist.

    Raises:
        DynamirrorError: the stack exists.
    """
    try:
        stacks = emulator.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return
        raise DynamirrorError(f"stack {stack}: {error}") from error
    if any(found["StackStatus"] != "DELETE_COMPLETE" for found in stacks):
        raise DynamirrorError(f"stack {stack} is still there: {stacks[0]['StackStatus']}")
