"""Reading items through `Reader`, beside the plain client and the table itself."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from typing import Any

from boto3.dynamodb.conditions import Key
from valkey import Valkey

from bench.attached import Attached
from bench.flights import Flights
from bench.latency import Times
from bench.results import Sample
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import describe_schema
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader import Reader
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import ViewSpec

_TABLE = "read"
_ITEMS = 1_000
_PARTITIONS = 10
_GETS = 5_000  # at most
_PAIRS = 3  # of a promised figure and its base, in turn
_HUNDREDS = 100  # times fewer, of a hundred
_FLIGHTS = 3  # times fewer, of each number that are under way at once
PAGES = (20, 100)  # items of a query
_SORT_LENGTH = 6


class Reading:
    """A table of ten partitions, mirrored, and its readers.

    Args:
        database: where the table is made.
        server: a Valkey that is no cluster.
        items: what it is filled with, in DynamoDB JSON.
    """

    def __init__(
        self,
        database: EmbeddedDynamoDB,
        server: EmbeddedValkey,
        items: list[dict[str, dict[str, object]]],
    ) -> None:
        client = database.aws.dynamodb()
        create_table(client, _TABLE, {"pk": "S", "sk": "S"})
        mine: list[Any] = [
            {
                **item,
                "pk": {"S": f"p{number % _PARTITIONS}"},
                "sk": {"S": f"{number:0{_SORT_LENGTH}d}"},
            }
            for number, item in enumerate(islice(items, _ITEMS))
        ]
        write_items(client, _TABLE, mine)
        schema, description = describe_schema(client, _TABLE)
        spec = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
        view, version = spec.bind(schema), SnapshotVersion(int(time.time()))
        cache = Cache(server.settings())
        entries = (entry_of_row(view, item, item, version) for item in mine)
        apply(cache, filter(None, entries), fence_ttl=93_600)
        stream = description["LatestStreamArn"]
        record_gap(cache, [view], stream=stream, at=version.as_of - 1, reason="new")
        record_complete(cache, [view], version)
        cache.close()
        self._reader = Reader(
            server.settings(), _TABLE, views=[spec], schema=schema, aws=database.aws
        )
        self._gets = min(_GETS, len(items))
        self._plain: Any = Valkey(port=server.port)
        self._cache = Cache(server.settings())
        self._keys = [{"pk": one["pk"]["S"], "sk": one["sk"]["S"]} for one in mine]
        self._names = [str(view.key_of(one)) for one in mine]
        collection = view.collection
        assert collection is not None
        self._indexes = [collection.index_key(one) for one in mine[:_PARTITIONS]]
        self._flights = Flights(self._reader, self._keys, self._gets // _FLIGHTS)
        self._attached = Attached(database, server.settings(), spec, schema, self._keys)

    def take(self) -> Iterator[Sample]:
        """Take each figure, in items a second, or in microseconds a call."""
        reader = self._reader
        yield from self._gets_one_by_one()
        yield from self._attached.take(self._gets)
        yield from self._batches()
        yield from self._queries()
        yield from self._flights.take()
        if reader.counts.misses or reader.counts.fallbacks:
            sys.exit(f"bench: not all was read from the cache: {reader.counts}")

    def _gets_one_by_one(self) -> Iterator[Sample]:
        keys, names = cycle(self._keys), cycle(self._names)
        plain, reader, cache = self._plain, self._reader, self._cache
        raw = (Command(name.encode(), (b"GET", name.encode())) for name in cycle(self._names))
        for _ in range(_PAIRS):
            gets = self._gets // _PAIRS
            for name, read in (
                ("read.raw.get", lambda: cache.read_one(next(raw))),
                ("read.plain.get", lambda: plain.get(next(names))),
                ("read.get_item", lambda: reader.get_item(Key=next(keys))),
            ):
                taken = Times.of(read, gets)
                yield Sample(name, "items/s", gets / taken.total)
                yield Sample(f"{name}.p50", "us", taken.percentile(50))
                yield Sample(f"{name}.p99", "us", taken.percentile(99))

    def _batches(self) -> Iterator[Sample]:
        plain, reader = self._plain, self._reader
        batches, groups = cycle(_hundreds(self._keys)), cycle(_hundreds(self._names))
        yield _rate(
            "read.plain.mget", lambda: plain.mget(next(groups)), self._gets // _HUNDREDS, 100
        )
        yield _rate(
            "read.batch_get_item",
            lambda: reader.batch_get_item(RequestItems={_TABLE: {"Keys": next(batches)}}),
            self._gets // _HUNDREDS,
            100,
        )

    def _queries(self) -> Iterator[Sample]:
        plain, reader = self._plain, self._reader
        partitions = cycle([Key("pk").eq(f"p{number}") for number in range(_PARTITIONS)])
        indexes = cycle(zip(self._indexes, self._names, strict=False))

        def by_index(count: int) -> None:
            index, name = next(indexes)
            head = name.removesuffix(name[-_SORT_LENGTH:])
            members = plain.zrange(index, 0, count - 1)
            plain.mget([head + member.decode() for member in members])

        for count in PAGES:
            times = self._gets // _HUNDREDS
            yield _rate(f"read.plain.zrange_mget.{count}", partial(by_index, count), times, count)
            yield _rate(
                f"read.query.{count}",
                lambda: reader.query(KeyConditionExpression=next(partitions), Limit=count),  # noqa: B023 - run at once
                times,
                count,
            )

    def close(self) -> None:
        """Close the connections."""
        self._flights.close()
        self._attached.close()
        self._cache.close()
        self._reader.close()
        self._plain.close()


def _hundreds(things: list[Any]) -> list[Any]:
    return [things[at : at + 100] for at in range(0, len(things), 100)]


def _rate(name: str, read: Callable[[], Any], times: int, items: int = 1) -> Sample:
    begin = time.perf_counter()
    for _ in range(times):
        read()
    return Sample(name, "items/s", times * items / (time.perf_counter() - begin))
