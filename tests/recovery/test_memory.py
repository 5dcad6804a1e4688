"""Verify and sweep hold few large items at a time, however many there are."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.builders import SCHEMA, item, view
from tests.support.world import MakeWorld

from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.scan import ScanPage
from dynamirror.records.attribute_value import Item
from dynamirror.records.chunks import MOST_BYTES, chunked, weight
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.sweep import Sweep, SweepProgress
from dynamirror.recovery.verify import Verification
from dynamirror.views.encoding import HASH, JSON, Encoding
from dynamirror.views.entry import Put
from dynamirror.views.view import View, ViewSpec

COUNT = 150
TEXT = "x" * 1_000_000
# Eight make a chunk; the next one is being made while one is still held.
MOST_HELD = 40


class Counted(dict[str, Any]):
    """An item that is counted for as long as it is held."""

    now = 0
    peak = 0

    def __init__(self, item: Item) -> None:
        super().__init__(item)
        Counted.now += 1
        Counted.peak = max(Counted.peak, Counted.now)

    def __del__(self) -> None:
        Counted.now -= 1


def large(number: int, text: str = TEXT) -> Item:
    """A large item."""
    return Counted(item(str(number), text=text))


class LargeTable:
    """A table of large items, each made when it is read."""

    def pages(self, _segment: Any, _start: Any) -> Iterator[ScanPage]:
        """One item a page."""
        for number in range(COUNT):
            yield ScanPage([large(number)], SnapshotVersion(2_000), None, 1.0)

    def most_at_once(self, *_seconds: float) -> None:
        """Read any number."""

    def read_many(self, keys: Any, **_options: Any) -> Iterator[SnapshotRow]:
        """Each item that is asked for."""
        for key in keys:
            yield SnapshotRow(key, large(int(key["id"]["S"])), SnapshotVersion(2_000))


@contextmanager
def bounded() -> Iterator[None]:
    """Hold what is done to the bound."""
    gc.collect()
    assert Counted.now == 0
    Counted.peak = 0
    yield
    assert 0 < Counted.peak <= MOST_HELD


def fill(cache: Cache, mirrored: View, value: str) -> None:
    """Mirror the items, one by one."""
    for number in range(COUNT):
        put = Put(mirrored, f"users:{number}", SnapshotVersion(1), large(number, value))
        apply_all(cache, [put], fence_ttl=93_600)


@pytest.mark.parametrize("encoding", [JSON, HASH], ids=["json", "hash"])
@pytest.mark.parametrize("held", ["as in the table", "something else", "nothing"])
def test_verify_holds_few_large_items_whatever_the_cache_has(
    cache: Cache, encoding: Encoding, held: str
) -> None:
    mirrored = view(ViewSpec(encoding=encoding))
    if held != "nothing":
        fill(cache, mirrored, TEXT if held == "as in the table" else "y")
    table: Any = LargeTable()
    with bounded():
        work = Verification(
            cache=cache, views=[mirrored], scan=table, reader=table, settle=0, wait=lambda _: None
        )
        result = work.run()
    assert result.items == COUNT
    assert result.differences == (0 if held == "as in the table" else COUNT)


@pytest.mark.parametrize("encoding", [JSON, HASH], ids=["json", "hash"])
def test_a_sweep_holds_few_large_items(cache: Cache, encoding: Encoding) -> None:
    mirrored = view(ViewSpec(encoding=encoding))
    fill(cache, mirrored, "y")
    table: Any = LargeTable()
    with bounded():
        work = Sweep(cache, [mirrored], table, SnapshotVersion(1_000), fence_ttl=93_600)
        *_, swept = work.run(SlotRange(), SweepProgress())
    assert (swept.doubtful, swept.written) == (COUNT, COUNT)


class Batches:
    """DynamoDB as `BatchGetItem` needs it, which stops after some items of an answer."""

    def __init__(self, make: Callable[[int], Item | None], most: int) -> None:
        self.asked: list[int] = []
        self._make = make
        self._most = most

    def describe_table(self, **_options: Any) -> Any:
        """Tell the time."""
        return {"ResponseMetadata": {"HTTPHeaders": {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}}}

    def batch_get_item(self, *, RequestItems: Any, **_options: Any) -> Any:  # noqa: N803 - boto3's
        """Come to the last keys only."""
        keys = RequestItems["users"]["Keys"]
        self.asked.append(len(keys))
        made = [self._make(int(key["id"]["S"])) for key in keys[-self._most :]]
        left = keys[: -self._most]
        return self.describe_table() | {
            "Responses": {"users": [one for one in made if one is not None]},
            "UnprocessedKeys": {"users": {"Keys": left}} if left else {},
        }


def test_nobody_pauses_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("dynamirror.dynamodb.items.sleep", pauses.append)
    assert len(read(Batches(lambda number: item(str(number)), 100), 300)) == 300
    assert pauses == []
    # DynamoDB leaves out some of the first 25, until it has answered all.
    assert len(read(Batches(lambda number: item(str(number)), 10), 25)) == 25
    assert len(pauses) == 2
    assert min(pauses) > 0


def read(batches: Batches, count: int) -> list[SnapshotRow]:
    """Read items."""
    client: Any = batches
    keys = ({"id": {"S": str(number)}} for number in range(count))
    return list(SnapshotReader(client, SCHEMA.table).read_many(keys))


def test_large_items_are_asked_for_few_at_a_time_and_small_ones_a_hundred() -> None:
    big, small = Batches(large, 100), Batches(lambda number: item(str(number)), 100)
    assert len(read(big, 100)) == 100
    assert max(big.asked[1:]) <= 10
    assert len(read(small, 500)) == 500
    assert max(small.asked) == 100


def test_what_an_answer_did_not_come_to_is_asked_for_again_and_nothing_is_given_twice() -> None:
    batches = Batches(lambda number: item(str(number)) if number % 3 else None, 20)
    rows = read(batches, 70)
    found = {int(row.key["id"]["S"]): row.item for row in rows}
    assert len(rows) == len(found) == 70
    assert {number for number, one in found.items() if one is None} == set(range(0, 70, 3))
    assert all(one is None or one["id"]["S"] == str(number) for number, one in found.items())


def test_an_item_with_entries_under_several_keys_is_read_once(make_world: MakeWorld) -> None:
    world = make_world(ViewSpec(key="{table}:{city}:{id}"))
    world.puts(item(str(number), city="Rome") for number in range(3))
    for number in (0, 1, 2, 0, 1):
        for city in ("Oslo", "Bonn"):
            key = f"{world.table}:{city}:{number}"
            world.cache.call(key, b"SET", key, b"left over")
    _loaded, swept = world.rebuilt()
    assert (swept.deleted, world.compare().differences) == (6, 0)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_chunks_have_all_things_in_order_and_few_large_ones(most: int) -> None:
    sizes = [1, 1, 1, MOST_BYTES, 1, MOST_BYTES // 2, MOST_BYTES // 2, 1, 1]
    chunks = list(chunked(sizes, lambda size: size, most=most))
    assert [size for chunk in chunks for size in chunk] == sizes
    assert all(len(chunk) <= most for chunk in chunks)
    assert all(sum(chunk[:-1]) < MOST_BYTES for chunk in chunks)


def test_what_is_nested_counts_in_the_weight_of_an_item() -> None:
    many = {f"attribute-{n}": {"N": "1"} for n in range(500)}
    assert weight(many) > 500 * 400
    assert weight({"m": {"M": many}}) > weight(many)
    assert weight({"l": {"L": [{"M": many}, {"M": many}]}}) > 2 * weight(many)
    assert weight({"s": {"SS": ["text"] * 500}}) > 500 * 400
    assert weight({"b": {"B": b"x" * 400_000}}) > 400_000
