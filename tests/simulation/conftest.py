"""Notes how many schedules were tried."""

from collections.abc import Iterator

import pytest
from tests.support.schedules import Explored


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Iterator[list[Explored]]:
    """Each test adds what it tried; the sum over all tests is told at the end of the run."""
    explored: list[Explored] = []
    yield explored
    # With the report they reach the process that tells the sum.
    request.node.user_properties += [("tried", tuple(one)) for one in explored]
