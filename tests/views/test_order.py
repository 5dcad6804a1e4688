"""Collections: the index of a partition stands in DynamoDB's order of sort keys."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import Time
from tests.support.strategies import PROMISE, binaries, json_values, numbers, texts

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.records.key_codec import key_text, sort_bytes, sort_value
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, View, Views

SCHEMA = Schema("t", ("PK", "SK"), ("S", "N"))
INDEX = b"o:{p}:%%"


@PROMISE
@given(one=texts, two=texts)
def test_texts_stand_in_the_order_of_their_utf_8(one: str, two: str) -> None:
    assert (sort_bytes({"S": one}) < sort_bytes({"S": two})) is (one.encode() < two.encode())
    assert sort_value(sort_bytes({"S": one}), "S") == {"S": one}


@PROMISE
@given(one=binaries, two=binaries)
def test_binaries_stand_in_the_order_of_their_bytes(one: bytes, two: bytes) -> None:
    assert (sort_bytes({"B": one}) < sort_bytes({"B": two})) is (one < two)
    assert sort_bytes(sort_value(one, "B")) == one


@PROMISE
@given(one=numbers, two=numbers)
def test_numbers_stand_in_the_order_of_their_values(one: str, two: str) -> None:
    first, second = sort_bytes({"N": one}), sort_bytes({"N": two})
    assert (first < second) is (Decimal(one) < Decimal(two))
    assert (first == second) is (Decimal(one) == Decimal(two))
    assert Decimal(sort_value(first, "N")["N"]) == Decimal(one)


@PROMISE
@given(value=json_values | st.sampled_from([{"N": "1E+6000"}, {"N": "-1E-6000"}, {"N": "0E+9"}]))
def test_what_may_stand_in_a_key_may_stand_in_an_index(value: Any) -> None:
    """So an entry that has a key can always be taken out of its index."""
    try:
        key_text(value).encode()
    except (RecordError, UnicodeEncodeError):
        return
    assert isinstance(sort_bytes(value), bytes)


class Mirror:
    """A collection of orders, in the cache."""

    def __init__(self, cache: Cache, more: str = "") -> None:
        self.cache = cache
        cache.broadcast(b"FLUSHALL")
        specs = parse_views(f'[[view]]\nkey = "o:{{{{{{PK}}}}}}:{{SK}}"\ncollection = true\n{more}')
        self.views = Views.for_schema(specs, SCHEMA)
        self.replicator = Replicator(cache, self.views, fence_ttl=93_600)
        self.items: dict[str, Any] = {}
        self.sequence = 0

    @property
    def view(self) -> View:
        return self.views.bind(SCHEMA)[0]

    def put(self, sort: str, **attributes: Any) -> None:
        new = {"PK": {"S": "p"}, "SK": {"N": sort}, **attributes}
        self._deliver("INSERT", new)
        self.items[sort] = new

    def delete(self, sort: str) -> None:
        self._deliver("REMOVE", self.items.pop(sort), new=False)

    def _deliver(self, event: str, item: Any, *, new: bool = True) -> None:
        self.sequence += 1
        data = {
            "ApproximateCreationDateTime": 1_790_000_000,
            "Keys": {name: item[name] for name in ("PK", "SK")},
            "SequenceNumber": str(self.sequence),
            "StreamViewType": "NEW_IMAGE",
        }
        if new:
            data["NewImage"] = item
        arn = "arn:aws:dynamodb:eu-1:1:table/t/stream/2026-01-02T03:04:05.678"
        record = {"eventName": event, "eventSourceARN": arn, "dynamodb": data}
        assert self.replicator({"Records": [record]}, Time()) == {"batchItemFailures": []}

    def call(self, word: bytes, *words: bytes | int) -> Any:
        (answer,) = self.cache.execute([Command(INDEX, (word, INDEX, *words))])
        return answer

    def order(self) -> list[str]:
        return [sort_value(one, "N")["N"] for one in self.call(b"ZRANGE", 0, -1)]

    def differences(self) -> dict[str, list[str]]:
        return compare(self.items.values(), self.cache, [self.view]).sample


SORTS = ("-10", "-9.5", "-1E-100", "0", "2", "10", "99999999999999999999999999999999999999")


def test_the_index_in_valkey_stands_in_the_order_of_the_sort_keys(store: Cache) -> None:
    mirror = Mirror(store)
    for sort in reversed(SORTS):
        mirror.put(sort)
    assert list(map(Decimal, mirror.order())) == list(map(Decimal, SORTS))
    assert mirror.differences() == {}


def test_a_delete_that_knows_the_primary_key_only_takes_it_out_of_the_index(store: Cache) -> None:
    mirror = Mirror(store)
    for sort in ("1", "2"):
        mirror.put(sort)
    mirror.delete("1")
    assert mirror.order() == ["2"]
    mirror.delete("2")
    assert mirror.call(b"EXISTS") == 0


def test_an_item_that_cannot_be_written_is_in_no_index(store: Cache) -> None:
    mirror = Mirror(store)
    mirror.put("1")
    mirror.put("1", name={"X": "?"})
    assert mirror.call(b"EXISTS") == 0


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ((b"ZREM", sort_bytes({"N": "1"})), {"different": ["o:{p}:1"]}),
        ((b"ZADD", 3, sort_bytes({"N": "1"})), {"different": ["o:{p}:1"]}),
        ((b"ZADD", 0, sort_bytes({"N": "7"})), {"left_over": ["o:{p}:7"]}),
        ((b"DEL",), {"different": ["o:{p}:1", "o:{p}:2"]}),
        ((b"SET", b"no index"), {"different": ["o:{p}:1", "o:{p}:2"]}),
    ],
    ids=["member lost", "out of order", "member too many", "index lost", "no index"],
)
def test_a_damaged_index_is_a_difference(store: Cache, damage: Any, found: Any) -> None:
    mirror = Mirror(store)
    for sort in ("1", "2"):
        mirror.put(sort)
    mirror.call(*damage)
    assert mirror.differences() == found


@pytest.mark.parametrize("encoding", ["json", "hash"])
def test_what_is_no_index_does_not_hold_up_the_shard(store: Cache, encoding: str) -> None:
    mirror = Mirror(store, f'encoding = "{encoding}"')
    mirror.put("1")
    mirror.call(b"SET", b"no index")
    mirror.delete("1")
    mirror.put("2")
    assert mirror.order() == ["2"]
    assert mirror.differences() == {}
