"""The rights that docs/security.md lists for `--via` are those of the calls that it makes."""

import io
import json
import re
from pathlib import Path
from typing import Any, cast

from dynamirror.operations.remote import Operator

PAGE = Path(__file__).parents[2] / "docs/security.md"
ACTIONS = {
    "cloudformation.describe_stacks": "cloudformation:DescribeStacks",
    "lambda.invoke": "lambda:InvokeFunction",
    "stepfunctions.start_execution": "states:StartExecution",
    "stepfunctions.describe_execution": "states:DescribeExecution",
}
ANSWERS: dict[str, Any] = {
    "cloudformation.describe_stacks": {
        "Stacks": [
            {
                "Outputs": [
                    {"OutputKey": "OperatorName", "OutputValue": "operator"},
                    {"OutputKey": "StateMachineArn", "OutputValue": "machine"},
                ]
            }
        ]
    },
    "stepfunctions.start_execution": {"executionArn": "execution"},
    "stepfunctions.describe_execution": {"status": "SUCCEEDED", "output": "{}"},
}


class Recorder:
    """AWS, which notes what is called."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def client(self, service: str, **_: object) -> Any:
        """Return a client whose calls are noted, and fail if they are not expected."""
        recorder = self

        class Client:
            def __getattr__(self, name: str) -> Any:
                def call(**_: object) -> Any:
                    recorder.called.add(f"{service}.{name}")
                    payload = io.BytesIO(b'{"answer": {}}')
                    return ANSWERS.get(f"{service}.{name}", {"Payload": payload})

                return call

        return Client()


def test_the_policy_for_operators_allows_the_calls_and_no_others() -> None:
    recorder = Recorder()
    remote = Operator(cast("Any", recorder), "Dynamirror-orders")
    request: Any = {"kind": "status"}
    assert remote.perform(request, dict) == {}
    assert remote.wait(remote.start({"action": "verify"}), lambda: None) == {}
    text = PAGE.read_text(encoding="utf-8").partition("## What a person who operates needs")[2]
    (block, *_rest) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    allowed = {
        action
        for statement in json.loads(block)["Statement"]
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
    }
    assert allowed == {ACTIONS[name] for name in recorder.called}
