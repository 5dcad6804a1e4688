"""A whole table into the cache, and compared with it."""

import sys
import time
from collections.abc import Iterator
from itertools import count

from bench import ceiling
from bench.results import Sample
from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan, scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.backfill import Backfill
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.verify import Verification
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import ViewSpec, bind_views

_TABLE = "whole"
_FENCE_TTL = 93_600
_RATE = "items/s"


class Whole:
    """A table, filled, and what is done with all of it.

    Args:
        database: where the table is made.
        cache: the cache.
        port: the cache's.
        items: what it is filled with, in DynamoDB JSON.
    """

    def __init__(
        self,
        database: EmbeddedDynamoDB,
        cache: Cache,
        port: int,
        items: list[dict[str, dict[str, object]]],
    ) -> None:
        self._port = port
        self._client = database.aws.dynamodb()
        self._cache = cache
        create_table(self._client, _TABLE, {"id": "S"})
        write_items(self._client, _TABLE, items)
        self._table = describe_table(self._client, _TABLE)
        specs = (ViewSpec(),)
        self._views = bind_views(specs, self._table.schema)
        # The backfill's rows may be of the same second, and these be stale.
        self._apart = ViewSpec(key="rows:{id}").bind(self._table.schema)
        self._horizons = count(int(time.time()))
        self._items = list(scan_table(self._client, _TABLE))

    def from_memory(self) -> Iterator[Sample]:
        """Take the rate of rows that are at hand into the cache, and the script's ceiling."""
        items = len(self._items)
        version = SnapshotVersion(next(self._horizons))
        begin = time.perf_counter()
        entries = (entry_of_row(self._apart, item, item, version) for item in self._items)
        report = apply(self._cache, filter(None, entries), fence_ttl=_FENCE_TTL)
        yield Sample("rows.memory", _RATE, items / (time.perf_counter() - begin))
        if report.applied != items:
            sys.exit("bench: the cache did not take the rows")
        yield ceiling.scripts("rows.ceiling", self._port, items)

    def from_table(self) -> Iterator[Sample]:
        """All of the table into the cache, and compared with it, in items a second."""
        items = len(self._items)
        begin = time.perf_counter()
        for _ in scan_table(self._client, _TABLE):
            pass
        yield Sample("emulator.scan", _RATE, items / (time.perf_counter() - begin))
        rebuild = Rebuild(
            self._cache,
            self._views,
            self._client,
            fence_ttl=_FENCE_TTL,
            stream_arn=self._table.stream_arn,
            margin=0,
        )
        while rebuild.begin(segments=4).run is None:
            time.sleep(0.1)
        begin = time.perf_counter()
        if Backfill(rebuild, segments=4).run() is None:
            sys.exit("bench: the backfill was stopped")
        yield Sample("backfill.emulator", _RATE, items / (time.perf_counter() - begin))
        begin = time.perf_counter()
        scan, reader = Scan(self._client, _TABLE), SnapshotReader(self._client, _TABLE)
        work = Verification(cache=self._cache, views=self._views, scan=scan, reader=reader)
        result = work.run()
        yield Sample("verify.emulator", _RATE, items / (time.perf_counter() - begin))
        if not result.is_true:
            sys.exit(f"bench: the mirror is not true: {result}")
