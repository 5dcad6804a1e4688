"""Verify finds every difference between a table and its mirror, and invents none."""

from collections.abc import Iterable
from time import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, item, record
from tests.support.streams import Source

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import ParkedItem, park
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, write_items
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.entry import Put, entry_of_row
from dynamirror.views.view import View, Views, ViewSpec

ENCODINGS = (JSON, DYNAMODB_JSON, HASH, attribute("name"))
each_encoding = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: one.name)
ITEMS = [item(str(number), name=f"name {number}") for number in range(1, 8)]


class Time:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Mirror:
    """A cache that the handler has filled with items."""

    def __init__(self, cache: Cache, *specs: ViewSpec, items: Iterable[Any] = ITEMS) -> None:
        self.cache = cache
        self.items = list(items)
        views = Views(specs or (ViewSpec(),), lambda _table, _keys: SCHEMA)
        self.views = views.bind(SCHEMA)
        records = [record(number, one) for number, one in enumerate(self.items, 1)]
        answer = Replicator(cache, views, fence_ttl=100_000)({"Records": records}, Time())
        assert answer == {"batchItemFailures": []}

    def compare(self) -> Comparison:
        return compare(self.items, self.cache, self.views)

    def key(self, number: int, view: View | None = None) -> bytes:
        one = self.items[number]
        put = entry_of_row(view or self.views[0], one, one, SnapshotVersion(0))
        assert isinstance(put, Put)
        return put.key.encode()

    def call(self, word: bytes, key: bytes, *words: bytes) -> Any:
        return self.cache.call(key.decode(), word, key, *words)


@each_encoding
def test_a_true_mirror_has_no_differences(cache: Cache, encoding: Encoding) -> None:
    result = Mirror(cache, ViewSpec(encoding=encoding)).compare()
    assert (result.items, result.entries, result.differences) == (7, 7, 0)
    assert (result.unmappable, result.sample) == (0, {})


@each_encoding
def test_a_missing_entry_is_found(cache: Cache, encoding: Encoding) -> None:
    mirror = Mirror(cache, ViewSpec(encoding=encoding))
    mirror.call(b"DEL", mirror.key(2))
    result = mirror.compare()
    assert (result.missing, result.different, result.orphaned) == (1, 0, 0)
    assert (result.entries, result.sample) == (6, {"missing": ["users:3"]})


@each_encoding
def test_a_damaged_entry_is_found(cache: Cache, encoding: Encoding) -> None:
    mirror = Mirror(cache, ViewSpec(encoding=encoding))
    if encoding is HASH:
        mirror.call(b"HSET", mirror.key(2), b"name", b"damaged")
        mirror.call(b"HSET", mirror.key(3), b"one", b"too many")
        mirror.call(b"HDEL", mirror.key(4), b"name")
    else:
        mirror.call(b"SET", mirror.key(2), b"damaged")
        mirror.call(b"APPEND", mirror.key(3), b" ")
        mirror.call(b"SET", mirror.key(4), b"")
    result = mirror.compare()
    assert (result.missing, result.different, result.orphaned) == (0, 3, 0)
    assert result.sample == {"different": ["users:3", "users:4", "users:5"]}


@each_encoding
def test_an_entry_of_another_type_is_a_difference_not_an_error(
    cache: Cache, encoding: Encoding
) -> None:
    mirror = Mirror(cache, ViewSpec(encoding=encoding))
    mirror.call(b"DEL", mirror.key(2))
    mirror.call(b"RPUSH", mirror.key(2), b"a list")
    assert mirror.compare().sample == {"different": ["users:3"]}


@each_encoding
def test_an_entry_whose_item_is_gone_is_found(cache: Cache, encoding: Encoding) -> None:
    mirror = Mirror(cache, ViewSpec(encoding=encoding))
    mirror.items = mirror.items[1:]
    result = mirror.compare()
    assert (result.missing, result.different, result.orphaned) == (0, 0, 1)
    assert (result.entries, result.sample) == (7, {"left_over": ["users:1"]})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data(), encoding=st.sampled_from(ENCODINGS))
def test_every_difference_is_counted_once(
    cache: Cache, data: st.DataObject, encoding: Encoding
) -> None:
    cache.broadcast(b"FLUSHALL")
    mirror = Mirror(cache, ViewSpec(encoding=encoding))
    fates = data.draw(
        st.lists(st.sampled_from(["", "missing", "different", "left_over"]), min_size=7, max_size=7)
    )
    for number, fate in enumerate(fates):
        if fate in ("missing", "different"):
            mirror.call(b"DEL", mirror.key(number))
        if fate == "different":
            mirror.call(b"SET", mirror.key(number), b"damaged")
    mirror.items = [
        one for one, fate in zip(mirror.items, fates, strict=True) if fate != "left_over"
    ]
    result = mirror.compare()
    counts = {
        "missing": result.missing,
        "different": result.different,
        "left_over": result.orphaned,
    }
    assert counts == {kind: fates.count(kind) for kind in counts}


def test_only_a_few_keys_are_shown_but_all_are_counted(cache: Cache) -> None:
    mirror = Mirror(cache, items=[])
    mirror.items = [item(str(number)) for number in range(1200)]
    result = mirror.compare()
    assert result.missing == 1200
    assert len(result.sample["missing"]) == 10


def test_an_empty_text_is_a_value(cache: Cache) -> None:
    spec = ViewSpec(encoding=attribute("name"))
    mirror = Mirror(cache, spec, items=[item("1", name="")])
    assert mirror.call(b"GET", b"users:1") == b""
    result = mirror.compare()
    assert (result.entries, result.differences) == (1, 0)


def test_an_item_without_the_attribute_has_no_entry(cache: Cache) -> None:
    mirror = Mirror(cache, ViewSpec(encoding=attribute("name")), items=[*ITEMS, item("8")])
    result = mirror.compare()
    assert (result.items, result.entries, result.differences) == (8, 7, 0)


def test_keys_of_others_are_not_counted(cache: Cache) -> None:
    mirror = Mirror(cache)
    for key in (b"orders:1", b"users", b"user:1", b"Users:1", b"users:1:2:3{x", b"\xff\xfe"):
        mirror.cache.call(key.decode(errors="replace"), b"SET", key, b"1")
    result = mirror.compare()
    assert (result.entries, result.differences) == (7, 0)


@pytest.mark.parametrize("key", ["{id}", "d{id}", "{table}:{id}"])
def test_our_own_keys_are_not_counted(cache: Cache, key: str) -> None:
    mirror = Mirror(cache, ViewSpec(key=key))
    arn = record()["eventSourceARN"]
    Checkpoints(cache, arn).save("shard", Checkpoint("1"))
    park(cache, [ParkedItem("users", item("x"), "1", "a reason")], at="now")
    result = mirror.compare()
    assert (result.entries, result.differences) == (7, 0)


@pytest.mark.parametrize("encoding", [JSON, HASH], ids=lambda one: one.name)
def test_the_clock_of_the_cache_tells_when_an_entry_goes(
    cache: Cache, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = int(time()) + 100
    items = [item(str(number), until={"N": str(ends)}) for number in range(1, 4)]
    mirror = Mirror(cache, ViewSpec(encoding=encoding, ttl="until"), items=items)
    monkeypatch.setattr("dynamirror.cache.entry_state.time", lambda: ends + 0.001)
    assert mirror.compare().differences == 0
    mirror.call(b"EXPIREAT", mirror.key(0), b"%d" % (ends + 1))
    mirror.call(b"PERSIST", mirror.key(1))
    assert mirror.compare().sample == {"different": ["users:1", "users:2"]}


@pytest.mark.parametrize("prefix", ["*", "?:", "[ab]", "a-b:", "\\", "^x:", "a*b?c[d]\\-"])
def test_a_prefix_is_taken_literally(cache: Cache, prefix: str) -> None:
    mirror = Mirror(cache, ViewSpec(key=prefix + "{id}"))
    cache.call("aother", b"SET", b"aother", b"1")
    cache.call("b:1", b"SET", b"b:1", b"1")
    cache.call(f"{prefix}gone", b"SET", f"{prefix}gone".encode(), b"1")
    result = mirror.compare()
    assert result.entries == 8
    assert (result.differences, result.sample) == (1, {"left_over": [f"{prefix}gone"]})


def test_every_view_is_compared(cache: Cache) -> None:
    one, two = ViewSpec("one", key="one:{id}"), ViewSpec("two", key="two:{id}", encoding=HASH)
    mirror = Mirror(cache, one, two)
    mirror.call(b"DEL", mirror.key(0, mirror.views[0]))
    mirror.call(b"HSET", mirror.key(1, mirror.views[1]), b"name", b"damaged")
    result = mirror.compare()
    assert (result.items, result.entries) == (7, 13)
    assert result.sample == {"missing": ["one:1"], "different": ["two:2"]}


def test_an_item_that_cannot_become_an_entry_is_counted_and_is_no_difference(
    cache: Cache,
) -> None:
    mirror = Mirror(cache)
    mirror.items.append({"id": {"M": {}}})
    result = mirror.compare()
    assert (result.unmappable, result.differences) == (1, 0)


def test_a_cache_that_cannot_be_read_is_an_error() -> None:
    with EmbeddedValkey(cluster=False) as server:
        cache = Cache(server.settings(timeout=1.0))
        mirror = Mirror(cache)
    with pytest.raises(CacheError):
        mirror.compare()
    cache.close()


def test_the_whole_table_is_scanned(dynamodb: EmbeddedDynamoDB) -> None:
    source = Source(dynamodb)
    large = [item(str(number), text="x" * 100_000) for number in range(30)]  # more than one page
    write_items(source.client, source.name, large)
    found = {one["id"]["S"] for one in scan_table(source.client, source.name)}
    assert found == {str(number) for number in range(30)}
