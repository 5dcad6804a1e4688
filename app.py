"""The CDK app: `cdk deploy` stands the whole system up."""

import sys

from aws_cdk import App

from dynamirror.cdk.stack import DynamirrorStack
from dynamirror.errors import DynamirrorError


def main() -> None:
    """Synthesize; an error is one sentence on standard error."""
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
