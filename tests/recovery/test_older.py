"""What comes too late, from an older stream or by a writer that was given up, is noticed."""

from collections.abc import Callable
from time import time
from typing import Any

import pytest
from tests.support.builders import Time, record
from tests.support.scans import keys_in
from tests.support.world import World

from dynamirror.cache.completeness_marker import OLDER_DATA, OLDER_STREAM

SUCCESS: dict[str, list[Any]] = {"batchItemFailures": []}


def change(world: World, sequence: int, new: Any = None, old: Any = None) -> dict[str, Any]:
    """A record of the table's stream, made just now."""
    one = record(sequence, new, old, ApproximateCreationDateTime=int(time()))
    return one | {"eventSourceARN": world.arn}


def shown(world: World) -> set[bytes]:
    """The entries in the cache."""
    return set(keys_in(world.cache, f"{world.table}:*"))


X: dict[str, Any] = {"id": {"S": "x"}}
Y: dict[str, Any] = {"id": {"S": "y"}}


@pytest.mark.parametrize("met", [True, False], ids=["new stream met", "new stream not met"])
def test_a_backlog_of_an_older_stream_after_a_rebuild_makes_the_mirror_incomplete(
    world: World, *, met: bool
) -> None:
    older = world.replicator
    backlog = [change(world, 1, X)]  # put, and not delivered
    world.put("x")
    world.switch(on=False)
    world.delete("x")
    world.switch(on=True)
    world._learn()
    if met:
        assert world.replicator({"Records": [change(world, 1, Y)]}, Time()) == SUCCESS
    world.rebuilt()
    assert world.marker.is_complete
    assert older({"Records": backlog}, Time()) == SUCCESS
    assert shown(world) == {f"{world.table}:x".encode()}
    assert not world.marker.is_complete
    assert world.marker.reason == OLDER_STREAM
    followed = world.marker.stream
    world.rebuilt()
    assert world.marker.is_complete
    assert shown(world) == set()
    # Each such batch counts, whoever looked shortly before.
    assert older({"Records": backlog}, Time()) == SUCCESS
    assert not world.marker.is_complete
    assert world.marker.stream == followed


class Paused(Time):
    """Lambda's context: whoever asks it for the time is held up while something happens."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        self.meanwhile()
        return super().get_remaining_time_in_millis()


def test_a_zombie_that_holds_a_put_from_before_a_flush_makes_the_mirror_incomplete(
    world: World,
) -> None:
    put, gone = change(world, 1, X), change(world, 2, None, X)
    successor = world.replicator
    world._learn()
    zombie = world.replicator

    def meanwhile() -> None:
        assert successor({"Records": [put, gone]}, Time()) == SUCCESS
        world.cache.broadcast(b"FLUSHALL")
        world.rebuilt()
        assert world.marker.is_complete

    assert zombie({"Records": [put]}, Paused(meanwhile)) == SUCCESS
    assert shown(world) == {f"{world.table}:x".encode()}
    assert not world.marker.is_complete
    assert world.marker.reason == OLDER_DATA
    world.rebuilt()
    assert world.marker.is_complete
    assert shown(world) == set()
