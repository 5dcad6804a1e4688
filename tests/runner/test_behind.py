"""How far a shard is behind is told from when it was last seen read to its end."""

from collections.abc import Mapping
from itertools import count
from threading import Event
from typing import Any

from tests.support.builders import item, record
from tests.support.deadlines import wait_until
from tests.support.streams import Memory, Tree

from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.runner.delivery import Delivery


def test_a_shard_is_behind_for_as_long_as_its_records_are_not_taken() -> None:
    now, may_take = [50.0], Event()

    def function(_event: Mapping[str, Any], _context: object) -> None:
        if not may_take.is_set():
            raise RuntimeError("boom")

    tree = Tree({"s": None, "done": None}, {"s": [[record(1, item())]]}, endless=["s"])
    delivery = Delivery(tree.reader(), function, Memory(), poll_seconds=0.01, clock=lambda: now[0])
    assert delivery.behind() == {}
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.retries and set(delivery.behind()) == {"s"})
        assert delivery.behind() == {"s": 0}, "since it began"
        now[0] += 100
        assert delivery.behind() == {"s": 100}
        may_take.set()
        wait_until(lambda: delivery.behind() == {"s": 0})
    finally:
        delivery.stop()


def test_a_busy_shard_that_is_never_read_to_its_end_is_behind_by_its_newest_record() -> None:
    clock, now = [50.0], [1_000_000.0]
    tree = Tree({"s": None}, {"s": []}, endless=["s"])
    numbers = count(1)

    def function(_event: Mapping[str, Any], _context: object) -> None:
        """Write the next record before this one is through: no page is ever empty."""
        clock[0] += 1
        now[0] += 1
        made = record(next(numbers), item(), ApproximateCreationDateTime=now[0] - 2)
        tree.data["s"].append([made])

    function({}, None)
    delivery = Delivery(
        tree.reader(),
        function,
        Memory(),
        poll_seconds=0.01,
        clock=lambda: clock[0],
        now=lambda: now[0],
    )
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.records > 100)
        assert delivery.lag() <= 4
    finally:
        delivery.stop()


def test_a_shard_that_is_resumed_is_behind_since_its_checkpoint() -> None:
    may_read = Event()

    def function(_event: Mapping[str, Any], _context: object) -> None:
        if not may_read.is_set():
            raise RuntimeError("boom")

    tree = Tree({"s": None}, {"s": [[record(2, item())]]}, endless=["s"])
    checkpoints = Memory(s=Checkpoint(f"{1:021d}", created=1_000_000.0))
    delivery = Delivery(
        tree.reader(), function, checkpoints, poll_seconds=0.01, now=lambda: 1_003_600.0
    )
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.retries)
        assert delivery.lag() == 3600
    finally:
        delivery.stop()
