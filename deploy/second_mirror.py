"""A second mirror beside the first, of a table that exists, and deployments that are refused."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cdk_command import CdkCommand
from deployed_mirror import DeployedMirror, disable_tls_and_iam
from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import create_table
from dynamirror.errors import DynamirrorError
from emulated_aws import Emulator

STACK = "Dynamirror-shop"
_KEYS = {"customer": "S", "order": "S"}
_REFUSAL = "mirrors table orders, which this deployment leaves out"


class SecondMirror:
    """Deploy and use a mirror that a file describes.

    Args:
        emulator: emulated AWS.
        folder: folder for files.
        cache: cache of the mirror.
    """

    def __init__(self, emulator: Emulator, folder: Path, cache: Cache) -> None:
        self._emulator = emulator
        self._cache = cache
        self._file = folder / "mirror.toml"
        self.cdk = CdkCommand(emulator, folder, STACK, validate=False)

    def deploy(self) -> DeployedMirror:
        """Deploy the mirror of an existing table, and return it."""
        self._describe("orders")
        outputs = self.cdk.deploy(config=str(self._file))
        disable_tls_and_iam(self._emulator.client("lambda"), self._emulator.cache.port)
        return DeployedMirror(self._emulator, self._cache, outputs)

    def deploy_other_table(self) -> Iterator[str]:
        """Try to deploy another table under the same name, and yield each refusal.

        Raises:
            DynamirrorError: a deployment is not refused, or not with the sentence.
        """
        self._describe("returns")
        for name, deploy in {
            "preflight": lambda: self.cdk.deploy(config=str(self._file)),
            "CloudFormation": self.cdk.deploy_synthesized,
        }.items():
            yield f"{name}: {_refusal(deploy)}"

    def check_untouched(self) -> None:
        """Check that the refused deployments have changed nothing.

        Raises:
            DynamirrorError: the stack is another, or its update was not rolled back.
        """
        (stack,) = self._emulator.client("cloudformation").describe_stacks(StackName=STACK)[
            "Stacks"
        ]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        if stack["StackStatus"] != "UPDATE_ROLLBACK_COMPLETE" or outputs["TableName"] != "orders":
            raise DynamirrorError(f"stack {STACK} is {stack['StackStatus']}: {outputs}")

    def _describe(self, table: str) -> None:
        """Create a table, and write the file of its mirror."""
        client = self._emulator.aws.dynamodb()
        create_table(client, table, _KEYS)
        stream = client.describe_table(TableName=table)["Table"]["LatestStreamArn"]
        keys = ", ".join(f'{name} = "{kind}"' for name, kind in _KEYS.items())
        self._file.write_text(
            f'[mirror]\nname = "shop"\n\n[[table]]\nname = "{table}"\nkeys = {{ {keys} }}\n'
            f'stream_arn = "{stream}"\n\n[alarms]\nenabled = false\ndashboard = false\n',
            encoding="utf-8",
        )


def _refusal(deploy: object) -> str:
    """Return the line with which a deployment is refused.

    Raises:
        DynamirrorError: it is not refused, or with another sentence.
    """
    assert callable(deploy)
    try:
        deploy()
    except DynamirrorError as error:
        with suppress(StopIteration):
            return next(line.strip() for line in str(error).splitlines() if _REFUSAL in line)
        raise
    raise DynamirrorError(f"stack {STACK}: another table was deployed under the same name")
