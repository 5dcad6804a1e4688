"""What applying a record costs in calls of functions: a measure that no noise touches."""

from collections.abc import Callable
from typing import Any

import pytest
from bench.apply import ENCODINGS, Plenty, replicator
from bench.records import HOT_ITEMS, Feed
from tests.support.counted_calls import counted

from dynamirror.cache.client import Cache
from dynamirror.views.encoding import Encoding

RECORDS = 1_000
# Calls of Python's functions and of built-in ones, a record: what it takes, and a twentieth for
# what differs between versions of Python. To be lowered by whoever makes it less.
MOST = {"json": 59, "dynamodb-json": 97, "hash": 201, "attribute": 50}
MOST_HOT = 9


def calls_a_record(handle: Callable[..., Any], feed: Feed) -> float:
    """Calls for a record of the second batch: the first connects and loads scripts."""
    first, second = next(feed.events(RECORDS)), next(feed.events(RECORDS))
    handle(first, Plenty())
    with counted() as calls:
        response = handle(second, Plenty())
    assert response == {"batchItemFailures": []}
    return (calls["call"] + calls["c_call"]) / RECORDS


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)
def test_a_record_takes_no_more_calls_than_it_did(cache: Cache, encoding: Encoding) -> None:
    assert calls_a_record(replicator(cache, encoding), Feed(RECORDS)) <= MOST[encoding.name]


def test_a_record_that_a_newer_one_replaces_takes_hardly_any(cache: Cache) -> None:
    assert calls_a_record(replicator(cache), Feed(RECORDS, HOT_ITEMS)) <= MOST_HOT
