"""The table that is made from a seed, and the stand-in for boto3's client that serves it."""

from email.utils import parsedate_to_datetime
from math import ceil
from time import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from scale.client import StandIn
from scale.table import KEY, NAME, Edits, Table

from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan, Segment
from dynamirror.reader.sizes import typed_size

ITEMS = 2_000
PAGE_BYTES = 1 << 20


def numbers_of(table: Table, items: Any) -> list[int]:
    """Return the numbers of items."""
    return [table.number(item) for item in items]


def test_a_key_determines_the_number_of_its_item_and_back() -> None:
    table = Table(ITEMS, 1)
    assert numbers_of(table, map(table.key, range(ITEMS))) == list(range(ITEMS))
    assert table.number({KEY: {"S": f"{2**64 - 1:016x}"}}) < 2**64


def test_the_same_seed_makes_the_same_items_and_another_seed_others() -> None:
    one, same, other = Table(ITEMS, 1), Table(ITEMS, 1), Table(ITEMS, 2)
    assert one.items_between(0, ITEMS) == same.items_between(0, ITEMS)
    assert one.key(0) != other.key(0)


def test_an_item_is_the_same_in_a_page_and_alone() -> None:
    table = Table(ITEMS, 1)
    table.edits = Edits(gone=frozenset({3, 50}), changed=frozenset({4, 60}))
    alone = [table.item(number) for number in range(ITEMS)]
    assert table.items_between(0, ITEMS) == [item for item in alone if item is not None]
    assert (alone[3], alone[50], table.item(ITEMS)) == (None, None, None)
    assert table.count == ITEMS - 2


def test_every_item_has_the_size_that_units_are_computed_from() -> None:
    table = Table(ITEMS, 1)
    table.edits = Edits(changed=frozenset(range(0, ITEMS, 3)))
    items = [*table.items_between(0, ITEMS), *table.absent(5)]
    assert {typed_size(item) for item in items} == {table.item_bytes}


@pytest.mark.parametrize("limit", [None, 1, 7, 500])
@pytest.mark.parametrize("segments", [1, 3, 64])
def test_the_segments_hold_each_item_once_in_pages_of_any_size(
    segments: int, limit: int | None
) -> None:
    table = Table(500, 1)
    table.edits = Edits(gone=frozenset({0, 17, 499}))
    scan = Scan(StandIn(table), NAME, limit=limit)  # type: ignore[arg-type]
    pages = [page for index in range(segments) for page in scan.pages(Segment(index, segments))]
    found = numbers_of(table, [item for page in pages for item in page.items])
    assert found == [number for number in range(500) if number not in table.edits.gone]
    assert limit is None or max(len(page.items) for page in pages) <= limit


def test_a_page_ends_at_a_megabyte_and_costs_a_unit_for_4_kb_begun() -> None:
    table = Table(15_000, 1)
    client = StandIn(table)
    full = client.scan(TableName=NAME, ConsistentRead=True)
    assert PAGE_BYTES - table.item_bytes < len(full["Items"]) * table.item_bytes <= PAGE_BYTES
    assert full["ConsumedCapacity"]["CapacityUnits"] == 256
    rest = client.scan(TableName=NAME, ExclusiveStartKey=full["LastEvaluatedKey"])
    assert "LastEvaluatedKey" not in rest
    units = ceil(len(rest["Items"]) * table.item_bytes / 4_096)
    assert rest["ConsumedCapacity"]["CapacityUnits"] == units / 2
    assert client.usage.read_units == 256 + units / 2


def test_an_item_that_is_looked_up_costs_a_unit_even_if_it_is_gone() -> None:
    table = Table(10, 1)
    table.edits = Edits(gone=frozenset({1}))
    client = StandIn(table)
    reader = SnapshotReader(client, NAME)  # type: ignore[arg-type]
    rows = list(reader.read_many(map(table.key, (0, 1, 10))))
    assert [row.item is None for row in rows] == [False, True, True]
    assert client.usage.read_units == 3
    assert reader.read(table.key(1)).item is None
    assert client.usage.read_units == 4
    list(reader.read_many([table.key(0)], consistent=False))
    assert client.usage.read_units == 4.5


def test_answers_carry_the_time_and_what_is_added_to_it() -> None:
    client = StandIn(Table(10, 1))
    client.ahead = 3_600
    headers = client.describe_table(TableName=NAME)["ResponseMetadata"]["HTTPHeaders"]
    assert 3_590 < parsedate_to_datetime(headers["date"]).timestamp() - time() < 3_610


@pytest.mark.parametrize("keys", [[0, 0], list(range(101)), []])
def test_a_batch_is_refused_as_dynamodb_refuses_it(keys: list[int]) -> None:
    table = Table(200, 1)
    asked = {NAME: {"Keys": [table.key(number) for number in keys]}}
    with pytest.raises(ClientError, match="ValidationException"):
        StandIn(table).batch_get_item(RequestItems=asked)
