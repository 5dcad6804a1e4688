"""Changes that come almost a day late are noted even if their batch is only partly applied."""

from collections.abc import Callable
from time import time

import pytest
from tests.support.builders import SCHEMA, STREAM_ARN
from tests.support.clusters import Node, hung, keys_of, knows_all
from tests.support.deadlines import wait_until
from tests.support.mirroring import DEFAULT, Mirror, Record, Table, number

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    CompletenessMarker,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import View

HOUR = 3600
AGES = (23.9, 22.0, 1.0)


@pytest.fixture
def view() -> View:
    """The view, bound as the mirror binds it."""
    return DEFAULT.bind(SCHEMA)


@pytest.fixture
def whole(cluster: Cache, view: View) -> Callable[[], CompletenessMarker]:
    """A mirror that is complete; gives what its marker says now."""
    record_gap(cluster, [view], stream=STREAM_ARN, at=1, reason="it is new")
    assert record_complete(cluster, [view], SnapshotVersion(2)) is None
    return lambda: read_marker(cluster, "users")


def batch(table: Table, *homes: int) -> list[Record]:
    """Records of these ages, the entry of each on that node."""
    ids = {index: iter(keys_of(index, 3, "users:")) for index in set(homes)}
    records = [table.put(next(ids[index]).removeprefix("users:")) for index in homes]
    for one, age in zip(records, AGES, strict=True):
        one["dynamodb"]["ApproximateCreationDateTime"] = int(time() - age * HOUR)
    return records


def others(nodes: list[Node]) -> tuple[int, int, int]:
    """The node of the marker, and the other two."""
    key = completeness_marker_key("users").encode()
    (mine,) = (index for index, node in enumerate(nodes) if node.ask(b"KEYS", key))
    first, second = sorted({0, 1, 2} - {mine})
    return mine, first, second


def test_lateness_is_noted_though_a_node_hangs_and_the_rest_begins_with_younger_records(
    cluster: Cache, nodes: list[Node], whole: Callable[[], CompletenessMarker]
) -> None:
    mirror, table = Mirror(cluster), Table()
    mine, victim, other = others(nodes)
    records = batch(table, other, victim, mine)
    with hung(nodes[victim].server):
        identifier = mirror.deliver(records)
        assert identifier == number(records[1])
    mirror.deliver_again(records, identifier)
    assert not whole().is_complete
    assert "23 hours late" in whole().reason
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_batch_whose_lateness_cannot_be_noted_comes_again_as_a_whole(
    cluster: Cache, nodes: list[Node], whole: Callable[[], CompletenessMarker]
) -> None:
    mirror, table = Mirror(cluster), Table()
    victim, first, second = others(nodes)
    records = batch(table, first, second, victim)
    with hung(nodes[victim].server):
        identifier = mirror.deliver(records)
        assert identifier == number(records[0])
    mirror.deliver_again(records, identifier)
    assert not whole().is_complete
    assert "23 hours late" in whole().reason
    wait_until(lambda: all(map(knows_all, nodes)))
