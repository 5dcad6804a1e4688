"""A patrol visits each item once a round, in random order."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.inspected import Simulation

from dynamirror.dynamodb.scan import ScanPage, Segment
from dynamirror.errors import SourceError
from dynamirror.inspection.patrol import Patrol
from dynamirror.records.version import SnapshotVersion

SEGMENTS = 4


class Pages:
    """A table of which each segment has two pages of one item."""

    def __init__(self) -> None:
        self.visited: list[int] = []
        self.fails = False

    def pages(self, segment: Segment) -> Iterator[ScanPage]:
        """Yield the pages of a segment."""
        for number in (2 * segment.index, 2 * segment.index + 1):
            if self.fails:
                raise SourceError("it cannot be read")
            self.visited.append(number)
            yield ScanPage([{"id": {"S": str(number)}}], SnapshotVersion(0), None, 1.0)


def test_a_round_visits_each_item_once_and_the_next_one_waits_for_its_time() -> None:
    simulation, table, time = Simulation(), Pages(), [0.0]
    scan: Any = table
    patrol = Patrol(
        *(scan, simulation.inspector, ("id",)),
        rng=random.Random(1),
        segments=SEGMENTS,
        round_seconds=60,
        clock=lambda: time[0],
    )
    assert [patrol.step() for _ in range(2 * SEGMENTS + 2)] == [*[1] * 2 * SEGMENTS, None, None]
    assert sorted(table.visited) == list(range(2 * SEGMENTS)) != table.visited
    assert simulation.inspector.waiting == 2 * SEGMENTS
    first, table.visited = table.visited, []
    time[0] = 60.0
    assert patrol.step() == 1
    table.fails = True
    with pytest.raises(SourceError):
        patrol.step()
    table.fails = False
    assert patrol.step() is None
    time[0], table.visited = 120.0, []
    while patrol.step():
        pass
    assert sorted(table.visited) == sorted(first)
