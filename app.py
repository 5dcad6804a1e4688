"""The CDK app that `cdk deploy` deploys."""

import sys

from aws_cdk import App

from dynamirror.cdk import DynamirrorStack
from dynamirror.errors import DynamirrorError


def main() -> None:
    """Synthesize the stack, or print one sentence and exit."""
    app = App()
    try:
        DynamirrorStack(
            app,
            "Dynamirror",
            description="A Valkey cache that mirrors a DynamoDB table, kept by dynamirror",
        )
        app.synth()
    except DynamirrorError as error:
        sys.exit(f"dynamirror: {error}")


if __name__ == "__main__":
    main()
