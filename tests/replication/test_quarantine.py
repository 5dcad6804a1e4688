"""Records that cannot become entries: set aside with the reason, and in nobody's way."""

import copy
import json
from collections.abc import Callable, Iterator
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import ParkedItem, park
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError
from dynamirror.replication.replicator import Replicator
from dynamirror.views.keyspace import quarantine_key
from dynamirror.views.view import Schema, Views, ViewSpec

SUCCESS: dict[str, list[Any]] = {"batchItemFailures": []}
Build = Callable[..., Replicator]


def event(*records: Any) -> dict[str, Any]:
    """What Lambda hands over."""
    return {"Records": list(records)}


def parked(cache: Cache, table: str = "users") -> dict[str, Any]:
    """A table's quarantine: item to note."""
    flat = cache.call(quarantine_key(table), b"HGETALL", quarantine_key(table))
    notes = map(json.loads, flat[1::2])
    return dict(zip((field.decode() for field in flat[::2]), notes, strict=True))


def without(field: str, sequence: int = 2) -> dict[str, Any]:
    """A record that lacks a field."""
    broken = record(sequence, item("2"))
    del (broken if field in broken else broken["dynamodb"])[field]
    return broken


LACKING = ["eventName", "dynamodb", "Keys", "SequenceNumber", "ApproximateCreationDateTime"]


@pytest.mark.parametrize("field", LACKING)
def test_an_undecodable_record_does_not_block_its_neighbours(
    replicator: Replicator, cache: Cache, field: str
) -> None:
    batch = event(record(1, item("1")), without(field), record(3, item("3")))
    assert replicator(batch, Time()) == SUCCESS
    assert set(keys_in(cache, "users:*")) == {b"users:1", b"users:3"}
    ((_, note),) = parked(cache).items()
    assert note["reason"]
    assert note["first"] == note["last"]
    assert note["count"] == 1


def test_a_record_that_names_no_stream_is_parked_under_no_table(
    replicator: Replicator, cache: Cache
) -> None:
    assert replicator(event(without("eventSourceARN"), None, "junk"), Time()) == SUCCESS
    assert set(parked(cache, "?")) == {'{"id":{"S":"2"}}', "record ?"}


def test_an_item_is_parked_by_its_key(replicator: Replicator, cache: Cache) -> None:
    poison = record(7, item("2", name={"X": "?"}))
    assert replicator(event(poison), Time()) == SUCCESS
    ((field, note),) = parked(cache).items()
    assert json.loads(field) == {"id": {"S": "2"}}
    assert note["sequence_number"] == f"{7:021d}"
    assert "unknown DynamoDB type tag 'X'" in note["reason"]


def test_records_whose_items_are_not_known_are_parked_each_by_itself(
    replicator: Replicator, cache: Cache
) -> None:
    assert replicator(event(without("Keys", 1), without("Keys", 2)), Time()) == SUCCESS
    assert set(parked(cache)) == {f"record {1:021d}", f"record {2:021d}"}


def test_a_key_that_is_not_valid_unicode_is_parked_by_its_record(
    replicator: Replicator, cache: Cache
) -> None:
    assert replicator(event(record(1, item("\ud800"))), Time()) == SUCCESS
    assert set(parked(cache)) == {f"record {1:021d}"}


def test_the_entry_an_unmappable_item_had_is_removed(replicator: Replicator, cache: Cache) -> None:
    good, poison = item("1", name="Ada"), item("1", name={"X": "?"})
    replicator(event(record(1, good)), Time())
    assert replicator(event(record(2, poison, good)), Time()) == SUCCESS
    assert list(keys_in(cache, "users:*")) == []
    assert len(parked(cache)) == 1


def test_an_item_that_is_well_again_has_its_entry_again(
    replicator: Replicator, cache: Cache
) -> None:
    good, poison = item("1", name="Ada"), item("1", name={"X": "?"})
    replicator(event(record(1, poison)), Time())
    assert replicator(event(record(2, good, poison)), Time()) == SUCCESS
    replicator(event(record(1, poison)), Time())
    assert list(keys_in(cache, "users:*")) == [b"users:1"]


def test_an_item_whose_new_key_cannot_be_written_loses_its_old_entry(
    valkey: EmbeddedValkey, cache: Cache
) -> None:
    own = Cache(valkey.settings())
    views = Views(
        (ViewSpec(key="city:{city}:{id}"),), lambda table, _: Schema(table, ("id",), ("S",))
    )
    mirror = Replicator(own, views, fence_ttl=90_000)
    rome, nowhere = item("1", city="Rome"), item("1", city={"BOOL": True})
    mirror(event(record(1, rome)), Time())
    assert mirror(event(record(2, nowhere, rome)), Time()) == SUCCESS
    own.close()
    assert list(keys_in(cache, "city:*")) == []
    ((_, note),) = parked(cache).items()
    assert "type BOOL cannot stand in a key" in note["reason"]


def test_an_item_is_parked_once_however_often_it_is_delivered(
    replicator: Replicator, cache: Cache
) -> None:
    for _ in range(3):
        replicator(event(record(1, item("1", name={"X": "?"}))), Time())
    ((_, note),) = parked(cache).items()
    assert note["count"] == 3


@pytest.mark.parametrize(
    "key", [{"other": {"S": "2"}}, {"id": {"S": "2"}, "other": {"S": "2"}}, {"id": {"S": "1"}}]
)
def test_a_record_whose_key_is_not_its_items_touches_no_entry(
    replicator: Replicator, cache: Cache, key: Any
) -> None:
    replicator(event(record(1, item("1")), record(2, item("2"))), Time())
    removed = record(3, None, item("2"), Keys=key)
    assert replicator(event(removed, record(4, item("2"), Keys=key)), Time()) == SUCCESS
    assert set(keys_in(cache, "users:*")) == {b"users:1", b"users:2"}
    assert len(parked(cache)) == 1


@pytest.fixture
def no_parking(
    build_replicator: Build, cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicator]:
    """A replicator whose user may write entries, but no quarantine."""
    cache.broadcast(b"ACL", b"SETUSER", b"mirror", b"on", b">right", b"allkeys", b"+@all", b"-hset")
    password = tmp_path_factory.mktemp("password") / "file"
    password.write_text("right", encoding="utf-8")
    yield build_replicator(ELASTICACHE_USER="mirror", ELASTICACHE_PASSWORD_FILE=str(password))
    cache.broadcast(b"ACL", b"DELUSER", b"mirror")


def just_now(batch: dict[str, Any]) -> dict[str, Any]:
    """The same as if it had been made just now: none of it is late."""
    for one in batch["Records"]:
        one["dynamodb"]["ApproximateCreationDateTime"] = int(time())
    return batch


def test_what_cannot_be_parked_is_delivered_again(no_parking: Replicator) -> None:
    batch = just_now(event(record(1, item("1")), without("Keys", 2), without("Keys", 3)))
    assert no_parking(batch, Time()) == {"batchItemFailures": [{"itemIdentifier": f"{2:021d}"}]}


def test_what_cannot_be_parked_nor_named_is_delivered_again_with_its_batch(
    no_parking: Replicator,
) -> None:
    batch = just_now(event(record(1, item("1")), without("SequenceNumber"), without("Keys", 3)))
    assert no_parking(batch, Time()) == {"batchItemFailures": [{"itemIdentifier": ""}]}


def test_parking_nothing_asks_nothing_of_the_cache(cache: Cache) -> None:
    assert park(cache, [], at="now") == []


def test_a_quarantine_is_kept_per_table(cache: Cache) -> None:
    key = {"id": {"S": "1"}}
    park(cache, [ParkedItem("a", key, "1", "x"), ParkedItem("b", key, "2", "y")], at="now")
    note = {"reason": "x", "sequence_number": "1", "first": "now", "last": "now", "count": 1}
    assert parked(cache, "a") == {'{"id":{"S":"1"}}': note | {"created": 0}}
    assert [note["reason"] for note in parked(cache, "b").values()] == ["y"]


@pytest.fixture(scope="module")
def hardened(valkey: EmbeddedValkey) -> Iterator[Replicator]:
    """A replicator kept through all examples."""
    cache = Cache(valkey.settings())
    views = Views((ViewSpec(),), lambda table, _keys: Schema(table, ("id",), ("S",)))
    yield Replicator(cache, views, fence_ttl=90_000)
    cache.close()


texts = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates, too
junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        texts,
        st.sampled_from(["S", "N", "1", "INSERT", "REMOVE", STREAM_ARN, "9" * 40, "-1"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(texts, st.sampled_from(["S", "N", "M", "L", "id"])), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@st.composite
def corrupted(draw: st.DrawFn) -> Any:
    """A record of which something was replaced by junk, or that is junk altogether."""
    whole: Any = {"record": copy.deepcopy(record(5, item("5", name="x"), item("5")))}
    node, name = whole, "record"
    for _ in range(draw(st.integers(0, 5))):
        if not isinstance(node[name], dict):
            break
        node = node[name]
        name = draw(st.sampled_from(sorted(node)))
    if draw(st.booleans()):
        node[name] = draw(junk)
    else:
        del node[name]
    return whole.get("record")


@given(poison=st.lists(corrupted(), min_size=1, max_size=4))
def test_no_record_whatever_is_in_it_blocks_its_neighbours(
    hardened: Replicator, cache_of_examples: Cache, poison: list[Any]
) -> None:
    cache_of_examples.broadcast(b"FLUSHALL")
    batch = event(record(1, item("first")), *poison, record(9, item("last")))
    try:
        assert hardened(batch, Time()) == SUCCESS
    except ConfigError as refused:  # the stream itself is said to be of the wrong type
        assert "view type" in str(refused)  # noqa: PT017
        return
    keys = set(keys_in(cache_of_examples, "users:*"))
    assert {b"users:first", b"users:last"} <= keys


@pytest.fixture(scope="module")
def cache_of_examples(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples."""
    cache = Cache(valkey.settings())
    yield cache
    cache.close()
