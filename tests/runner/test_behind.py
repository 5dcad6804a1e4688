"""How far a shard is behind is told from when it was last seen read to its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from threading import Event
from time import monotonic, time
from typing import Any

import pytest
from tests.support.builders import item, record
from tests.support.deadlines import wait_until
from tests.support.streams import Memory, Tree

from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping


def refuse(_event: Mapping[str, Any], _context: object) -> None:
    """Take no record."""
    raise RuntimeError("boom")


@contextmanager
def delivered(
    tree: Tree,
    checkpoints: Memory,
    function: Callable[[Mapping[str, Any], object], None] = refuse,
    *,
    clock: Callable[[], float] = monotonic,
    now: Callable[[], float] = time,
) -> Iterator[Delivery]:
    """Deliver a stream until the end."""
    delivery = Delivery(
        tree.reader(),
        function,
        checkpoints,
        poll_seconds=0.01,
        discover_seconds=0.01,
        clock=clock,
        now=now,
    )
    delivery.start()
    try:
        yield delivery
    finally:
        tree.may_list.set()
        delivery.stop()


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
        assert delivery.behind() == {"s": pytest.approx(0, abs=30)}, "since it began"
        now[0] += 100
        assert delivery.behind() == {"s": pytest.approx(100, abs=30)}
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
        assert (delivery.lag() or 0) <= 4
    finally:
        delivery.stop()


def test_a_shard_that_is_resumed_is_behind_since_its_checkpoint() -> None:
    tree = Tree({"s": None}, {"s": [[record(2, item())]]}, endless=["s"])
    checkpoints = Memory(s=Checkpoint(f"{1:021d}", created=1_000_000.0))
    with delivered(tree, checkpoints, clock=lambda: 50.0, now=lambda: 1_003_600.0) as it:
        wait_until(lambda: it.counts.retries and it.lag() is not None)
        assert it.lag() == 3600


def test_a_shard_that_gave_no_record_yet_is_behind_since_it_was_last_read() -> None:
    """Its checkpoint has no sequence number, and writes may wait behind it."""
    tree = Tree({"s": None}, {"s": [[record(1, item())]]}, endless=["s"])
    with delivered(tree, Memory(s=Checkpoint(since=1_000_000.0)), now=lambda: 1_003_600.0) as it:
        wait_until(lambda: it.counts.retries and it.lag() is not None)
        assert it.lag() == pytest.approx(3600, abs=30)


def test_a_clock_that_is_late_does_not_hide_records_that_are_not_taken() -> None:
    clock, now, fails = [50.0], [1_000_000.0], Event()

    def function(_event: Mapping[str, Any], _context: object) -> None:
        if fails.is_set():
            raise RuntimeError("boom")

    # DynamoDB's clock is an hour ahead of this one.
    created = 1_003_600.0
    tree = Tree(
        {"s": None},
        {"s": [[record(1, item(), ApproximateCreationDateTime=created)]]},
        endless=["s"],
    )
    with delivered(tree, Memory(), function, clock=lambda: clock[0], now=lambda: now[0]) as it:
        wait_until(lambda: it.counts.records and it.lag() == 0)
        fails.set()
        tree.data["s"].append([record(2, item(), ApproximateCreationDateTime=created)])
        wait_until(lambda: it.counts.retries)
        clock[0] += 600
        now[0] += 600
        assert it.lag() == 600


def test_how_far_a_stream_is_behind_is_not_known_before_its_shards_are_listed() -> None:
    tree = Tree({"s": None}, {"s": []}, endless=["s"])
    tree.may_list.clear()
    with delivered(tree, Memory(s=Checkpoint(f"{1:021d}", created=1_000_000.0))) as it:
        wait_until(lambda: tree.lists)
        assert it.lag() is None
        assert it.behind() == {}
        assert [*it.delays()] == [""], "the metric of a stream that cannot be listed grows"
        tree.may_list.set()
        wait_until(lambda: (lag := it.lag()) is not None and lag < 30)


def test_a_finished_shard_counts_until_its_children_are_listed() -> None:
    clock = [50.0]
    tree = Tree({"open": None, "closing": None}, {}, endless=["open", "closing"])
    with delivered(tree, Memory(), clock=lambda: clock[0]) as it:
        wait_until(lambda: set(it.behind()) == {"open", "closing"} and it.lag() == 0)
        clock[0] += 1
        lists = tree.lists
        tree.may_list.clear()  # as while DescribeStream fails
        tree.endless.remove("closing")
        wait_until(lambda: tree.lists > lists and set(it.behind()) == {"open"})
        clock[0] += 600
        wait_until(lambda: it.behind() == {"open": 0})
        assert it.lag() == pytest.approx(600, abs=1)
        assert it.delays() == {"open": 0, "": pytest.approx(600, abs=1)}
        tree.parents["child"] = "closing"
        tree.endless.add("child")
        tree.may_list.set()
        wait_until(lambda: it.lag() == 0)
        wait_until(lambda: it.delays() == {"open": 0, "child": 0})


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_thread_that_hangs_is_noticed_and_one_that_tries_again_does_not_hang(lanes: int) -> None:
    clock, hangs, hung, may_go_on = [50.0], Event(), Event(), Event()

    def function(event: Mapping[str, Any], _context: object) -> None:
        if hangs.is_set():
            hung.set()
            may_go_on.wait(30)
        if event["Records"][0]["dynamodb"]["SequenceNumber"].endswith("9"):
            raise RuntimeError("boom")

    records = [record(number, item(str(number))) for number in range(1, 10)]
    tree = Tree({"s": None}, {"s": [records]}, endless=["s"])
    mapping = EventSourceMapping(batch_size=1, parallelization_factor=lanes)
    delivery = Delivery(
        tree.reader(), function, Memory(), mapping, discover_seconds=0.01, clock=lambda: clock[0]
    )
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.retries > 1)
        clock[0] += 600
        wait_until(lambda: delivery.stalled() == 0)
        hangs.set()
        assert hung.wait(30)
        clock[0] += 600
        assert delivery.stalled() == 600
    finally:
        may_go_on.set()
        delivery.stop()
    assert delivery.stalled() == 0, "it has ended"
