"""Fixtures of synthesized templates."""

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.templates import (  # prepares jsii, before any import of aws_cdk
    Synth,
    Synthesized,
    build_code,
    stack_and_template,
)

from dynamirror.cdk.template import render_template, variant_templates

if TYPE_CHECKING:
    from aws_cdk.assertions import Template

    from dynamirror.cdk import DynamirrorStack, LambdaCode
    from dynamirror.cdk.template import Variant


@pytest.fixture(scope="session")
def synthesized() -> Synthesized:
    """Return stack and template for options given as context; each set of options once."""
    stacks: dict[tuple[tuple[str, Any], ...], tuple[DynamirrorStack, Template]] = {}

    def synthesize_once(**context: str) -> "tuple[DynamirrorStack, Template]":
        options = tuple(sorted(context.items()))
        if options not in stacks:
            stacks[options] = stack_and_template(**context)
        return stacks[options]

    return synthesize_once


@pytest.fixture(scope="session")
def synth(synthesized: Synthesized) -> Synth:
    """Synthesize the stack with options given as context; each set of options once."""
    return lambda **context: synthesized(**context)[1]


@pytest.fixture
def template(synth: Synth) -> "Template":
    """Synthesize the stack with default options."""
    return synth()


@pytest.fixture(scope="session")
def variants() -> "dict[Variant, dict[str, Any]]":
    """Return what CDK synthesizes for each variant of the packaged template."""
    return variant_templates()


@pytest.fixture(scope="session")
def packaged(variants: "dict[Variant, dict[str, Any]]") -> dict[str, Any]:
    """Return the packaged template."""
    return render_template(variants, {"arm64": "a.zip", "x86_64": "b.zip"})


@pytest.fixture(scope="session")
def lambda_code() -> "LambdaCode":
    """Build the asset once."""
    return build_code()
