"""The CDK app that `cdk deploy` deploys."""

import sys

from dynamirror.errors import DynamirrorError
from dynamirror.extras import extra_needed


def main() -> None:
    """Synthesize the stack, or print one sentence and exit."""
    try:
        with extra_needed("the CDK app", "cdk"):
            from aws_cdk import App  # noqa: PLC0415 - it may not be installed

            from dynamirror.cdk import DynamirrorStack, deployment_of  # noqa: PLC0415 - same
        app = App()
        DynamirrorStack(
            app,
            deployment_of(app.node),
            description="A Valkey cache that mirrors DynamoDB tables, kept by dynamirror",
        )
        app.synth()
    except DynamirrorError as error:
        sys.exit(f"dynamirror: {error}")


if __name__ == "__main__":
    main()
