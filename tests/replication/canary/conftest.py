"""Worlds of `recovery`, and a canary in them."""

import pytest
from tests.support.world import MakeCanary

from dynamirror.replication.canary_probe import CanaryProbe


@pytest.fixture
def make_canary() -> MakeCanary:
    """Make the canary of a world, which is told the types of the table's keys."""
    return lambda world: CanaryProbe(world.cache, world.client, world.schema)
