"""No record that was trimmed unread goes unnoticed, and nothing else is taken for a loss."""

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, cast

import pytest
from tests.support.builders import CREATED, STREAM_ARN, item, record
from tests.support.deadlines import wait_until
from tests.support.streams import Collector, Memory, Tree

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.dynamodb.shards import Shard
from dynamirror.dynamodb.stream_reader import (
    Record,
    RecordPage,
    ShardGoneError,
    StreamDescription,
    StreamReader,
    TrimmedError,
)
from dynamirror.errors import CacheError
from dynamirror.runner import shard_consumer as consumer_module
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.shard_consumer import CheckpointStore

HOUR = 3600.0
KEPT = 24 * HOUR  # how long a stream keeps a record
OPEN = 4 * HOUR  # after which DynamoDB closes a shard and opens a child


@contextmanager
def delivering(
    reader: StreamReader, positions: CheckpointStore, function: Any = None, **named: Any
) -> Iterator[tuple[Delivery, list[str]]]:
    """A delivery that looks often, and the gaps that it notes."""
    gaps: list[str] = []
    mapping = EventSourceMapping(latest=named.pop("latest", False))
    quick = {"poll_seconds": 0.002, "discover_seconds": 0.01}
    given: Any = {"record_gap": gaps.append, "now": lambda: CREATED + 1.0, **quick, **named}
    delivery = Delivery(reader, function or Collector(), positions, mapping, **given)
    delivery.start()
    try:
        yield delivery, gaps
    finally:
        delivery.stop()


def catch_up(delivery: Delivery) -> None:
    now = monotonic()
    wait_until(lambda: delivery.caught_up(now))


def gaps_of(
    tree: "Tree | Stream", positions: CheckpointStore, function: Any = None, **named: Any
) -> list[str]:
    """Deliver all there is, and give the gaps that were noted."""
    reader = cast("StreamReader", tree)
    with delivering(reader, positions, function, **named) as (delivery, gaps):
        catch_up(delivery)
    assert delivery.counts.gaps == len(gaps)
    return gaps


def test_a_shard_that_never_gave_a_record_is_missed_when_it_is_trimmed() -> None:
    positions = Memory()
    parent = [[record(1)]]
    tree = Tree({"parent": None, "child": "parent"}, {"parent": parent}, endless=["child"])
    assert gaps_of(tree, positions) == []
    tree = Tree({"grandchild": "child"}, {}, endless=["grandchild"])
    assert gaps_of(tree, positions) == ["shard child was trimmed before it was read to its end"]
    assert gaps_of(tree, positions) == []


def test_a_shard_that_was_never_seen_is_missed_by_its_child() -> None:
    positions = Memory(parent=Checkpoint("1", finished=True))
    children = dict.fromkeys(("c1", "c2"), "between")
    tree = Tree(children, {}, endless=children)
    assert gaps_of(tree, positions) == ["shard between was trimmed before it was read"]
    assert gaps_of(tree, positions) == []


def test_a_shard_that_comes_and_goes_between_two_looks_is_missed() -> None:
    tree = Tree({"a": None}, {}, endless=["a"])
    with delivering(tree.reader(), Memory()) as (delivery, gaps):
        catch_up(delivery)
        tree.endless = {"a", "c"}
        tree.parents = {"a": None, "c": "b"}
        wait_until(lambda: gaps)
        catch_up(delivery)
    assert gaps == ["shard b was trimmed before it was read"]


@pytest.mark.parametrize("latest", [False, True])
def test_at_the_first_start_what_was_trimmed_before_is_no_loss(*, latest: bool) -> None:
    tree = Tree({"b": "a", "c": "b", "e": "d"}, {"b": [[record(1)]]}, endless=["c", "e"])
    positions = Memory()
    noted = gaps_of_latest(tree, positions) if latest else gaps_of(tree, positions)
    assert set(noted) == ({"reading began with what was written from then on"} if latest else set())
    assert gaps_of(tree, positions) == []


def gaps_of_latest(tree: Tree, positions: Memory) -> list[str]:
    with delivering(tree.reader(), positions, latest=True) as (delivery, gaps):
        catch_up(delivery)
    assert delivery.counts.gaps == 0
    return gaps


def test_with_the_latest_an_empty_shard_begins_at_its_end_again_and_that_is_told() -> None:
    tree, positions = Tree({"a": None}, {"a": [[record(1)]]}, endless=["a"]), Memory()
    for _ in range(2):
        assert gaps_of_latest(tree, positions) == [
            "reading began with what was written from then on"
        ]
    assert tree.begun == [("a", None, True)] * 2
    # From the first record on, its number tells where to go on.
    with delivering(tree.reader(), positions, latest=True) as (delivery, _gaps):
        catch_up(delivery)
        tree.data["a"].append([record(2)])
        wait_until(lambda: delivery.counts.records)
        catch_up(delivery)
    assert gaps_of_latest(tree, positions) == []
    assert tree.begun[-1] == ("a", record(2)["dynamodb"]["SequenceNumber"], False)


def test_a_gap_that_could_not_be_noted_is_noted_at_the_next_start() -> None:
    positions = Memory(a=Checkpoint("1"), b=Checkpoint(finished=True))
    tree = Tree({"c": "a", "d": "x"}, {}, endless=["c", "d"])
    tried = threading.Event()

    def down(_reason: str) -> None:
        tried.set()
        raise CacheError("down")

    with delivering(tree.reader(), positions, record_gap=down):
        assert tried.wait(30)
    assert len(gaps_of(tree, positions)) == 2


def test_to_be_stopped_while_it_looks_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    tree = Tree({"a": None}, {}, endless=["a"])
    tree.may_list.clear()
    delivery = Delivery(tree.reader(), Collector(), Memory(a=Checkpoint("1"), b=Checkpoint("1")))
    delivery.start()
    wait_until(lambda: tree.lists)
    stopping = threading.Thread(target=delivery.stop)
    stopping.start()
    wait_until(delivery._stop.is_set)
    tree.may_list.set()
    stopping.join()
    assert delivery.counts.gaps == 0
    assert not [entry for entry in caplog.records if entry.levelno >= logging.ERROR]


@pytest.mark.parametrize(("hours", "lost"), [(22.9, 0), (23.1, 1)])
def test_a_shard_that_gave_no_record_may_have_lost_its_first_ones(
    *, hours: float, lost: int
) -> None:
    tree, positions, now = Tree({"a": None}, {}, endless=["a"]), Memory(), [1e9]
    assert gaps_of(tree, positions, now=lambda: now[0]) == []
    now[0] += hours * HOUR
    tree.data["a"] = [[record(1)]]
    assert len(gaps_of(tree, positions, now=lambda: now[0])) == lost
    assert gaps_of(tree, positions, now=lambda: now[0]) == []


def test_a_child_may_have_lost_its_first_records_since_its_parent_ended() -> None:
    tree, positions, now = Tree({"a": None}, {}), Memory(), [1e9]
    assert gaps_of(tree, positions, now=lambda: now[0]) == []
    now[0] += 23.5 * HOUR
    tree = Tree({"b": "a"}, {"b": [[record(1)]]}, endless=["b"])
    (reason,) = gaps_of(tree, positions, now=lambda: now[0])
    assert reason.startswith("shard b was not read for more than 23 hours")


def test_a_process_that_slept_for_a_day_may_have_lost_the_first_records() -> None:
    tree, now = Tree({"a": None}, {}, endless=["a"]), [1e9]
    with delivering(tree.reader(), Memory(), now=lambda: now[0]) as (delivery, gaps):
        catch_up(delivery)
        assert gaps == []
        now[0] += 25 * HOUR
        wait_until(lambda: gaps)
    assert len(gaps) == 1


def test_days_in_which_nothing_is_written_lose_nothing() -> None:
    tree, positions, now = Tree({"a": None}, {}, endless=["a"]), Memory(), [1e9]
    with delivering(tree.reader(), positions, now=lambda: now[0]) as (delivery, gaps):
        for _ in range(10):
            now[0] += 20 * HOUR
            catch_up(delivery)
    assert gaps == []


def test_a_position_that_the_cache_lost_is_there_again_before_a_rebuild_is_through(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_SAVE_SECONDS", 0.01)
    positions = Checkpoints(cache, STREAM_ARN)
    tree = Tree({"a": None, "b": "a"}, {"a": [[record(1)]]}, endless=["b"])
    ticks = count(CREATED)
    with delivering(tree.reader(), positions, now=lambda: next(ticks)) as (delivery, _gaps):
        catch_up(delivery)
        before = {shard: (one.after, one.finished) for shard, one in positions.load().items()}
        cache.broadcast(b"FLUSHALL")
        wait_until(lambda: len(positions.load()) == 2)
        after = {shard: (one.after, one.finished) for shard, one in positions.load().items()}
    assert (
        after
        == before
        == {"a": (record(1)["dynamodb"]["SequenceNumber"], True), "b": (None, False)}
    )


def test_the_position_of_a_finished_shard_goes_once_it_no_longer_matters(cache: Cache) -> None:
    positions = Checkpoints(cache, STREAM_ARN)
    tree = Tree({"a": None, "b": "a"}, {}, endless=["b"])
    with delivering(tree.reader(), positions) as (delivery, gaps):
        catch_up(delivery)
        seen = tree.lists
        wait_until(lambda: tree.lists > seen + 2)
        assert positions.load().keys() == {"a", "b"}, "it is still listed, and would be read again"
        for parent, child in ("bc", "cd", "de"):
            tree.endless = {child}
            tree.parents = {parent: tree.parents[parent], child: parent}
            wait_until(lambda: positions.load().keys() == set(tree.parents))
            catch_up(delivery)
        assert delivery._consumers.keys() == {"d", "e"}
    assert gaps == []
    # Its parent's position is gone, but it is known itself.
    tree.parents = {"e": "d"}
    for _ in range(2):
        assert gaps_of(tree, positions) == []
    assert positions.load().keys() == {"e"}
    tree.parents, tree.endless = {"g": "f"}, {"g"}
    assert len(gaps_of(tree, positions)) == 2, "neither e's end nor f was read"


def test_the_position_of_a_finished_shard_stays_until_its_child_is_begun() -> None:
    class Full(Memory):
        def save(self, shard_id: str, position: Checkpoint) -> None:
            if shard_id == "b" and full.is_set():
                refused.set()
                raise CacheError("full")
            super().save(shard_id, position)

    full, refused, positions = (
        threading.Event(),
        threading.Event(),
        Full(a=Checkpoint(finished=True)),
    )
    full.set()
    tree = Tree({"b": "a"}, {}, endless=["b"])
    with delivering(tree.reader(), positions) as (_delivery, gaps):
        assert refused.wait(30)
        seen = tree.lists
        wait_until(lambda: tree.lists > seen + 2)
        assert positions.keys() == {"a"}
        full.clear()
        wait_until(lambda: positions.keys() == {"b"})
    assert gaps == []


@dataclass
class _Shard:
    id: str
    parent: str | None
    opened: float
    records: list[Record] = field(default_factory=list)
    closed: float | None = None


class Stream:
    """A stream whose clock is ours: its shards close, split and are trimmed as DynamoDB's are."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 1e9
        self.written: list[Record] = []
        self._rng = rng
        self._made = 0
        self._shards: dict[str, _Shard] = {}
        for _ in range(rng.randint(1, 2)):
            self._open(None)

    def _open(self, parent: str | None) -> None:
        self._made += 1
        shard = _Shard(f"shard-{self._made:03d}", parent, self.now)
        self._shards[shard.id] = shard

    def live(self, hours: float, *, busy: float) -> None:
        """Let time pass; at each tick a shard is written to with that probability."""
        end = self.now + hours * HOUR
        while self.now < end:
            self.now = min(end, self.now + 600)
            for shard in [one for one in self._shards.values() if one.closed is None]:
                if self.now - shard.opened > OPEN:
                    shard.closed = self.now
                    for _ in range(self._rng.choice((1, 1, 1, 2)) if self._is_small() else 1):
                        self._open(shard.id)
                elif self._rng.random() < busy:
                    number = len(self.written) + 1
                    one = record(number, item(str(number)), ApproximateCreationDateTime=self.now)
                    shard.records.append(one)
                    self.written.append(one)

    def _is_small(self) -> bool:
        return sum(one.closed is None for one in self._shards.values()) < 3

    def describe(self) -> StreamDescription:
        """List what is not trimmed as a whole."""
        listed = [
            Shard(one.id, one.parent)
            for one in self._shards.values()
            if one.closed is None or one.closed > self.now - KEPT
        ]
        return StreamDescription(listed)

    def pages(
        self, shard: Shard, after: str | None, *, latest: bool = False
    ) -> Iterator[RecordPage]:
        """Read one shard."""
        assert not latest
        it = self._shards[shard.id]
        if it.closed is not None and it.closed <= self.now - KEPT:
            raise ShardGoneError(shard.id)
        left = [one for one in it.records if after is None or _number(one) > int(after)]
        kept = [one for one in left if _created(one) > self.now - KEPT]
        if after is not None and len(kept) < len(left):
            raise TrimmedError(shard, after)
        for one in kept:
            yield RecordPage([one], closed=False)
        while it.closed is None:
            yield RecordPage([], closed=False)
        yield RecordPage([], closed=True)


def _created(one: Record) -> float:
    return float(one["dynamodb"]["ApproximateCreationDateTime"])


def _number(one: Record) -> int:
    return int(one["dynamodb"]["SequenceNumber"])


class Dying(Memory):
    """Positions of a process that is killed after some more of them were saved."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.dead = threading.Event()

    def save(self, shard_id: str, position: Checkpoint) -> None:
        """Keep one, while alive."""
        self._live()
        super().save(shard_id, position)

    def forget(self, shard_id: str) -> None:
        """Remove one, while alive."""
        self._live()
        super().forget(shard_id)

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.dead.set()
            raise CacheError("killed")


@pytest.mark.parametrize("seed", range(40))
def test_what_was_trimmed_unread_is_before_a_gap(seed: int) -> None:
    rng = random.Random(seed)
    stream, positions, function = Stream(rng), Dying(), Collector()
    gap, knows_all = 0.0, False
    for _ in range(8):
        down = rng.uniform(0, 17) if rng.random() < 0.5 else rng.uniform(17, 60)
        stream.live(down, busy=rng.choice((0, 0.03)))
        killed = rng.random() < 0.4
        if not positions:  # a first start: the marker tells that the mirror was never filled
            gap = stream.now
        positions.left, positions.dead = rng.randint(0, 6) if killed else 10**9, threading.Event()
        reader = cast("StreamReader", stream)
        with delivering(reader, positions, function, now=lambda: stream.now) as (delivery, gaps):
            wait_until(partial(_dead_or_done, positions.dead, delivery, monotonic()))
        assert not gaps or down > 17 or not knows_all, "nothing was trimmed"
        knows_all = not positions.dead.is_set()
        if gaps:
            gap = stream.now
        if not positions.dead.is_set():
            delivered = {_number(one) for one in function.records}
            lost = [one for one in stream.written if _number(one) not in delivered]
            assert all(_created(one) <= gap for one in lost)
            listed = {one.id: one.parent for one in stream.describe().shards}
            assert positions.keys() <= listed.keys() | listed.values()


def _dead_or_done(dead: threading.Event, delivery: Delivery, since: float) -> bool:
    return dead.is_set() or delivery.caught_up(since)
