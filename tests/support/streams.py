"""Streams to read in tests: real ones in the emulator, and made-up ones with several shards."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from botocore.exceptions import ClientError
from tests.support.builders import STREAM_ARN

from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.dynamodb.shards import Shard
from dynamirror.dynamodb.stream_reader import (
    Record,
    RecordPage,
    StreamDescription,
    StreamGoneError,
    StreamReader,
)
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@cache
def _client(aws: Aws) -> "DynamoDBClient":
    """One for all tables of an emulator: boto3 reads megabytes to make one."""
    return aws.dynamodb()


class Source:
    """A table of its own in the emulator."""

    def __init__(self, server: EmbeddedDynamoDB) -> None:
        self.name = f"t-{uuid4().hex[:12]}"
        self.server = server
        self.client = _client(server.aws)
        create_table(self.client, self.name, {"id": "S"})
        self.arn = describe_table(self.client, self.name).stream_arn

    def put(self, item_id: str, **attributes: Any) -> None:
        """Put one item, attributes in DynamoDB JSON."""
        self.client.put_item(TableName=self.name, Item={"id": {"S": item_id}, **attributes})

    def puts(self, ids: Iterable[int]) -> None:
        """Put several items."""
        for one in ids:
            self.put(str(one))

    def reader(self, *faults: tuple[str, str]) -> StreamReader:
        """A reader of its stream; see `Faulty`."""
        client = self.server.aws.streams()
        return StreamReader(cast("Any", Faulty(client, faults)), self.arn)


class Faulty:
    """A client whose calls fail: each fault is the name of a method and an error code, once."""

    def __init__(self, client: Any, faults: Sequence[tuple[str, str]]) -> None:
        self._client = client
        self._faults = list(faults)

    def __getattr__(self, name: str) -> Any:
        def call(**given: Any) -> Any:
            for index, (method, code) in enumerate(self._faults):
                if method == name:
                    del self._faults[index]
                    raise ClientError({"Error": {"Code": code, "Message": "said so"}}, name)
            return getattr(self._client, name)(**given)

        return call


class Memory(dict[str, Checkpoint]):
    """Positions, kept as long as the test lasts."""

    def load(self) -> dict[str, Checkpoint]:
        """Read all positions."""
        return dict(self)

    def save(self, shard_id: str, position: Checkpoint) -> None:
        """Keep one position."""
        self[shard_id] = position

    def forget(self, shard_id: str) -> None:
        """Keep it no longer."""
        self.pop(shard_id, None)


class Tree:
    """A made-up stream: each shard with its parent and its pages; `open` ones do not end."""

    def __init__(
        self,
        shards: Mapping[str, str | None],
        pages: Mapping[str, Sequence[Sequence[Record]]],
        *,
        endless: Iterable[str] = (),
    ) -> None:
        self.arn = STREAM_ARN
        self.parents = dict(shards)
        self.data = {shard: list(given) for shard, given in pages.items()}
        self.endless = set(endless)
        self.begun: list[tuple[str, str | None, bool]] = []
        self.empty_pages = 0
        self.may_list = threading.Event()
        self.may_list.set()
        self.lists = 0
        self.gone = False
        self.switched_off = False

    def reader(self) -> StreamReader:
        """It as the reader that it stands in for."""
        return cast("StreamReader", self)

    def describe(self) -> StreamDescription:
        """List all shards."""
        self.lists += 1
        self.may_list.wait(30)
        if self.gone:
            raise StreamGoneError(self.arn)
        shards = [Shard(shard, parent) for shard, parent in list(self.parents.items())]
        return StreamDescription(shards, switched_off=self.switched_off)

    def pages(
        self, shard: Shard, after: str | None, *, latest: bool = False
    ) -> Iterator[RecordPage]:
        """Read one shard."""
        self.begun.append((shard.id, after, latest))
        number = len(self.data.get(shard.id, ())) if latest else 0
        while True:
            pages = self.data.get(shard.id, [])
            while number < len(pages):
                records = [r for r in pages[number] if after is None or _number(r) > after]
                number += 1
                if records:
                    yield RecordPage(records, closed=False)
            if shard.id not in self.endless:
                yield RecordPage([], closed=True)
                return
            self.empty_pages += 1
            yield RecordPage([], closed=False)


def _number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


class Collector:
    """A function that keeps what it is given; the first few times, it fails."""

    def __init__(self, *, failures: int = 0) -> None:
        self.batches: list[list[Record]] = []
        self._failures = failures

    def __call__(self, event: Mapping[str, Any], _context: object) -> None:
        """Take one batch."""
        if self._failures:
            self._failures -= 1
            raise RuntimeError("boom")
        self.batches.append(list(event["Records"]))

    @property
    def records(self) -> list[Record]:
        """All records, in the order they came."""
        return [record for batch in self.batches for record in batch]

    @property
    def ids(self) -> list[str]:
        """The items' ids, in the order they came."""
        return [record["dynamodb"]["Keys"]["id"]["S"] for record in self.records]
