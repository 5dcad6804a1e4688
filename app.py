"""The CDK app that `cdk deploy` deploys."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamirror.deployment.overrides import OFFLINE, is_offline
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.extras import extra_needed

if TYPE_CHECKING:
    from dynamirror.deployment.file import Deployment


def main() -> None:
    """Synthesize the stack and check it against the account, or print one sentence and exit."""
    try:
        with extra_needed("the CDK app", "cdk"):
            from aws_cdk import App  # noqa: PLC0415 - it may not be installed

            from dynamirror.cdk import DynamirrorStack, deployment_of  # noqa: PLC0415 - same
        app = App()
        leaves_out = is_offline(app.node.try_get_context(OFFLINE))
        deployment = deployment_of(app.node)
        stack = DynamirrorStack(
            app,
            deployment,
            description="A Valkey cache that mirrors DynamoDB tables, kept by dynamirror",
        )
        output = Path(app.synth().directory)
        # With something missing, CDK's command line looks it up and runs the app again.
        if not leaves_out and not _read(output / "manifest.json").get("missing"):
            _preflight(deployment, _read(output / stack.template_file))
    except DynamirrorError as error:
        sys.exit(f"dynamirror: {error}")


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _preflight(deployment: "Deployment", template: dict[str, Any]) -> None:
    """Check a deployment against the AWS account, if there are credentials.

    Raises:
        ConfigError: something is wrong.
    """
    # CDK's command line sets it if it found credentials. A search of our own would wait for the
    # metadata service of EC2, which most machines lack.
    account = os.environ.get("CDK_DEFAULT_ACCOUNT")
    if not account:
        _inform("left out, because there are no AWS credentials")
        return
    with extra_needed("the preflight", "cli"):
        from dynamirror.dynamodb.client import Aws  # noqa: PLC0415 - it may not be installed
        from dynamirror.preflight.run import preflight  # noqa: PLC0415 - same
    aws = Aws.from_env()
    if aws.region is None and (region := os.environ.get("CDK_DEFAULT_REGION")):
        aws = Aws(region, aws.endpoint_url)
    if not aws.has_credentials():
        _inform("left out, because only the CDK command line has credentials; set AWS_PROFILE")
        return
    report = preflight(deployment, aws, template)
    for check in report.unknown:
        _inform(str(check))
    # CloudFormation checks the status itself, and `cdk destroy` must work with any.
    wrong = [check for check in report.wrong if check.what != "status"]
    if wrong:
        sentences = "\n  ".join(map(str, wrong))
        raise ConfigError(f"preflight:\n  {sentences}\n(-c offline=true leaves out the preflight)")


def _inform(text: str) -> None:
    sys.stderr.write(f"preflight: {text}\n")


if __name__ == "__main__":
    main()
