"""Tables in the emulator, mirrored by hand, and readers of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.views.view import ViewSpec


@pytest.fixture
def make(valkey: Any, cache: Cache, dynamodb: EmbeddedDynamoDB) -> Iterator[MakeMirrored]:
    """Make tables of their own, and an empty cache."""
    with ExitStack() as stack:

        def make_(*specs: ViewSpec, **options: Any) -> Mirrored:
            chosen = specs or (ViewSpec(),)
            return Mirrored(dynamodb, valkey.settings(), cache, stack, *chosen, **options)

        yield make_
