"""Worlds of `recovery`, and a canary in them."""

from collections.abc import Callable

import pytest

from dynamirror.replication.canary_probe import Canary
from recovery.conftest import make_world, world
from recovery.world import World

__all__ = ["make_world", "world"]  # fixtures

MakeCanary = Callable[[World], Canary]


@pytest.fixture
def make_canary() -> MakeCanary:
    """Make the canary of a world, which is told the types of the table's keys."""
    return lambda world: Canary(world.cache, world.client, world.schema)
