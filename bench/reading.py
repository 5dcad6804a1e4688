"""Reading items through `Reader`, beside the plain client and the table itself."""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key
from valkey import Valkey

from bench.results import Sample
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import describe_schema
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB, create_table, write_items
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
_FEW = 16  # times fewer of the emulator
_HUNDREDS = 100  # times fewer, of a hundred


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
            {**item, "pk": {"S": f"p{number % _PARTITIONS}"}, "sk": {"S": f"{number:06d}"}}
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
        key, secret = database.aws.credentials or ("", "")
        session = boto3.Session(key, secret, region_name=REGION)
        resource = session.resource("dynamodb", endpoint_url=database.endpoint_url)
        self._table = resource.Table(_TABLE)
        self._keys = [{"pk": one["pk"]["S"], "sk": one["sk"]["S"]} for one in mine]
        self._names = [str(view.key_of(one)) for one in mine]

    def take(self) -> Iterator[Sample]:
        """Take each figure once, in items a second."""
        keys, names = cycle(self._keys), cycle(self._names)
        batches, groups = cycle(_hundreds(self._keys)), cycle(_hundreds(self._names))
        partitions = cycle([Key("pk").eq(f"p{number}") for number in range(_PARTITIONS)])
        plain, reader, table = self._plain, self._reader, self._table
        for _ in range(_PAIRS):
            gets = self._gets // _PAIRS
            yield _rate("read.plain.get", lambda: plain.get(next(names)), gets)
            yield _rate("read.get_item", lambda: reader.get_item(Key=next(keys)), gets)
        yield _rate("emulator.get_item", lambda: table.get_item(Key=next(keys)), self._gets // _FEW)
        yield _rate(
            "read.plain.mget", lambda: plain.mget(next(groups)), self._gets // _HUNDREDS, 100
        )
        yield _rate(
            "read.batch_get_item",
            lambda: reader.batch_get_item(RequestItems={_TABLE: {"Keys": next(batches)}}),
            self._gets // _HUNDREDS,
            100,
        )
        yield _rate(
            "read.query",
            lambda: reader.query(KeyConditionExpression=next(partitions)),
            self._gets // _HUNDREDS,
            _ITEMS // _PARTITIONS,
        )
        if reader.counts.misses or reader.counts.fallbacks:
            sys.exit(f"bench: not all was read from the cache: {reader.counts}")

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()
        self._plain.close()


def _hundreds(things: list[Any]) -> list[Any]:
    return [things[at : at + 100] for at in range(0, len(things), 100)]


def _rate(name: str, read: Callable[[], Any], times: int, items: int = 1) -> Sample:
    begin = time.perf_counter()
    for _ in range(times):
        read()
    return Sample(name, "items/s", times * items / (time.perf_counter() - begin))
