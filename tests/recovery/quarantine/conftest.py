"""A mirrored table in the emulator, some of whose records are spoilt on their way."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, Time, record
from tests.support.scans import keys_in
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import QuarantineRecord, overflow, read_quarantine
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.redrive import RedriveResult, redrive
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views.view import Schema, View, Views, ViewSpec

UNKNOWN_TAG = {"X": "?"}
FENCE_TTL = 93_600


class Mirrored:
    """A table and its mirror; every record is made by hand, from what the table was given."""

    def __init__(
        self, cache: Cache, server: EmbeddedDynamoDB, specs: Sequence[ViewSpec], limit: int
    ) -> None:
        self.cache = cache
        self.source = Source(server)
        self.table = self.source.name
        self.arn = STREAM_ARN.replace("users", self.table)
        self.schema = Schema(self.table, ("id",), ("S",))
        views = Views.for_schema(specs, self.schema)
        self.views: Sequence[View] = views.bind(self.schema)
        self.replicator = Replicator(cache, views, fence_ttl=FENCE_TTL, quarantine_limit=limit)
        self._numbers = itertools.count(1)

    def put(self, item_id: str, *, age: float = 60, **attributes: Any) -> dict[str, Any]:
        """Put an item into the table; gives the record of that, `age` seconds old."""
        self.source.put(item_id, **attributes)
        return self.record({"id": {"S": item_id}, **attributes}, age=age)

    def poison(self, item_id: str, *, age: float = 60, **attributes: Any) -> dict[str, Any]:
        """Put an item into the table; gives a record of that with an unknown type tag in it."""
        one = self.put(item_id, age=age, **attributes)
        one["dynamodb"]["NewImage"]["spoilt"] = UNKNOWN_TAG
        return one

    def record(self, new: Any, old: Any = None, *, age: float = 60) -> dict[str, Any]:
        """The next record of the table's stream."""
        created = int(time.time() - age)
        one = record(next(self._numbers), new, old, ApproximateCreationDateTime=created)
        return one | {"eventSourceARN": self.arn}

    def deliver(self, *records: Any) -> None:
        """Deliver one batch, which must go through."""
        assert self.replicator({"Records": list(records)}, Time()) == {"batchItemFailures": []}

    def read_quarantine(self) -> list[QuarantineRecord]:
        """What is in quarantine."""
        return read_quarantine(self.cache, self.table)

    def overflow(self) -> int:
        """What could not be listed."""
        return overflow(self.cache, self.table)

    def redrive(self, items: list[QuarantineRecord] | None = None) -> list[RedriveResult]:
        """Redrive what is in quarantine, or was."""
        reader = SnapshotReader(self.source.client, self.table)
        found = self.read_quarantine() if items is None else items
        return list(redrive(self.cache, self.views, reader, found, fence_ttl=FENCE_TTL))

    def compare(self) -> Comparison:
        """Compare the table with the cache."""
        return compare(scan_table(self.source.client, self.table), self.cache, self.views)


Mirror = Callable[..., Mirrored]


@pytest.fixture
def mirror(cache: Cache, valkey: EmbeddedValkey, dynamodb: EmbeddedDynamoDB) -> Iterator[Mirror]:
    """Make a table of its own and its mirror, in a cluster that is empty."""
    assert not list(keys_in(cache, "*"))
    with ExitStack() as stack:

        def make(*specs: ViewSpec, limit: int = 10_000) -> Mirrored:
            own = Cache(valkey.settings())
            stack.callback(own.close)
            return Mirrored(own, dynamodb, specs or (ViewSpec(),), limit)

        yield make


@pytest.fixture
def mirrored(mirror: Mirror) -> Mirrored:
    """A table and its mirror, with the default view."""
    return mirror()
