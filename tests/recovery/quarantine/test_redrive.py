"""Redrive heals what is in quarantine, whenever and however often it is run."""

import random
import threading
import time
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.streams import Source

from dynamirror.cache.quarantine import ParkedItem, park
from dynamirror.dynamodb import items as rows
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, SnapshotReader
from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.errors import CacheError, SourceError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.redrive import Outcome, seconds_until_safe
from dynamirror.views.view import ViewSpec

HEALED = [Outcome.HEALED]
NAME = {"S": "Ada"}


def outcomes(mirrored: Any, items: Any = None) -> list[Outcome]:
    """Redrive; what became of each item."""
    return [one.outcome for one in mirrored.redrive(items)]


def same(mirrored: Any) -> bool:
    """Tell whether cache and table agree."""
    return bool(mirrored.compare().differences == 0)


def test_an_item_that_can_be_written_now_is_healed(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1", name=NAME))
    assert not same(mirrored)
    assert outcomes(mirrored) == HEALED
    assert mirrored.read_quarantine() == []
    assert same(mirrored)


def test_an_item_that_was_deleted_meanwhile_is_healed(mirrored: Any) -> None:
    mirrored.deliver(mirrored.put("1"))
    broken = mirrored.poison("1")
    del broken["eventName"]
    mirrored.deliver(broken)
    mirrored.source.client.delete_item(TableName=mirrored.table, Key={"id": {"S": "1"}})
    assert mirrored.compare().orphaned == 1
    make_older(mirrored)
    assert outcomes(mirrored) == HEALED
    assert same(mirrored)


def make_older(mirrored: Any) -> None:
    """A record that could not be decoded does not tell when it was made: let that be long ago."""
    key = f"dynamirror:{{{mirrored.table}}}:quarantine"
    for item in mirrored.read_quarantine():
        text = item.text.replace(str(item.note.created).encode(), b"1000")
        mirrored.cache.call(key, b"HSET", key, item.field, text)


def test_an_item_that_was_well_again_already_is_let_out(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1"))
    mirrored.deliver(mirrored.put("1", age=0, name=NAME))
    assert same(mirrored)
    assert outcomes(mirrored) == HEALED
    assert same(mirrored)


def test_an_item_that_still_cannot_be_written_stays_with_the_new_reason(mirror: Any) -> None:
    mirrored = mirror(ViewSpec(key="city:{city}:{id}"))
    mirrored.deliver(mirrored.poison("1", city={"S": "Rome"}))
    mirrored.source.put("1", city={"BOOL": True})
    for _ in range(2):
        (one,) = mirrored.redrive()
        assert one.outcome is Outcome.POISON
        (item,) = mirrored.read_quarantine()
        assert item.note.reason == one.reason
        assert one.reason.endswith(
            "an attribute of type BOOL cannot stand in a key, only S, N and B"
        )
    mirrored.source.put("1", city={"S": "Oslo"})
    assert outcomes(mirrored) == HEALED
    assert same(mirrored)


def test_an_item_parked_just_now_is_too_fresh_and_stays(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1", age=0))
    (one,) = mirrored.redrive()
    assert one.outcome is Outcome.FRESH
    assert 0 < one.wait <= CONSISTENT_MARGIN + 2
    assert one.reason == f"too fresh, try again in {one.wait} s"
    assert len(mirrored.read_quarantine()) == 1


def test_an_undecodable_record_parked_just_now_is_too_fresh(mirrored: Any) -> None:
    broken = mirrored.poison("1")
    del broken["eventName"]
    mirrored.deliver(broken)
    assert outcomes(mirrored) == [Outcome.FRESH]


def test_how_long_to_wait_follows_the_youngest_item_that_can_be_redriven(mirrored: Any) -> None:
    key = {"id": {"S": "1"}}
    park(
        mirrored.cache,
        [
            ParkedItem(mirrored.table, key, "1", "x", 100),
            ParkedItem(mirrored.table, {"id": {"S": "2"}}, "2", "x", 90),
            ParkedItem(mirrored.table, None, "3", "x", 900),
        ],
        at="now",
    )
    items = mirrored.read_quarantine()
    assert seconds_until_safe(items, SnapshotVersion(90)) == 11
    assert seconds_until_safe(items, SnapshotVersion(101)) == 0
    assert seconds_until_safe([], SnapshotVersion(0)) == 0


def test_poison_that_came_meanwhile_is_not_lost(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1"))
    before = mirrored.read_quarantine()
    mirrored.deliver(mirrored.poison("1"))
    assert outcomes(mirrored, before) == [Outcome.AGAIN]
    (item,) = mirrored.read_quarantine()
    assert item.note.count == 2
    assert outcomes(mirrored) == HEALED


def test_redriven_twice_in_a_row_nothing_changes(mirrored: Any) -> None:
    mirrored.deliver(*(mirrored.poison(str(number)) for number in range(3)))
    before = mirrored.read_quarantine()
    assert outcomes(mirrored) == HEALED * 3
    assert outcomes(mirrored) == []
    assert outcomes(mirrored, before) == [Outcome.AGAIN] * 3
    assert same(mirrored)


def test_a_delivery_again_of_what_was_healed_does_no_harm(mirrored: Any) -> None:
    first, poison = mirrored.put("1"), mirrored.poison("1", name=NAME)
    mirrored.deliver(first, poison)
    assert outcomes(mirrored) == HEALED
    mirrored.deliver(first)
    assert same(mirrored)
    mirrored.deliver(first, poison)
    assert same(mirrored)
    assert outcomes(mirrored) == HEALED


def test_a_change_after_the_redrive_wins(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1"))
    assert outcomes(mirrored) == HEALED
    mirrored.deliver(mirrored.put("1", age=0, name=NAME))
    assert same(mirrored)


def test_a_record_without_a_key_cannot_be_redriven_and_stays(mirrored: Any) -> None:
    broken = mirrored.poison("1")
    del broken["dynamodb"]["Keys"]
    mirrored.deliver(broken, mirrored.poison("2"))
    assert sorted(outcomes(mirrored)) == [Outcome.HEALED, Outcome.KEYLESS]
    (item,) = mirrored.read_quarantine()
    assert item.name.startswith("record ")


@pytest.mark.parametrize("key", [{"other": {"S": "1"}}, {"id": {"N": "1"}}, {"id": {"M": {}}}])
def test_a_key_that_no_item_can_have_stays_and_hinders_nobody(mirrored: Any, key: Any) -> None:
    park(mirrored.cache, [ParkedItem(mirrored.table, key, "1", "x")], at="0")
    mirrored.deliver(mirrored.poison("2"))
    (strange, well) = mirrored.redrive()
    assert strange.outcome is Outcome.KEYLESS
    assert well.outcome is Outcome.HEALED


def test_every_view_of_the_table_is_healed_and_a_sparse_one_stays_so(mirror: Any) -> None:
    mirrored = mirror(ViewSpec(key="city:{city}:{id}"))
    mirrored.deliver(mirrored.poison("1", city={"S": "Rome"}))
    mirrored.put("2")
    park(mirrored.cache, [ParkedItem(mirrored.table, {"id": {"S": "2"}}, "2", "x")], at="now")
    assert outcomes(mirrored) == HEALED * 2
    assert mirrored.compare().entries == 1
    assert same(mirrored)


def test_a_table_that_is_not_there_stops_the_redrive(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1"))
    mirrored.source.client.delete_table(TableName=mirrored.table)
    with pytest.raises(SourceError, match="does not exist"):
        mirrored.redrive()
    assert len(mirrored.read_quarantine()) == 1


def test_a_cache_that_takes_nothing_stops_the_redrive(mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1"))
    mirrored.cache.broadcast(
        b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"1"
    )
    try:
        with pytest.raises(CacheError, match="maxmemory"):
            mirrored.redrive()
    finally:
        mirrored.cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert outcomes(mirrored) == HEALED


def test_a_row_is_dated_by_an_answer_that_came_before_it_was_read(mirrored: Any) -> None:
    dates = iter([1_000, 2_000, 3_000])

    class Dated:
        def __getattr__(self, name: str) -> Any:
            def call(**_given: Any) -> Any:
                date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(next(dates)))
                return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}, "name": name}

            return call

    client: Any = Dated()
    reader = SnapshotReader(client, mirrored.table)
    key = {"id": {"B": "AP8="}}
    assert reader.read(key).version == SnapshotVersion(1_000 - CONSISTENT_MARGIN)
    assert reader.read(key).version == SnapshotVersion(2_000 - CONSISTENT_MARGIN)


@pytest.mark.parametrize("headers", [{}, {"date": "soon"}, {"date": None}])
def test_an_answer_without_a_date_is_refused(headers: Any) -> None:
    class Undated:
        def describe_table(self, **_given: Any) -> Any:
            return {"ResponseMetadata": {"HTTPHeaders": headers}}

    client: Any = Undated()
    with pytest.raises(SourceError, match="no Date header"):
        SnapshotReader(client, "users").as_of()


def test_a_binary_key_is_found(mirrored: Any) -> None:
    client = mirrored.source.client
    source = Source(mirrored.source.server)
    client.put_item(TableName=source.name, Item={"id": {"S": "x"}, "b": {"B": b"\x00\xff"}})
    assert on_the_wire({"b": {"B": "AP8="}}) == {"b": {"B": b"\x00\xff"}}
    found = SnapshotReader(client, source.name).read({"id": {"S": "x"}})
    assert found.item == {"id": {"S": "x"}, "b": {"B": b"\x00\xff"}}


@pytest.mark.parametrize("seed", range(3))
def test_redrive_beside_a_writer_ends_with_what_the_table_holds(
    mirrored: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # One clock for all, so no margin is needed: redrive meets items that are written at the time.
    monkeypatch.setattr(rows, "CONSISTENT_MARGIN", 0)
    source, stop, healed = random.Random(seed), threading.Event(), 0

    def redrive() -> None:
        nonlocal healed
        while not stop.is_set():
            healed += outcomes(mirrored).count(Outcome.HEALED)

    thread = threading.Thread(target=redrive)
    thread.start()
    history: list[Any] = []
    try:
        while healed < 20 or len(history) < 200:
            assert thread.is_alive()
            history.append(written(mirrored, source))
            mirrored.deliver(*history[-1:], *source.choices(history, k=source.randrange(3)))
    finally:
        stop.set()
        thread.join()
    wait_until(lambda: outcomes(mirrored) == mirrored.read_quarantine() == [])
    result = mirrored.compare()
    assert (result.differences, result.sample) == (0, {})


def written(mirrored: Any, source: random.Random) -> Any:
    """One random write to one of few items, and its record, which may be spoilt."""
    item_id = str(source.randrange(4))
    if source.random() < 0.2:
        mirrored.source.client.delete_item(TableName=mirrored.table, Key={"id": {"S": item_id}})
        return mirrored.record(None, {"id": {"S": item_id}}, age=0)
    make = mirrored.poison if source.random() < 0.3 else mirrored.put
    return make(item_id, age=0, n={"N": str(source.randrange(1_000))})


def test_an_item_that_a_view_is_no_longer_for_loses_its_entry(mirror: Any) -> None:
    """Its key does not change, and the change that took it out of the view was never decoded."""
    mirrored = mirror(ViewSpec(when={"name": "Ada"}))
    mirrored.deliver(mirrored.put("1", name=NAME))
    broken = mirrored.put("1", name={"S": "Bob"})
    del broken["eventName"]
    mirrored.deliver(broken)
    assert mirrored.compare().orphaned == 1
    make_older(mirrored)
    assert outcomes(mirrored) == HEALED
    assert same(mirrored)
