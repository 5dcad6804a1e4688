"""The stack's functions and state machines in emulated AWS."""

import io
import json
import sys
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from tests.support.templates import make_stack  # prepares jsii, before any import of aws_cdk

from dynamirror.cache.completeness_marker import record_gap
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.emulators.dynamodb import REGION, create_table, write_items
from dynamirror.emulators.ministack import start_ministack
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.operations.service import Operations

EMULATOR = Path(__file__).parents[2] / "deploy" / "emulator.py"


ROLE = "arn:aws:iam::000000000000:role/any"


FUNCTIONS = ("operator", "worker", "auditor")


# So that the pauses of a machine take a twentieth of their time.
HURRY = "0.05"


def machines() -> dict[str, Any]:
    """The definitions of the stack's state machines, by the construct's name; references stay."""
    from aws_cdk.assertions import Template  # noqa: PLC0415 - see above

    found = Template.from_stack(make_stack(segments="2")[1]).find_resources(
        "AWS::StepFunctions::StateMachine"
    )
    return {
        name: next(one for key, one in found.items() if name in key)["Properties"]
        for name in ("Rebuild", "Watch")
    }


def text(definition: Any, references: Mapping[str, str]) -> str:
    """A definition as text.

    Args:
        definition: joined of texts and references.
        references: what stands for the logical ids that contain a name.
    """
    if isinstance(definition, str):
        return definition
    ((function, value),) = definition.items()
    if function == "Fn::Join":
        return "".join(text(part, references) for part in value[1])
    logical_id = value if isinstance(value, str) else value[0]
    if logical_id == "AWS::Partition":
        return "aws"
    return next(arn for name, arn in references.items() if name in logical_id)


class Cloud:
    """Emulated AWS with the functions and the state machines.

    Args:
        valkey: the cache.
    """

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self.valkey = valkey
        self.server = start_ministack(
            "dynamodb,dynamodbstreams,lambda,stepfunctions,iam,logs,events",
            script=EMULATOR,
            SFN_WAIT_SCALE=HURRY,
        )
        self.url = f"http://{HOST}:{self.server.port}"
        self.aws = Aws(REGION, self.url, ("local", "local")).shared()
        session: Any = boto3.Session("local", "local", region_name=REGION)
        self.functions = session.client("lambda", endpoint_url=self.url)
        self.states = session.client("stepfunctions", endpoint_url=self.url)
        self.logs = session.client("logs", endpoint_url=self.url)
        self.dynamodb = self.aws.dynamodb()
        self._definitions = machines()

    def deploy(self) -> "Deployed":
        """A table of its own, with functions and machines for it."""
        table = f"t-{uuid4().hex[:12]}"
        create_table(self.dynamodb, table, {"id": "S"})
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            imports = [
                f"from dynamirror.functions.{name} import handler as {name}\n" for name in FUNCTIONS
            ]
            archive.writestr("inside.py", "".join(imports))
        arns = {"Table": table}
        for name in FUNCTIONS:
            given = self.functions.create_function(
                FunctionName=f"{table}-{name}",
                Runtime=f"python3.{sys.version_info.minor}",
                Role=ROLE,
                Handler=f"inside.{name}",
                Code={"ZipFile": zipped.getvalue()},
                Timeout=900,
                Environment={
                    "Variables": {**self.valkey.settings().to_env(), "DYNAMODB_TABLE": table}
                },
            )
            arns[name.capitalize()] = given["FunctionArn"]
        rebuild = self._machine(f"{table}-rebuild", "Rebuild", arns)
        watch = self._machine(f"{table}-watch", "Watch", arns | {"Rebuild": rebuild})
        return Deployed(self, table, rebuild, watch)

    def _machine(self, name: str, kind: str, references: Mapping[str, str]) -> str:
        properties = self._definitions[kind]
        made = self.states.create_state_machine(
            name=name,
            definition=text(properties["DefinitionString"], references),
            roleArn=ROLE,
            type=properties["StateMachineType"],
        )
        return str(made["stateMachineArn"])


class Deployed:
    """One table with its functions and machines."""

    def __init__(self, cloud: Cloud, table: str, rebuild: str, watch: str) -> None:
        self.cloud = cloud
        self.table = table
        self.rebuild = rebuild
        self.watch = watch
        self.operations = Operations(cloud.valkey.settings(), cloud.aws, table)

    def with_second_table(self) -> "Deployed":
        """Add a table to the mirror, with the same functions and machines."""
        table = f"{self.table}-2"
        create_table(self.cloud.dynamodb, table, {"id": "S"})
        for name in FUNCTIONS:
            function = f"{self.table}-{name}"
            found = self.cloud.functions.get_function_configuration(FunctionName=function)
            variables = found["Environment"]["Variables"]
            variables["DYNAMODB_TABLES"] = f"{self.table},{table}"
            self.cloud.functions.update_function_configuration(
                FunctionName=function, Environment={"Variables": variables}
            )
        return Deployed(self.cloud, table, self.rebuild, self.watch)

    def put(self, *ids: object, **attributes: Any) -> None:
        """Put items into the table, attributes in DynamoDB JSON."""
        items = ({"id": {"S": str(one)}, **attributes} for one in ids)
        write_items(self.cloud.dynamodb, self.table, items)

    def note_old_gap(self) -> None:
        """Spare a rebuild the wait for rows that are newer than the gap."""
        views = self.operations.views
        stream = describe_table(self.operations.client, self.operations.table).stream_arn
        at = int(time.time()) - 60
        record_gap(self.operations.cache, views, stream=stream, at=at, reason="none")

    def invoke(self, name: str, event: Any) -> Any:
        """Invoke a function; an error that it raised is the answer."""
        given = self.cloud.functions.invoke(
            FunctionName=f"{self.table}-{name}", Payload=json.dumps(event)
        )
        return json.loads(given["Payload"].read())

    def start(self, machine: str, name: str | None = None, **given: Any) -> str:
        """Start an execution."""
        named = {"name": name} if name else {}
        started = self.cloud.states.start_execution(
            stateMachineArn=machine, input=json.dumps(given), **named
        )
        return str(started["executionArn"])

    def end(self, execution: str) -> Any:
        """Wait for an execution's end; gives its state."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            state = self.cloud.states.describe_execution(executionArn=execution)
            if state["status"] != "RUNNING":
                return state
            time.sleep(0.1)
        raise TimeoutError(execution)

    def run(self, machine: str, **given: Any) -> Any:
        """Run an execution, which must succeed; gives its output."""
        state = self.end(self.start(machine, **given))
        assert state["status"] == "SUCCEEDED", state
        return json.loads(state["output"])

    def steps(self, execution: str) -> list[str]:
        """The names of the states that an execution entered; the emulator tells no child's."""
        history = self.cloud.states.get_execution_history(executionArn=execution, maxResults=1000)
        entered = [event.get("stateEnteredEventDetails") for event in history["events"]]
        return [one["name"] for one in entered if one]

    def logged_steps(self, name: str) -> list[tuple[str, bool | None]]:
        """The steps that a function has logged, and whether each was done."""
        logs = self.cloud.logs.get_paginator("filter_log_events")
        found = []
        for page in logs.paginate(logGroupName=f"/aws/lambda/{self.table}-{name}"):
            for event in page["events"]:
                with suppress(ValueError):  # Lambda's own lines
                    line = json.loads(event["message"])
                    if line.get("message") == "step":
                        found.append((line["step"], line.get("done")))
        return found

    def names(self) -> list[str]:
        """The names of all rebuilds."""
        found = self.cloud.states.list_executions(stateMachineArn=self.rebuild)["executions"]
        return [str(one["name"]) for one in found]
