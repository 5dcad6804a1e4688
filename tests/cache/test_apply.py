"""Writing a batch of entries, and telling what became of each."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.builders import item, view
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.writer import OUT_OF_TIME, apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version
from dynamirror.views.batch_result import Report
from dynamirror.views.encoding import HASH, attribute
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import View, ViewSpec

FENCE_TTL = 93_600
DEFAULT = view()
POISON = {"X": "?"}


def at(sequence: int) -> ChangeVersion:
    """A version of which only the sequence number matters."""
    return ChangeVersion(1_767_323_045_678, sequence, 1_790_000_000)


def put(sequence: int, key: str = "1", of: View = DEFAULT, **attributes: Any) -> Put:
    """An item that was written."""
    version: Version = at(sequence)
    return Put(of, f"users:{key}", version, item(key, **attributes))


def delete(sequence: int, key: str = "1") -> Delete:
    """An item that was deleted."""
    return Delete(DEFAULT, f"users:{key}", at(sequence), item(key))


def names(cache: Cache) -> dict[str, str]:
    """What readers see: item to name."""
    found = {
        key.decode(): cache.call(key.decode(), b"GET", key) for key in keys_in(cache, "users:*")
    }
    return {key.removeprefix("users:"): json.loads(text)["name"] for key, text in found.items()}


def total(report: Report) -> int:
    """How many entries the report tells of."""
    return (
        report.applied
        + report.stale
        + report.coalesced
        + len(report.quarantined)
        + len(report.failed)
    )


def test_every_entry_is_applied(cache: Cache) -> None:
    report = apply(cache, [put(1, "a", name="x"), put(2, "b", name="y")], fence_ttl=FENCE_TTL)
    assert report == Report(applied=2)
    assert names(cache) == {"a": "x", "b": "y"}


def test_nothing_comes_of_nothing(cache: Cache) -> None:
    assert apply(cache, [], fence_ttl=FENCE_TTL) == Report()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 3, 1)])
def test_only_the_newest_change_of_an_entry_is_sent(cache: Cache, order: tuple[int, ...]) -> None:
    entries = [put(sequence, name=str(sequence)) for sequence in order]
    assert apply(cache, entries, fence_ttl=FENCE_TTL) == Report(applied=1, coalesced=2)
    assert names(cache) == {"1": "3"}


def test_a_delete_coalesces_with_the_put_before_it(cache: Cache) -> None:
    entries: list[Entry] = [delete(2), put(1, name="x")]
    assert apply(cache, entries, fence_ttl=FENCE_TTL) == Report(applied=1, coalesced=1)
    assert names(cache) == {}


def test_an_older_change_is_stale(cache: Cache) -> None:
    apply(cache, [put(2, name="new")], fence_ttl=FENCE_TTL)
    assert apply(cache, [put(1, name="old")], fence_ttl=FENCE_TTL) == Report(stale=1)
    assert names(cache) == {"1": "new"}


def test_a_batch_of_many_chunks_is_applied_whole(cache: Cache) -> None:
    size = 5 * CHUNK + 1
    entries = (put(number, str(number), name="x") for number in range(size))
    assert apply(cache, entries, fence_ttl=FENCE_TTL) == Report(applied=size)
    assert len(names(cache)) == size


def test_fences_are_kept_as_long_as_asked(cache: Cache) -> None:
    apply(cache, [put(1)], fence_ttl=100_000)
    fence = fence_key("users:1")
    assert 93_600 < cache.call("users:1", b"TTL", fence) <= 100_000


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_once_time_is_up_nothing_more_is_written(cache: Cache, sent: int) -> None:
    entries = [put(number, str(number), name="x") for number in range(3)]
    ticks = count()
    report = apply(cache, entries, fence_ttl=FENCE_TTL, in_time=lambda: next(ticks) < sent)
    assert report.applied == sent
    assert [trouble.entry for trouble in report.failed] == entries[sent:]
    assert {trouble.reason for trouble in report.failed} == {OUT_OF_TIME}
    assert report.lowest_failed() == sent
    assert set(names(cache)) == {str(number) for number in range(sent)}


def test_rows_that_failed_name_no_sequence_number(cache: Cache) -> None:
    row = Put(DEFAULT, "users:1", SnapshotVersion(1), item("1"))
    report = apply(cache, [row], fence_ttl=FENCE_TTL, in_time=lambda: False)
    assert len(report.failed) == 1
    assert report.lowest_failed() is None


def test_an_unmappable_item_is_quarantined_and_its_entry_removed(cache: Cache) -> None:
    apply(cache, [put(1, name="x"), put(2, "2", name="y")], fence_ttl=FENCE_TTL)
    poison = put(3, name=POISON)
    report = apply(cache, [poison, put(4, "2", name="z")], fence_ttl=FENCE_TTL)
    (trouble,) = report.quarantined
    assert trouble.entry is poison
    assert "unknown DynamoDB type tag" in trouble.reason
    assert report.applied == 1
    assert names(cache) == {"2": "z"}


def test_an_unmappable_item_of_old_does_not_remove_what_is_newer(cache: Cache) -> None:
    apply(cache, [put(2, name="new")], fence_ttl=FENCE_TTL)
    report = apply(cache, [put(1, name=POISON)], fence_ttl=FENCE_TTL)
    assert len(report.quarantined) == 1
    assert names(cache) == {"1": "new"}


def test_an_unmappable_item_that_is_superseded_in_its_batch_is_no_trouble(cache: Cache) -> None:
    report = apply(cache, [put(1, name=POISON), put(2, name="x")], fence_ttl=FENCE_TTL)
    assert report == Report(applied=1, coalesced=1)


def test_an_item_without_the_attribute_has_no_entry(cache: Cache) -> None:
    by_name = view(ViewSpec(encoding=attribute("name")))
    apply(cache, [put(1, of=by_name, name="Ada")], fence_ttl=FENCE_TTL)
    assert cache.call("users:1", b"GET", "users:1") == b"Ada"
    assert apply(cache, [put(2, of=by_name)], fence_ttl=FENCE_TTL) == Report(applied=1)
    assert cache.call("users:1", b"EXISTS", "users:1") == 0


def test_a_hash_is_written_field_by_field(cache: Cache) -> None:
    hashes = view(ViewSpec(encoding=HASH))
    apply(cache, [put(1, of=hashes, name="Ada", age={"N": "36"})], fence_ttl=FENCE_TTL)
    flat = cache.call("users:1", b"HGETALL", "users:1")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert fields == {b"id": b"1", b"name": b"Ada", b"age": b"36"}


def test_what_the_cache_refuses_is_reported_and_its_neighbours_applied(cache: Cache) -> None:
    # A fence that someone else put something strange into.
    fence = fence_key("users:2")
    cache.call("users:2", b"RPUSH", fence, b"strange")
    entries = [put(number, str(number), name="x") for number in (1, 2, 3)]
    report = apply(cache, entries, fence_ttl=FENCE_TTL)
    assert report.applied == 2
    (trouble,) = report.quarantined
    assert trouble.entry is entries[1]
    assert "WRONGTYPE" in trouble.reason
    assert report.lowest_failed() is None


@pytest.fixture(scope="module")
def store(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples of a property."""
    cache = Cache(valkey.settings())
    yield cache
    cache.close()


keys = st.sampled_from("abc")
sequences = st.integers(1, 30)
entry_lists = st.lists(
    st.one_of(
        st.builds(put, sequences, keys, name=st.sampled_from(["x", POISON])),
        st.builds(delete, sequences, keys),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(before=entry_lists, entries=entry_lists, left=st.integers(0, 30))
def test_every_entry_has_one_outcome(
    store: Cache, before: list[Entry], entries: list[Entry], left: int
) -> None:
    store.broadcast(b"FLUSHALL")
    assert total(apply(store, before, fence_ttl=FENCE_TTL)) == len(before)
    ticks = count()
    report = apply(store, entries, fence_ttl=FENCE_TTL, in_time=lambda: next(ticks) < left)
    assert total(report) == len(entries)
