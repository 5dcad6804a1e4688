"""Clients of an application, and tables mirrored by hand."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
from tests.support.attaching import Attached
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

EXACT = ViewSpec(encoding=DYNAMODB_JSON)


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """The application's session."""
    return boto3.Session("local", "local", region_name=REGION)


@pytest.fixture(scope="session")
def client(session: boto3.Session, dynamodb: EmbeddedDynamoDB) -> Any:
    """The application's client; what a test attaches, it detaches."""
    return session.client("dynamodb", endpoint_url=dynamodb.endpoint_url)


@pytest.fixture(scope="session")
def resource(session: boto3.Session, dynamodb: EmbeddedDynamoDB) -> Any:
    """The application's resource."""
    return session.resource("dynamodb", endpoint_url=dynamodb.endpoint_url)


@pytest.fixture
def make(
    valkey: EmbeddedValkey, cache: Cache, dynamodb: EmbeddedDynamoDB
) -> Iterator[MakeMirrored]:
    """Make tables of their own, and an empty cache."""
    with ExitStack() as stack:

        def make_(*specs: ViewSpec, **options: Any) -> Mirrored:
            return Mirrored(
                dynamodb, valkey.settings(), cache, stack, *(specs or (EXACT,)), **options
            )

        yield make_


@pytest.fixture
def attached() -> Iterator[Attached]:
    """Attach targets to mirrors until the test ends."""
    with ExitStack() as stack:
        yield Attached(stack)
