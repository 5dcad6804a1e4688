"""Fixtures of synthesized templates."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.emulated_account import EmulatedAccount
from tests.support.templates import (  # prepares jsii, before any import of aws_cdk
    Synth,
    build_code,
    synthesize,
)

if TYPE_CHECKING:
    from aws_cdk.assertions import Template

    from dynamirror.cdk import LambdaCode


@pytest.fixture(scope="session")
def synth() -> Synth:
    """Synthesize the stack with options given as context; each set of options once."""
    templates: dict[tuple[tuple[str, Any], ...], Template] = {}

    def synthesize_once(**context: str) -> "Template":
        options = tuple(sorted(context.items()))
        if options not in templates:
            templates[options] = synthesize(**context)
        return templates[options]

    return synthesize_once


@pytest.fixture
def template(synth: Synth) -> "Template":
    """Synthesize the stack with default options."""
    return synth()


@pytest.fixture(scope="session")
def lambda_code() -> "LambdaCode":
    """Build the asset once."""
    return build_code()


@pytest.fixture(scope="session")
def account() -> Iterator[EmulatedAccount]:
    """Emulated AWS, started once."""
    account = EmulatedAccount()
    yield account
    account.server.stop()
