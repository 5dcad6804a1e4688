"""An AWS account, emulated: tables, functions, stacks and caches."""

import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.deadlines import wait_until

from dynamirror.deployment.file import Deployment, read_deployment
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import REGION, create_table
from dynamirror.emulators.ministack import start_ministack
from dynamirror.emulators.process import HOST
from dynamirror.preflight.report import Report
from dynamirror.preflight.run import preflight

EMULATOR = Path(__file__).parents[2] / "deploy" / "emulator.py"


class EmulatedAccount:
    """Emulated AWS with stacks, functions and caches."""

    def __init__(self) -> None:
        self.server = start_ministack(script=EMULATOR)
        self.url = f"http://{HOST}:{self.server.port}"
        self.aws = Aws(REGION, self.url, ("local", "local")).shared()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return self.aws.client(service)

    def table(self, keys: Mapping[str, str], view_type: str | None = "NEW_AND_OLD_IMAGES") -> str:
        """Create a table of its own, and return its name."""
        name = f"t-{uuid4().hex[:12]}"
        create_table(self.aws.dynamodb(), name, keys, view_type=view_type)
        return name

    def stream(self, table: str) -> str:
        """Return the ARN of a table's stream."""
        described = self.aws.dynamodb().describe_table(TableName=table)["Table"]
        return described["LatestStreamArn"]

    def deployment(self, table: str, keys: str, **context: str) -> Deployment:
        """Describe the mirror of a table by context."""
        stream = self.stream(table)
        arn = stream.partition("/stream/")[0]
        return read_deployment(
            context.get("config"),
            {"tableArn": arn, "streamArn": stream, "keys": keys, "name": "shop", **context},
        )

    def report(self, deployment: Deployment, template: Any = None) -> Report:
        """Check a deployment."""
        return preflight(deployment, self.aws, template)

    def stack(self, name: str, outputs: Mapping[str, str]) -> None:
        """Create a stack with outputs."""
        template = {
            "Resources": {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {}}},
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        self.deploy(name, template)

    def deploy(
        self,
        name: str,
        template: Mapping[str, Any] | str,
        end: str = "COMPLETE",
        parameters: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Create or update a stack until a status, and return the physical ids of its resources."""
        stacks = self.client("cloudformation")
        try:
            stacks.describe_stacks(StackName=name)
            change, verb = stacks.update_stack, "UPDATE"
        except stacks.exceptions.ClientError:
            change, verb = stacks.create_stack, "CREATE"
        change(
            StackName=name,
            TemplateBody=template if isinstance(template, str) else json.dumps(template),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in (parameters or {}).items()
            ],
        )

        def status() -> str:
            (stack,) = stacks.describe_stacks(StackName=name)["Stacks"]
            return str(stack["StackStatus"])

        wait_until(lambda: not status().endswith("_IN_PROGRESS"))
        assert status() == f"{verb}_{end}", stacks.describe_stack_events(StackName=name)
        found = stacks.describe_stack_resources(StackName=name)["StackResources"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    def function(self, name: str, code: str) -> str:
        """Create a function whose code has a `handler`, and return its ARN."""
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("inside.py", code)
        created = self.client("lambda").create_function(
            FunctionName=name,
            Runtime=f"python3.{sys.version_info.minor}",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="inside.handler",
            Code={"ZipFile": zipped.getvalue()},
            Timeout=60,
        )
        return str(created["FunctionArn"])

    def reader(self, stream: str, name: str) -> str:
        """Create a function with an event source mapping, and return the id of the mapping."""
        self.function(name, "def handler(event, context):\n    pass\n")
        mapping = self.client("lambda").create_event_source_mapping(
            EventSourceArn=stream, FunctionName=name, StartingPosition="LATEST", Enabled=True
        )
        return str(mapping["UUID"])
