"""What a read that finds its entries costs in calls: a measure that no noise touches."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from bench.records import Feed
from boto3.dynamodb.conditions import Key
from tests.support.counted_calls import counted

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader import Reader
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import Schema, ViewSpec

ITEMS = 100
# Calls of Python's functions and of built-in ones: what it takes, and a twentieth for what differs
# between versions of Python. To be lowered by whoever makes it less.
MOST_GET = 84
MOST_QUERY = 460
MOST_BATCHED = 43
MOST_QUERIED = 40


@pytest.fixture
def reader(valkey: EmbeddedValkey, cache: Cache) -> Iterator[Reader]:
    """A reader of one partition, in a complete mirror; it never asks the table."""
    schema = Schema("read", ("pk", "sk"), ("S", "S"))
    spec = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
    view, version = spec.bind(schema), SnapshotVersion(1_000)
    items: list[Any] = [
        {**item, "pk": {"S": "p"}, "sk": {"S": f"{number:06d}"}}
        for number, item in enumerate(islice(Feed(ITEMS).images(), ITEMS))
    ]
    entries = (entry_of_row(view, item, item, version) for item in items)
    apply(cache, filter(None, entries), fence_ttl=93_600)
    record_gap(cache, [view], stream="s", at=version.as_of - 1, reason="new")
    record_complete(cache, [view], version)
    aws = Aws("us-east-1", "http://127.0.0.1:9", ("local", "local"))
    with Reader(valkey.settings(), "read", views=[spec], schema=schema, aws=aws) as reader:
        yield reader


def calls_of(read: Callable[[], Any]) -> int:
    """Calls of the second read: the first connects, and parses the expression."""
    read()
    with counted() as calls:
        read()
    return calls["call"] + calls["c_call"]


def test_a_read_takes_no_more_calls_than_it_did(reader: Reader) -> None:
    keys = [{"pk": "p", "sk": f"{number:06d}"} for number in range(ITEMS)]
    condition = Key("pk").eq("p")
    batch = {"read": {"Keys": keys}}
    assert calls_of(lambda: reader.get_item(Key=keys[0])) <= MOST_GET
    assert calls_of(lambda: reader.query(KeyConditionExpression=condition, Limit=1)) <= MOST_QUERY
    assert calls_of(lambda: reader.batch_get_item(RequestItems=batch)) <= MOST_BATCHED * ITEMS
    query = calls_of(lambda: reader.query(KeyConditionExpression=condition))
    assert query <= MOST_QUERIED * ITEMS
    assert (reader.counts.misses, reader.counts.fallbacks) == (0, 0)
