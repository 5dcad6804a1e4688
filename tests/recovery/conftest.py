"""Worlds that are taken down at the end, and a proxy that injects faults."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.views.view import ViewSpec
from recovery.world import World
from source.conftest import burst, proxy

__all__ = ["burst", "proxy"]  # fixtures


class MakeWorld(Protocol):
    """Makes a table of its own and its mirror; see `World`."""

    def __call__(self, *specs: ViewSpec, **options: Any) -> World:
        """Make one."""


@pytest.fixture
def make_world(cache: Cache, dynamodb: EmbeddedDynamoDB) -> Iterator[MakeWorld]:
    """Make worlds, in a cluster that is empty; what they started is stopped when the test ends."""
    with ExitStack() as stack:

        def make(*specs: ViewSpec, **options: Any) -> World:
            world = World(dynamodb, cache, *specs, **options)
            stack.callback(world.stack.close)
            return world

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A table of its own, empty, with the default view."""
    return make_world()
