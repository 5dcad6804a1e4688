"""Poison is set aside once, in bounded room, and in nobody's way."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import (
    ParkedItem,
    forget_overflow,
    overflow,
    park,
    read_quarantine,
    release,
)
from dynamirror.views.keyspace import overflow_key, quarantine_key

MARKER = "s3cr3t-marker"
NAME = {"S": MARKER}


def parked(number: int = 1, **changes: Any) -> ParkedItem:
    """Something to park."""
    given: dict[str, Any] = {"sequence": f"{number:021d}", "reason": "why", "created": 100}
    return ParkedItem("users", {"id": {"S": str(number)}}, **given | changes)


def test_poison_is_parked_once_and_counted_as_often_as_it_comes(mirrored: Any) -> None:
    poison = mirrored.poison("1")
    for _ in range(3):
        mirrored.deliver(poison)
    (item,) = mirrored.read_quarantine()
    assert item.key == {"id": {"S": "1"}}
    assert item.note.count == 3
    assert item.note.sequence_number == poison["dynamodb"]["SequenceNumber"]
    assert "unknown DynamoDB type tag" in item.note.reason
    assert item.note.created == poison["dynamodb"]["ApproximateCreationDateTime"]


def test_neighbours_of_poison_are_applied(mirrored: Any) -> None:
    poison = [mirrored.poison(str(number)) for number in range(5)]
    good = [mirrored.put(str(number)) for number in range(5, 10)]
    mirrored.deliver(*(one for pair in zip(poison, good, strict=True) for one in pair))
    result = mirrored.compare()
    assert (result.entries, result.missing, result.different, result.orphaned) == (5, 5, 0, 0)
    assert len(mirrored.read_quarantine()) == 5


def test_the_quarantine_is_bounded_and_what_has_no_room_is_counted(mirror: Any) -> None:
    mirrored = mirror(limit=3)
    poison = [mirrored.poison(str(number)) for number in range(5)]
    mirrored.deliver(*poison, mirrored.put("good"))
    assert len(mirrored.read_quarantine()) == 3
    assert mirrored.overflow() == 2
    assert mirrored.compare().entries == 1


def test_what_is_listed_is_counted_on_even_if_there_is_no_more_room(cache: Cache) -> None:
    for _ in range(2):
        assert park(cache, [parked(1), parked(2)], at="now", limit=1) == []
    assert [item.note.count for item in read_quarantine(cache, "users")] == [2]
    assert overflow(cache, "users") == 2


def test_first_and_last_tell_when_an_item_was_parked(cache: Cache) -> None:
    for at, created in (("1", 7), ("2", 9), ("3", 8)):
        park(cache, [parked(reason=f"why {at}", created=created)], at=at)
    (item,) = read_quarantine(cache, "users")
    assert (item.note.first, item.note.last, item.note.count) == ("1", "3", 3)
    assert item.note.reason == "why 3"
    assert item.note.created == 9


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"7", b'{"count":"x","first":[]}'])
def test_a_note_that_cannot_be_read_is_replaced(cache: Cache, text: bytes) -> None:
    key, field = quarantine_key("users"), parked().field
    cache.call(key, b"HSET", key, field, text)
    assert read_quarantine(cache, "users")[0].note.reason == "the note about it cannot be read"
    assert park(cache, [parked()], at="now") == []
    (item,) = read_quarantine(cache, "users")
    assert (item.note.reason, item.note.count, item.note.created) == ("why", 1, 100)


def test_parking_at_once_loses_no_count(cache: Cache) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: park(cache, [parked()], at="now"), range(200)))
    (item,) = read_quarantine(cache, "users")
    assert item.note.count == 200


def test_parking_and_release_survive_a_server_that_forgot_its_scripts(cache: Cache) -> None:
    for _ in range(2):
        cache.broadcast(b"SCRIPT", b"FLUSH")
        assert park(cache, [parked()], at="now") == []
        (item,) = read_quarantine(cache, "users")
        cache.broadcast(b"SCRIPT", b"FLUSH")
        assert release(cache, "users", item)
        assert read_quarantine(cache, "users") == []


def test_the_longest_reason_and_a_key_that_is_none_are_cut_down(cache: Cache) -> None:
    huge = ParkedItem("users", {"id": {"S": "x" * 30_000}}, "1", "y" * 30_000 + "\ud800")
    deep: Any = {"S": "x"}
    for _ in range(2_000):
        deep = {"L": [deep]}
    assert park(cache, [huge, ParkedItem("users", {"id": deep}, "2", "\ud800")], at="now") == []
    assert [item.name for item in read_quarantine(cache, "users")] == ["record 1", "record 2"]
    assert sum(len(item.text) for item in read_quarantine(cache, "users")) < 2_000


def test_only_what_was_read_is_released(cache: Cache) -> None:
    park(cache, [parked()], at="1")
    (before,) = read_quarantine(cache, "users")
    park(cache, [parked()], at="2")
    assert not release(cache, "users", before)
    (now,) = read_quarantine(cache, "users")
    assert now.note.count == 2
    assert release(cache, "users", now)
    assert not release(cache, "users", now)


def test_the_overflow_that_came_after_it_was_read_is_not_forgotten(cache: Cache) -> None:
    park(cache, [parked(number) for number in range(4)], at="now", limit=1)
    forget_overflow(cache, "users", 2)
    assert overflow(cache, "users") == 1


def test_the_keys_of_a_quarantine_share_a_slot(cache: Cache) -> None:
    keys = quarantine_key("users"), overflow_key("users")
    assert len({cache.call(key, b"CLUSTER", b"KEYSLOT", key) for key in keys}) == 1


def test_logs_and_notes_hold_no_item_data(mirrored: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "dynamirror"):
        mirrored.deliver(mirrored.poison("1", name=NAME), mirrored.put("2", name=NAME))
        mirrored.redrive()
    assert "quarantined" in caplog.text
    assert not any(MARKER in str(vars(one)) for one in caplog.records)
    assert not any(MARKER.encode() in item.text for item in mirrored.read_quarantine())
